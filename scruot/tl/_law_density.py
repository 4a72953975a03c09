"""The density of a fitted law at a time, where the method itself learns none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scruot.dynamics.model import Dynamics
from scruot.dynamics.passage import require_finite
from scruot.solvers.cloud_density import cloud_blur, fit_cloud
from scruot.tl._fitted import FittedCells

__all__ = ["Cloud", "law_at", "log_densities", "relative_mass"]

LogDensity = Callable[[NDArray[Any]], NDArray[np.float64]]


@dataclass(frozen=True)
class Cloud:
    """Points (n, d) and their masses (n,), relative to the first observed population."""

    x: NDArray[np.floating]
    mass: NDArray[np.float64]


def log_densities(clouds: Sequence[Cloud], random_state: int) -> list[LogDensity]:
    """Fit a Gaussian mixture to each cloud and return the logarithms of their densities.

    Each density integrates to the mass of its cloud, per volume of the unit of the points. All
    clouds are blurred alike, as DeepRUOT blurs them.
    """
    shift, length = _unit(clouds)
    scaled = [torch.from_numpy((cloud.x - shift) / length).float() for cloud in clouds]
    blur = cloud_blur(tuple(scaled))
    level = shift.size * math.log(length)
    found: list[LogDensity] = []
    for cloud, x in zip(clouds, scaled, strict=True):
        mixture = fit_cloud(x, torch.from_numpy(cloud.mass), blur=blur, random_state=random_state)

        def log_density(
            points: NDArray[Any], log: Callable[[torch.Tensor], torch.Tensor] = mixture.log
        ) -> NDArray[np.float64]:
            inside = torch.from_numpy((np.asarray(points, dtype=float) - shift) / length).float()
            return log(inside).double().numpy() - level

        found.append(log_density)
    return found


def _unit(clouds: Sequence[Cloud]) -> tuple[NDArray[np.float64], float]:
    """Return the centre of all points and their spread, so that no unit is too small."""
    x = np.concatenate([np.asarray(cloud.x, dtype=float) for cloud in clouds])
    shift = x.mean(0)
    return shift, float(np.sqrt(np.square(x - shift).mean())) or 1.0


def law_at(cells: FittedCells, time: float) -> Cloud:
    """Return the cells of a fitted time, or where the model carries the first ones by then."""
    here = cells.reference & (cells.time == time)
    if time not in cells.model.times or not here.any():
        return _simulated(cells, time)
    return Cloud(cells.x[here], relative_mass(cells)[here])


def relative_mass(cells: FittedCells) -> NDArray[np.float64]:
    """Return masses (n,) with which the fitted cells of each time are the observed population."""
    mass = np.zeros(len(cells.mass))
    for time in cells.model.times:
        here = cells.reference & (cells.time == time)
        if here.any():
            mass[here] = cells.mass[here] / cells.mass[here].sum() * cells.population(time)
    return mass


def _simulated(cells: FittedCells, time: float) -> Cloud:
    model: Dynamics = cells.model
    first = cells.reference & (cells.time == model.times[0])
    weights = cells.mass[first] / cells.mass[first].sum()
    times = [model.times[0], time]
    run = model.simulate(cells.x[first], times, weights=weights, stochastic=False)
    require_finite(run)
    return Cloud(run.x[-1].numpy(), run.weights[-1].double().numpy())
