"""The Fisher-regularised energy, and the Fokker-Planck equation in logarithms.

A law ``p`` (of any mass) that moves as ``d_t p = -div(p b) + sigma^2 lap p / 2 + g p`` also moves
with the velocity ``v = b - sigma^2 grad log p / 2`` and the growth ``g``, without noise. With
``s = sigma^2 log p / 2`` its energy is, up to the change of ``int s p dx`` from the first time to
the last, which the observed clouds fix,

    |b|^2 / 2  ->  |v|^2 / 2 + |grad s|^2 / 2 - (sigma^2 / 2 + s) g - (sigma^2)' / sigma^2 s,

and ``d_t log p + v . grad log p + div v - g = 0`` along it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from scruot.dynamics.derivatives import ScalarJet


def fisher_energy(
    velocity: Tensor,
    growth: Tensor,
    density: ScalarJet,
    variance: Tensor,
    variance_rate: Tensor,
) -> Tensor:
    """Return the energy of motion per unit of mass, without the cost of growth.

    Parameters
    ----------
    velocity, growth
        Shapes (n, d) and (n,).
    density
        Log density with its gradient.
    variance, variance_rate
        ``sigma^2`` and its derivative in time, shape (n,).
    """
    log_p, score = density.value, density.gradient
    half = variance / 2
    motion = (velocity.square().sum(1) + half.square() * score.square().sum(1)) / 2
    return motion - half * (1 + log_p) * growth - variance_rate / 2 * log_p


def control_energy(velocity: Tensor, density: ScalarJet, variance: Tensor) -> Tensor:
    """Return ``|b|^2 / 2`` of the drift, shape (n,)."""
    drift = velocity + (variance / 2)[:, None] * density.gradient
    return drift.square().sum(1) / 2


def residual(velocity: Tensor, growth: Tensor, divergence: Tensor, density: ScalarJet) -> Tensor:
    """Return what is left of the Fokker-Planck equation of the logarithm, shape (n,) or (k, n)."""
    carried = (velocity * density.gradient).sum(1)
    return density.rate + carried + divergence - growth


def running_cost(
    energy: Tensor, growth: Tensor, alpha: float, cost: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return energy plus ``alpha Psi(g)``."""
    return energy + alpha * cost(growth)
