"""The noise of stochastic methods, and the couplings that go with it."""

from __future__ import annotations

from typing import Any

import torch

from scruot.dynamics.snapshots import Snapshots
from scruot.geometry.neighbours import typical_spacing
from scruot.solvers.params import param
from scruot.solvers.problem import Problem

# noise over a mean interval, in standard deviations within snapshots
_SPREADS = 0.15


def diffusion() -> Any:
    """Declare the noise of the dynamics, with its automatic rule."""
    return param(
        "auto",
        "noise of the dynamics, a length per root of time; 'auto' spreads a cell, over a mean "
        "interval and per coordinate, to 0.15 of the standard deviation within snapshots, or to "
        "its distance to the nearest neighbour where that is larger",
        above=0.0,
        choices=("auto",),
    )


def scaled_diffusion(sigma: float | str, problem: Problem) -> float:
    """Return the noise in scaled units, where the mean interval lasts 1.

    The first of the two automatic lengths does not depend on the number of cells. Less noise
    than the second, the root mean square distance to the nearest neighbour over the root of d,
    cannot be seen in the cells, and its plan cannot be told from the one without noise.
    """
    if not isinstance(sigma, str):
        return float(sigma * problem.scale.time**0.5 / problem.scale.length)
    clouds = problem.snapshots
    spacing = typical_spacing(clouds.x) / clouds.dim**0.5
    within = torch.cat([x - x.mean(0) for x in clouds.x]).square().mean().sqrt()
    # coinciding cells have neither
    return float(max(_SPREADS * float(within), spacing, 1e-3))


def regularisations(sigma: float, clouds: Snapshots) -> list[float]:
    """Return the entropic regularisation ``2 sigma^2 D`` of every interval.

    Then the plan is the coupling of the ends of a Schroedinger bridge with that noise.
    """
    return [2 * sigma**2 * duration for duration in clouds.durations]
