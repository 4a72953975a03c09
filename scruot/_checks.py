"""Checks of numbers that functions of all parts take."""

from __future__ import annotations

import numbers
from typing import Any

__all__ = ["check_seed", "whole"]

# what scikit-learn and NumPy's older generators take
_SEEDS = 2**32


def whole(name: str, value: Any, *, least: int = 1, optional: bool = False) -> None:
    """Refuse anything but a whole number of at least ``least``, and ``None`` where ``optional``.

    Raises
    ------
    ValueError
        For anything else.
    """
    if value is None and optional:
        return
    number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not number or value < least:
        none = ", or None" if optional else ""
        msg = f"Found {name}={value!r}; expected a whole number >= {least}{none}."
        raise ValueError(msg)


def check_seed(random_state: Any) -> int:
    """Return a seed as Python's integer.

    Raises
    ------
    ValueError
        For anything but a whole number from 0 to 4294967295.
    """
    number = isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool)
    if not number or not 0 <= random_state < _SEEDS:
        msg = (
            f"Found random_state={random_state!r}; expected a whole number from 0 to {_SEEDS - 1}, "
            "with which the same call gives the same result."
        )
        raise ValueError(msg)
    return int(random_state)
