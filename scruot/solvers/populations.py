"""Populations that a simulation must end with."""

from __future__ import annotations

import logging
import math
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from scruot.dynamics.simulate import integrate_flow
from scruot.dynamics.snapshots import Snapshots

logger = logging.getLogger(__name__)

# largest log error of a population that is taken for one of the regression
_TOLERABLE = math.log(1.25)

# cells that are simulated at once
_CHUNK = 16_384


class HasOffset(Protocol):
    """A field whose growth has an adjustable constant in every interval."""

    @property
    def growth_offset(self) -> Tensor:
        """The constants."""

    def set_growth_offset(self, offset: Tensor) -> None:
        """Set the constants."""

    def __call__(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return the rates."""


def match_populations(field: HasOffset, clouds: Snapshots, *, step: float = 0.05) -> list[float]:
    """Set the growth offset of every interval so that simulated populations are as observed.

    Regression leaves a small error in the growth of every cell; summed over all cells it is
    the error of the population, which is known. The same constant for all cells of an
    interval takes it away and leaves their ratios, and so the composition, as learned.

    Parameters
    ----------
    field
        Field with ``knots`` at the times of ``clouds``; its offset is replaced.
    clouds
        The clouds, in the units of ``field``.
    step
        Time step of the simulation.

    Returns
    -------
    The offsets, per unit of scaled time: zero where the error of the population over an
    interval is more than a quarter. That is no error of the regression: cells appear where
    none can come from, which no growth of the others may stand for.
    """
    x, w = clouds.x[0], clouds.weights[0]
    log_w = (w / w.sum()).float().log()

    def rates(t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out = field(t, state)
        return out["velocity"], out["growth"]

    # an offset that is the same for all cells does not move them: one pass is exact
    field.set_growth_offset(torch.zeros_like(field.growth_offset))
    with torch.no_grad():
        parts = [
            integrate_flow(rates, x_part, w_part, list(clouds.times), step)[1]
            for x_part, w_part in zip(x.split(_CHUNK), log_w.split(_CHUNK), strict=True)
        ]
    simulated = torch.cat(parts, dim=1).cpu().double().logsumexp(1).tolist()
    offsets = missing_growth(simulated, clouds, price="delta")[0]
    field.set_growth_offset(torch.tensor(offsets, device=field.growth_offset.device))
    return offsets


def missing_growth(
    simulated: list[float], clouds: Snapshots, *, price: str
) -> tuple[list[float], bool]:
    """Return the growth that a simulation lacks in every interval, and whether it lacks too much.

    Parameters
    ----------
    simulated
        Logarithm of the simulated population at every snapshot, that of the first being 0.
    clouds
        The clouds.
    price
        Name of the parameter to raise where cells are out of reach, for the warning.

    Returns
    -------
    Rates per unit of scaled time, zero where the error of the population over an interval is more
    than a quarter, and whether there is such an interval.
    """
    error = [math.log(m) - s for m, s in zip(clouds.masses, simulated, strict=True)]
    missing = [after - before for before, after in pairwise(error)]
    far = [k for k, m in enumerate(missing) if abs(m) > _TOLERABLE]
    if far:
        logger.warning(
            "Populations are not matched in interval %s (simulated / observed: %s): cells appear "
            "out of reach of those before, or training was too short. A larger %s, or more "
            "steps, may help.",
            ", ".join(str(k + 1) for k in far),
            ", ".join(f"{math.exp(-missing[k]):.2f}" for k in far),
            price,
        )
    rates = [
        0.0 if k in far else m / duration
        for k, (m, duration) in enumerate(zip(missing, clouds.durations, strict=True))
    ]
    return rates, bool(far)
