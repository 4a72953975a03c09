"""Entropic transport by stabilised, annealed, translation-invariant Sinkhorn sweeps."""

from __future__ import annotations

import torch
from torch import Tensor

from scruot.transport.objective import centre_potentials

__all__ = ["annealed_potentials", "entropic_potentials", "log_sweep"]

_CAP = 300.0  # largest exponent of a scaling between two absorptions


def log_sweep(
    cost: Tensor, phi: Tensor, psi: Tensor, a: Tensor, b: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """One sweep in the log domain; safe from any starting potentials.

    The plan is ``G = a b exp((phi + psi - c) / eps)``; the optimal ``phi`` for given ``psi`` solves
    ``a exp(-phi) = sum_j G``, that is ``phi = -eps / (1 + eps) log sum_j b exp((psi - c) / eps)``.
    """
    damp = -eps / (1.0 + eps)
    phi = damp * torch.logsumexp((psi - cost).div_(eps).add_(b.log()), dim=1)
    psi = damp * torch.logsumexp((phi[:, None] - cost).div_(eps).add_(a.log()[:, None]), dim=0)
    return centre_potentials(phi, psi, a, b)


def kernel_sweeps(
    cost: Tensor, phi: Tensor, psi: Tensor, a: Tensor, b: Tensor, eps: float, sweeps: int
) -> tuple[Tensor, Tensor]:
    """Sweep several times with one exponential of the cost: the kernel absorbs the potentials."""
    kernel = (psi - cost).add_(phi[:, None]).div_(eps).exp_()
    phi0, psi0 = phi, psi
    for _ in range(sweeps):
        scaling = b * ((psi - psi0) / eps).clamp(-_CAP, _CAP).exp()
        phi = (phi0 - eps * (kernel @ scaling).clamp_min(1e-300).log()) / (1.0 + eps)
        scaling = a * ((phi - phi0) / eps).clamp(-_CAP, _CAP).exp()
        psi = (psi0 - eps * (scaling @ kernel).clamp_min(1e-300).log()) / (1.0 + eps)
        phi, psi = centre_potentials(phi, psi, a, b)
    return phi, psi


def typical_cost(cost: Tensor) -> float:
    """Median finite cost, from at most some ten thousand evenly spaced entries."""
    flat = cost.reshape(-1)
    sample = flat[:: max(1, flat.numel() // 20_000)]
    sample = sample[torch.isfinite(sample) & (sample > 0)]
    if sample.numel() == 0:
        sample = flat[torch.isfinite(flat) & (flat > 0)]
    return float(sample.median()) if sample.numel() else 1.0


def annealed_potentials(
    cost: Tensor, a: Tensor, b: Tensor, *, last: float = 0.003, sweeps: int = 12
) -> tuple[Tensor, Tensor]:
    """Anneal the entropic problem: eps falls by three from the median cost to ``last`` times it.

    Parameters
    ----------
    cost
        Costs, shape ``(n, m)``, infinite where no move is possible; every row and column has a
        finite entry.
    a, b
        Positive masses, shapes ``(n,)`` and ``(m,)``.
    last
        Last eps, as a share of the median finite cost.
    sweeps
        Sweeps at each eps.

    Returns
    -------
    Row and column potentials (not feasible: pass them through a c-transform).
    """
    scale = typical_cost(cost)
    phi, psi = torch.zeros_like(a), torch.zeros_like(b)
    share = 1.0
    while True:
        phi, psi = log_sweep(cost, phi, psi, a, b, share * scale)
        phi, psi = kernel_sweeps(cost, phi, psi, a, b, share * scale, sweeps - 1)
        if share <= last:
            return phi, psi
        share = max(share / 3.0, last)


def entropic_potentials(
    cost: Tensor, a: Tensor, b: Tensor, eps: float, *, tol: float = 1e-6, most: int = 100
) -> tuple[Tensor, Tensor]:
    """Converged potentials of the entropic problem at one ``eps``, reached by annealing.

    Parameters
    ----------
    cost
        Costs, shape ``(n, m)``; every row and column has a finite entry.
    a, b
        Positive masses of sum one, shapes ``(n,)`` and ``(m,)``.
    eps
        Entropic regularisation, in units of the cost.
    tol
        Stop when a round of 20 sweeps changes no potential by more than ``tol * eps``.
    most
        Most rounds.

    Returns
    -------
    Row and column potentials of the plan ``a b exp((phi + psi - c) / eps)``.
    """
    scale = max(typical_cost(cost), eps)
    phi, psi = annealed_potentials(cost, a, b, last=eps / scale)
    for _ in range(most):
        old = phi
        phi, psi = log_sweep(cost, phi, psi, a, b, eps)
        phi, psi = kernel_sweeps(cost, phi, psi, a, b, eps, 20)
        if float((phi - old).abs().max()) <= tol * eps:
            break
    return phi, psi
