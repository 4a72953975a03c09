"""How far weighted particles are from an observed cloud: place and mass, total and local."""

from __future__ import annotations

import torch
from torch import Tensor


def cloud_error(
    x: Tensor, log_weights: Tensor, cells: Tensor, weights: Tensor, *, softening: float
) -> Tensor:
    """Return the energy distance between two clouds, each of mass one.

    ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` is zero for equal laws alone. Both where particles are
    and how the mass is spread over them enter smoothly, so that a lineage that is too heavy is
    drawn to grow less rather than to move: no cell is assigned to any particle. Distances are
    softened, ``sqrt(|x - y|^2 + softening^2)``, so that differences on a smaller scale, which are
    the noise of sampling, weigh little.

    Parameters
    ----------
    x, log_weights
        Particles, (n, d) and (n,).
    cells, weights
        Observed cells, (m, d) and (m,).
    softening
        Positive length.
    """
    p = torch.softmax(log_weights, 0)
    q = (weights / weights.sum()).to(p.dtype)
    between = p @ (_distances(x, cells, softening) @ q)
    return (
        2 * between
        - p @ (_distances(x, x, softening) @ p)
        - q @ (_distances(cells, cells, softening) @ q)
    )


def mass_error(log_weights: Tensor, mass: float) -> Tensor:
    """Return the squared relative error of the population."""
    return (torch.logsumexp(log_weights, 0).exp() / mass - 1).square()


def _distances(x: Tensor, y: Tensor, softening: float) -> Tensor:
    squared = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return (squared.clamp_min(0) + softening**2).sqrt()
