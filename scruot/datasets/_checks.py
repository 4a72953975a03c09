"""Checks of the generators' parameters."""

from __future__ import annotations

import math
import operator


def whole(name: str, value: int, *, least: int) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number that is large enough."""
    try:
        valid = not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        valid = False
    if not valid:
        msg = f"{name} is {value!r}; expected a whole number of at least {least}."
        raise ValueError(msg)


def positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise ``ValueError`` unless ``value`` is finite and positive (or zero, where allowed)."""
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        kind = "non-negative" if zero else "positive"
        msg = f"{name} is {value!r}; expected a finite {kind} number."
        raise ValueError(msg)
