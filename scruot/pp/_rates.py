"""Scores to birth and death rates, and rates per day to rates per the user's unit of time."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from scruot._messages import unknown

_DAYS = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1.0, "week": 7.0}


def days_per_unit(time_unit: Any) -> float:
    """Return how many days one unit of time has.

    Raises
    ------
    ValueError
        For anything but the name of a unit or a positive number.
    """
    if isinstance(time_unit, str):
        name = time_unit.strip().casefold().removesuffix("s")
        if name not in _DAYS:
            raise ValueError(unknown("time_unit", time_unit, _DAYS))
        return _DAYS[name]
    number = isinstance(time_unit, numbers.Real) and not isinstance(time_unit, (bool, np.bool_))
    if not number or not 0 < float(time_unit) < np.inf:
        msg = (
            f"Found time_unit={time_unit!r}; expected one of {list(_DAYS)}, or the number of days "
            "in one unit of your time."
        )
        raise ValueError(msg)
    return float(time_unit)


@dataclass(frozen=True)
class Logistic:
    """A rate per day as a logistic of a score.

    Attributes
    ----------
    name
        ``"beta"`` or ``"delta"``, as its parameters are called.
    low, high
        Smallest and largest rate per day.
    center
        Score at which the rate is half-way.
    slope
        Steepness, per unit of score.

    Raises
    ------
    ValueError
        For parameters that make no sense.
    """

    name: str
    low: float
    high: float
    center: float
    slope: float

    def __post_init__(self) -> None:
        for parameter, value in self._named().items():
            number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
            if not number or not np.isfinite(float(value)):
                msg = f"Found {parameter}={value!r}; expected a finite number."
                raise ValueError(msg)
        low, high = f"{self.name}_min", f"{self.name}_max"
        if not 0 <= self.low <= self.high:
            msg = (
                f"Found {low}={self.low!r} and {high}={self.high!r}; expected rates per day with "
                f"0 <= {low} <= {high}."
            )
            raise ValueError(msg)
        if self.slope <= 0:
            msg = f"Found {self.name}_slope={self.slope!r}; expected a number above 0."
            raise ValueError(msg)

    def __call__(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``low + (high - low) / (1 + exp(-slope (score - center)))``, shape (n,)."""
        share: NDArray[np.float64] = expit(self.slope * (score - self.center))
        return self.low + (self.high - self.low) * share

    def params(self) -> dict[str, float]:
        """Return the parameters under the names that a user knows."""
        return {name: float(value) for name, value in self._named().items()}

    def _named(self) -> dict[str, float]:
        values = {"min": self.low, "max": self.high, "center": self.center, "slope": self.slope}
        return {f"{self.name}_{name}": value for name, value in values.items()}
