"""Numbers of things in words."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things.

    Examples
    --------
    >>> counted(1, "team"), counted(2_000, "team"), counted(2, "authority", "authorities")
    ('1 team', '2,000 teams', '2 authorities')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
