"""Faults in what a person stated, said in the person's words: where, what was found, what is allowed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, time
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)

_ALLOWED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "tuple_type": "a list in brackets",
    "list_type": "a list in brackets",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "finite_number": "a finite number",
}


def validate(
    model: type[Model],
    data: object,
    path: str,
    faults: list[str],
    names: Mapping[str, str] | None = None,
    extra: Collection[str] = (),
) -> Model | None:
    """Check a table against a settings model; each fault is added to `faults` as a line.

    Parameters
    ----------
    model : type
        The settings model.
    data : object
        What the file has there.
    path : str
        Where that is, such as "world.fidelity".
    faults : list of str
        Grows by what is wrong.
    names : mapping of str, optional
        What fields are called in the file, where that differs.
    extra : collection of str
        Keys that are allowed beside the model's own, to be named in suggestions.

    Returns
    -------
    Model or None
        None where there was a fault.
    """
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            faults.append(describe(error, model, path, names or {}, extra))
        return None


def describe(
    error: ErrorDetails, model: type[BaseModel], path: str, names: Mapping[str, str], extra: Collection[str]
) -> str:
    """One line for one error of pydantic's: the path, what was found and what is allowed."""
    keys = [str(key + 1) if isinstance(key, int) else names.get(key, key) for key in error["loc"]]
    where = ".".join([path, *keys])
    kind, value, limits = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = [*_fields_at(model, error["loc"][:-1]), *extra]
        return f"{where}: unknown key{nearest(keys[-1], known)}"
    if kind == "missing":
        return f"{where}: missing"
    if kind == "value_error":
        return f"{where}: {limits.get('error', error['msg'])}"
    if kind == "literal_error":
        allowed = str(limits["expected"]).replace(" or ", ", ")
        quoted = [word.strip("'") for word in allowed.split(", ") if word.startswith("'")]
        close = nearest(str(value), quoted, or_all=False) if quoted else ""
        return f"{where}: found {found(value)}; allowed: {allowed}{close}"
    for bound, words in (
        ("ge", "is below {}, the least"),
        ("gt", "is not above {}"),
        ("le", "is above {}, the most"),
        ("lt", "is not below {}"),
    ):
        if bound in limits:
            limit = limits[bound]
            shown = f"{limit:g}" if isinstance(limit, float) else limit
            return f"{where}: {found(value)} {words.format(shown)}"
    allowed = _ALLOWED.get(kind, error["msg"])
    return f"{where}: found {found(value)}; allowed: {allowed}"


def found(value: object) -> str:
    """What was found, in a file's own words, cut short where it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, date | time):
        return "a date or time"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    try:
        text = repr(value)
    except ValueError:
        return "a number of too many digits"
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: str, known: Iterable[str], *, or_all: bool = True) -> str:
    """What to say after an unknown name: the nearest known one, or else all of them."""
    known = list(known)
    begun = [name for name in known if word and name.startswith(word)]
    close = begun if 0 < len(begun) <= 3 else get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f"; allowed: {', '.join(known) or 'none'}" if or_all else ""


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys allowed in the table at a location below a model."""
    for key in location:
        field = model.model_fields.get(str(key))
        annotation: Any = field.annotation if field else None
        inner = [annotation, *getattr(annotation, "__args__", ())]
        models = [part for part in inner if isinstance(part, type) and issubclass(part, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
