"""Checks of the generators' parameters."""

from __future__ import annotations

import math

import numpy as np

from scruot._checks import check_seed


def positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise ``ValueError`` unless ``value`` is finite and positive (or zero, where allowed)."""
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        kind = "non-negative" if zero else "positive"
        msg = f"{name} is {value!r}; expected a finite {kind} number."
        raise ValueError(msg)


def generator(random_state: int | np.random.Generator) -> np.random.Generator:
    """Return a generator as it is, and that of a seed."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    return np.random.default_rng(check_seed(random_state))
