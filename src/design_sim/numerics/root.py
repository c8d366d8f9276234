"""Where a function of one number is nothing.

Decision: roots are found by the Illinois rule (Dowell and Jarratt 1971, BIT 11, 168-174) with a bisection
every fourth step, since importing an optimiser would take longer than all else that a scenario needs.
"""

from collections.abc import Callable


def find_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising or falling function that changes sign between low and high is 0, to 1e-13.

    Examples
    --------
    >>> round(find_root(lambda x: x**2 - 2, 0.0, 2.0), 6)
    1.414214
    """
    ends, values = [low, high], [function(low), function(high)]
    last = None
    for step in range(400):
        middle = (ends[0] * values[1] - ends[1] * values[0]) / (values[1] - values[0])
        if step % 4 == 3:
            middle = (ends[0] + ends[1]) / 2
        value = function(middle)
        side = int((value > 0) == (values[1] > 0))
        ends[side], values[side] = middle, value
        if value == 0 or abs(ends[1] - ends[0]) < 1e-13 * max(1.0, abs(middle)):
            break
        if side == last:
            values[1 - side] /= 2
        last = side
    return middle
