"""Lengths that solvers take from the user or from the data, in scaled units."""

from __future__ import annotations

import math
from typing import Any

from scruot.dynamics.snapshots import Snapshots
from scruot.geometry.neighbours import typical_spacing
from scruot.solvers.params import param
from scruot.solvers.problem import Problem
from scruot.transport import auto_delta


def path_noise(
    text: str = "standard deviation, per coordinate, of noise added to positions on the paths",
) -> Any:
    """Declare the noise on the paths, with its automatic rule."""
    return param(
        "auto",
        f"{text}; 'auto' is the root mean square distance to the nearest neighbour over the root "
        "of 2 d",
        low=0.0,
        choices=("auto",),
    )


def bridge_noise() -> Any:
    """Declare the noise on bridges of methods that learn a score, with its automatic rule.

    A simulation with noise draws the blur of the snapshots anew where a flow only passes it on, so
    it is half that of :func:`path_noise`. Where cells are dense a share of the noise of the
    dynamics does not show beside it, and keeps the score from being steep.
    """
    return param(
        "auto",
        "standard deviation, per coordinate, of noise added to the bridges, which makes the score "
        "at the snapshots themselves finite; 'auto' is half the root mean square distance to the "
        "nearest neighbour over the root of 2 d, or a fifteenth of what sigma spreads a cell to "
        "over a mean interval where that is larger",
        low=0.0,
        choices=("auto",),
    )


def growth_length() -> Any:
    """Declare the length that weighs growth against displacement."""
    return param(
        "auto",
        "length that weighs growth against displacement: beyond pi delta cells die and are "
        "born instead of moving",
        above=0.0,
        choices=("auto",),
    )


def scaled_delta(delta: float | str, problem: Problem) -> float:
    """Return the length of growth against displacement."""
    if isinstance(delta, str):
        return auto_delta(problem.snapshots.x)
    return delta / problem.scale.length


def scaled_noise(noise: float | str, problem: Problem, clouds: Snapshots) -> float:
    """Return the noise on the paths."""
    if isinstance(noise, str):
        # the squared length of the noise is half the mean square nearest-neighbour distance
        return typical_spacing(clouds.x) / math.sqrt(2 * clouds.dim)
    return noise / problem.scale.length


def scaled_smoothing(
    smoothing: float | str, problem: Problem, clouds: Snapshots, sigma: float
) -> float:
    """Return the noise on the bridges, for dynamics with the scaled noise ``sigma``."""
    if isinstance(smoothing, str):
        return max(scaled_noise(smoothing, problem, clouds) / 2, sigma / 15)
    return smoothing / problem.scale.length
