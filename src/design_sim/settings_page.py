"""The page of every setting: its meaning, default and source, read from the settings models themselves.

Nothing of it is written by hand, so that it cannot go stale: tables are the models, keys their fields,
meanings the docstrings that stand under the fields.
"""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from design_sim.designs import DESIGNS
from design_sim.estimands import AVERAGES, EXITS, RUNGS, Estimand
from design_sim.estimators import ESTIMATORS
from design_sim.stated import UNBOUNDED
from design_sim.world.outcomes import OUTCOMES
from design_sim.world.settings import WorldSettings

HEAD = """# Every setting

Made by `design-sim settings` from the program itself. A table that has no default is off until it is stated.
"assumption" marks what has no figure behind it; the sources of the others are named here, or in the presets.
"""
CLUSTERS = (
    "what the analysis takes as independent, `authority`, `team`, `worker` or `family`; the unit that the "
    "design assigns if not given. Estimators call them authorities. Families are drawn singly for it."
)


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD, "## The world"]
    parts += [_table(path, model) for path, model in tables("world", WorldSettings)]
    parts.append("## Outcomes")
    for (kind, source), outcome in OUTCOMES.items():
        heading = f'outcomes.NAME with kind = "{kind}", source = "{source}"'
        parts += [
            _table(heading if path == "" else f"outcomes.NAME{path}", model)
            for path, model in tables("", outcome)
        ]
    parts.append("## Designs")
    for name, design in DESIGNS.items():
        parts += [
            _table(f'designs.NAME with kind = "{name}"' if path == "" else f"designs.NAME{path}", model)
            for path, model in tables("", design)
        ]
    parts.append("## Answers")
    parts += [
        _table(f'designs.NAME.answers.NAME with estimator = "{name}"', estimator)
        for name, estimator in ESTIMATORS.items()
    ]
    parts.append(_estimands())
    return "\n\n".join(parts) + "\n"


def tables(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """A settings model and those inside it, each with its path in a scenario file."""
    yield path, model
    for name, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            yield from tables(f"{path}.{name}", inner)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []


@cache
def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What is said of each field, by name: the docstrings under the fields, base classes included."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not (isinstance(base, type) and issubclass(base, BaseModel)) or base is BaseModel:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for stated, after in itertools.pairwise(body):
            if not (isinstance(stated, ast.AnnAssign) and isinstance(stated.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[stated.target.id] = " ".join(str(after.value.value).split())
    return found


def _table(path: str, model: type[BaseModel]) -> str:
    """One settings table as Markdown: key, values, default, meaning."""
    said = meanings(model)
    about = inspect.cleandoc(model.__doc__ or "")
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name in ("kind", "source", "estimator") and path != "world":
            continue
        meaning = said.get(name) or _first_line(field.annotation)
        cells = f"`{name}`", _values(field), _default(field), meaning
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return (
        "\n".join([f"### `[{path}]`", "", about, "", *rows])
        if len(rows) > 2
        else f"### `[{path}]`\n\n{about}"
    )


def _first_line(annotation: Any) -> str:
    """What a table that a key holds is about."""
    models = _models_in(annotation)
    return inspect.cleandoc(models[0].__doc__ or "").splitlines()[0] if models else ""


def _values(field: FieldInfo) -> str:
    """What is allowed, in short."""
    return _described(field.annotation, field.metadata)


def _described(annotation: Any, limits: Sequence[Any] = ()) -> str:
    """What a type with its limits allows, in short."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        more = [limit for extra in inner[1:] for limit in (extra, *getattr(extra, "metadata", ()))]
        return _described(inner[0], [*limits, *more])
    if origin is Union or origin is UnionType:
        parts = [part for part in inner if part is not NoneType]
        return " or ".join(dict.fromkeys(_described(part, limits) for part in parts))
    if origin is Literal:
        return ", ".join(f'`"{each}"`' if isinstance(each, str) else f"`{each}`" for each in inner)
    if origin is tuple:
        how_many = "a list" if inner[1] is ... else "a list of two"
        each = _described(inner[0])
        return f"{how_many}, each {each}" if each != "text" else f"{how_many} of texts"
    if origin is not None and issubclass(origin, Mapping):
        return "a table of numbers"
    if issubclass(annotation, BaseModel):
        return "a table"
    return _bounded(limits) or _KINDS[annotation]


_KINDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}


def _bounded(limits: Sequence[Any]) -> str:
    """The bounds among some limits; a `Quantity` has none that anybody meets."""
    words = {"ge": "from {:g}", "gt": "above {:g}", "le": "to {:g}", "lt": "below {:g}"}
    bounds = {
        name: float(getattr(limit, name))
        for limit in limits
        for name in words
        if getattr(limit, name, None) is not None
    }
    if bounds.get("le") == UNBOUNDED:
        least = bounds["ge"]
        bounds = {"gt": 0.0} if least == 1 / UNBOUNDED else {"ge": least} if least > -UNBOUNDED else {}
    return " ".join(words[name].format(bounds[name]) for name in words if name in bounds)


def _default(field: FieldInfo) -> str:
    """The default as a scenario file would write it."""
    default = field.default
    if default is PydanticUndefined:
        return "needed"
    if default is None:
        return "off" if _models_in(field.annotation) else "none"
    if isinstance(default, BaseModel):
        return "as below"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    if isinstance(default, dict):
        return ", ".join(f"`{key} = {value:g}`" for key, value in default.items())
    if isinstance(default, tuple):
        each = [f'"{part}"' if isinstance(part, str) else f"{part:g}" for part in default]
        return f"`[{', '.join(each)}]`" if default else "none"
    return f"`{default:g}`"


def _estimands() -> str:
    """What every answer says of its estimand."""
    said = meanings(Estimand)
    lines = ["### What an answer is judged against", ""]
    for key, options in (("estimand", RUNGS), ("average", AVERAGES), ("exit", EXITS)):
        lines += [f"`{key}`:", "", *(f"- `{name}`: {meaning}" for name, meaning in options.items()), ""]
    lines += ["`weighted_by`: `family` or `authority`.", "", f"`component`: {said['component']}"]
    lines += ["", f"`clusters`: {CLUSTERS}"]
    return "\n".join(lines)
