"""Entropic transport by stabilised, annealed, translation-invariant Sinkhorn sweeps.

The entropic plan is ``G = a b exp((phi + psi - c) / eps)``. Its potentials make the rows what the
penalty says: with KL ``a exp(-phi / tau) = G 1``, that is ``phi = -eps tau / (tau + eps) log sum_j
b exp((psi - c) / eps)``, and the same for the columns.

References
----------
Chizat, Peyre, Schmitzer and Vialard, Math. Comp. 87 (2018) :cite:p:`chizat2018scaling`. Sejourne,
Vialard and Peyre, AISTATS 2022 :cite:p:`sejourne2022`, on the invariance under translation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from scruot.transport.cost import CostBlocks
from scruot.transport.graph import EdgeGraph, Product
from scruot.transport.objective import centre_potentials
from scruot.transport.penalties import WFR, Sides

__all__ = [
    "BlockedCost",
    "DenseCost",
    "EdgeCost",
    "Potentials",
    "anneal",
    "annealed",
    "typical_cost",
]

_CAP = 300.0  # largest exponent of a scaling between two absorptions


class EntropicCost(Protocol):
    """What the sweeps need to know of a cost, dense or on edges."""

    def soft_rows(self, v: Tensor, eps: float) -> Tensor:
        """Return ``log sum_j exp(v_j - c_ij / eps)``."""

    def soft_cols(self, u: Tensor, eps: float) -> Tensor:
        """Return ``log sum_i exp(u_i - c_ij / eps)``."""

    def kernel(self, phi: Tensor, psi: Tensor, eps: float) -> tuple[Product, Product]:
        """Return ``v -> K v`` and ``u -> K' u`` for ``K = exp((phi + psi - c) / eps)``."""

    def plan_products(
        self, a: Tensor, b: Tensor, phi: Tensor, psi: Tensor, eps: float
    ) -> tuple[Product, Product]:
        """Return the products with the plan ``a b exp((phi + psi - c) / eps)``."""


class _Pairs:
    """Products with the plan of a cost that regards all pairs."""

    def plan_products(
        self: EntropicCost, a: Tensor, b: Tensor, phi: Tensor, psi: Tensor, eps: float
    ) -> tuple[Product, Product]:
        """Return the products with the plan ``a b exp((phi + psi - c) / eps)``."""
        rows, cols = self.kernel(phi, psi, eps)
        return (lambda v: a * rows(b * v)), (lambda u: b * cols(a * u))


@dataclass(frozen=True, eq=False)
class DenseCost(_Pairs):
    """A cost matrix held as a whole."""

    cost: Tensor

    def soft_rows(self, v: Tensor, eps: float) -> Tensor:
        """Return ``log sum_j exp(v_j - c_ij / eps)``."""
        return torch.logsumexp(torch.add(v, self.cost, alpha=-1.0 / eps), dim=1)

    def soft_cols(self, u: Tensor, eps: float) -> Tensor:
        """Return ``log sum_i exp(u_i - c_ij / eps)``."""
        return torch.logsumexp(torch.add(u[:, None], self.cost, alpha=-1.0 / eps), dim=0)

    def kernel(self, phi: Tensor, psi: Tensor, eps: float) -> tuple[Product, Product]:
        """Return the products with the kernel and its transpose."""
        kernel = (psi - self.cost).add_(phi[:, None]).div_(eps).exp_()
        return (lambda v: kernel @ v), (lambda u: u @ kernel)


@dataclass(frozen=True, eq=False)
class BlockedCost(_Pairs):
    """A cost matrix that is computed again, block by block of rows, at every pass."""

    costs: CostBlocks

    def soft_rows(self, v: Tensor, eps: float) -> Tensor:
        """Return ``log sum_j exp(v_j - c_ij / eps)``."""
        return torch.cat([DenseCost(block).soft_rows(v, eps) for _, block in self.costs])

    def soft_cols(self, u: Tensor, eps: float) -> Tensor:
        """Return ``log sum_i exp(u_i - c_ij / eps)``."""
        total = u.new_full((self.costs.shape[1],), -math.inf)
        for part, block in self.costs:
            total = torch.logaddexp(total, DenseCost(block).soft_cols(u[part], eps))
        return total

    def kernel(self, phi: Tensor, psi: Tensor, eps: float) -> tuple[Product, Product]:
        """Return the products with the kernel and its transpose."""

        def rows(v: Tensor) -> Tensor:
            kernels = (
                DenseCost(block).kernel(phi[part], psi, eps)[0] for part, block in self.costs
            )
            return torch.cat([product(v) for product in kernels])

        def cols(u: Tensor) -> Tensor:
            total = torch.zeros_like(psi)
            for part, block in self.costs:
                total += DenseCost(block).kernel(phi[part], psi, eps)[1](u[part])
            return total

        return rows, cols


@dataclass(frozen=True, eq=False)
class EdgeCost:
    """Costs on the edges of a graph; all other pairs are out of reach."""

    graph: EdgeGraph
    cost: Tensor

    def soft_rows(self, v: Tensor, eps: float) -> Tensor:
        """Return ``log sum_j exp(v_j - c_ij / eps)`` over the edges."""
        graph = self.graph
        exponent = v[graph.col] - self.cost / eps
        top = graph.rows(exponent, "max")
        return top + graph.rows((exponent - top[graph.row]).exp()).log()

    def soft_cols(self, u: Tensor, eps: float) -> Tensor:
        """Return ``log sum_i exp(u_i - c_ij / eps)`` over the edges."""
        graph = self.graph
        exponent = u[graph.row] - self.cost / eps
        top = graph.cols(exponent, "max")
        return top + graph.cols((exponent - top[graph.col]).exp()).log()

    def kernel(self, phi: Tensor, psi: Tensor, eps: float) -> tuple[Product, Product]:
        """Return the products with the kernel and its transpose."""
        exponent = self.graph.of_rows(phi).add_(psi[self.graph.col]).sub_(self.cost)
        return self.graph.products(exponent.div_(eps).exp_())

    def plan_products(
        self, a: Tensor, b: Tensor, phi: Tensor, psi: Tensor, eps: float
    ) -> tuple[Product, Product]:
        """Return the products with the plan."""
        return self.graph.products(self.plan(a, b, phi, psi, eps))

    def plan(self, a: Tensor, b: Tensor, phi: Tensor, psi: Tensor, eps: float) -> Tensor:
        """Return ``a b exp((phi + psi - c) / eps)`` on the edges."""
        exponent = self.graph.of_rows(phi + eps * a.log()).sub_(self.cost)
        return exponent.add_((psi + eps * b.log())[self.graph.col]).div_(eps).exp_()


class Potentials(NamedTuple):
    """Entropic potentials, and whether the sweeps settled before their number was used up."""

    phi: Tensor
    psi: Tensor
    converged: bool


def anneal(
    costs: EntropicCost, a: Tensor, b: Tensor, *, first: float, last: float, **options: Any
) -> tuple[Tensor, Tensor]:
    """Return the row and column potentials of :func:`annealed`."""
    return annealed(costs, a, b, first=first, last=last, **options)[:2]


def annealed(
    costs: EntropicCost,
    a: Tensor,
    b: Tensor,
    *,
    first: float,
    last: float,
    sweeps: int = 12,
    most_last: int | None = None,
    start: tuple[Tensor, Tensor] | None = None,
    tol: float = 1e-6,
    sides: Sides = WFR,
) -> Potentials:
    """Solve the entropic problem while eps falls by three from ``first`` to ``last``.

    Parameters
    ----------
    costs
        Costs, where every row and column has a finite entry.
    a, b
        Positive masses of sums near one, shapes ``(n,)`` and ``(m,)``.
    first, last
        First and last regularisation, in units of the cost.
    sweeps
        Sweeps at each eps.
    most_last
        Most sweeps at the last eps; ``sweeps`` by default.
    start
        Potentials to start from; zero by default.
    tol
        Leave an eps early when a round changes no potential by more than ``tol * eps``.
    sides
        Penalties of rows and columns.

    Returns
    -------
    Potentials of the plan (not feasible: pass them through a c-transform).
    """
    phi, psi = start or (torch.zeros_like(a), torch.zeros_like(b))
    eps = max(first, last)
    while True:
        budget = most_last if most_last is not None and eps <= last else sweeps
        found = _sweep_at(costs, phi, psi, a, b, eps, budget, tol, sides)
        if eps <= last:
            return found
        phi, psi, eps = found.phi, found.psi, max(eps / 3.0, last)


def _sweep_at(
    costs: EntropicCost,
    phi: Tensor,
    psi: Tensor,
    a: Tensor,
    b: Tensor,
    eps: float,
    budget: int,
    tol: float,
    sides: Sides,
) -> Potentials:
    """Sweep in rounds: one sweep in the log domain, then up to 20 with the potentials absorbed."""
    source, target = sides
    converged = False
    while budget > 0 and not converged:
        old = psi
        phi = source.step(costs.soft_rows(psi / eps + b.log(), eps), eps, a)
        psi = target.step(costs.soft_cols(phi / eps + a.log(), eps), eps, b)
        phi, psi = centre_potentials(phi, psi, a, b, sides)
        rows, cols = costs.kernel(phi, psi, eps)
        phi0, psi0 = phi, psi
        for _ in range(min(20, budget) - 1):
            scaling = b * ((psi - psi0) / eps).clamp(-_CAP, _CAP).exp()
            phi = source.step(rows(scaling).clamp_min(1e-300).log() - phi0 / eps, eps, a)
            scaling = a * ((phi - phi0) / eps).clamp(-_CAP, _CAP).exp()
            psi = target.step(cols(scaling).clamp_min(1e-300).log() - psi0 / eps, eps, b)
            phi, psi = centre_potentials(phi, psi, a, b, sides)
        budget -= 20
        # A column without edges keeps an infinite potential, whose change is not a number.
        converged = float((psi - old).nan_to_num().abs().max()) <= tol * eps
    return Potentials(phi, psi, converged)


def typical_cost(cost: Tensor) -> float:
    """Median of the positive finite costs, from some ten thousand evenly spaced entries."""
    flat = cost.reshape(-1)
    for sample in (flat[:: max(1, flat.numel() // 20_000)], flat):
        usable = sample[torch.isfinite(sample) & (sample > 0)]
        if usable.numel():
            return float(usable.median())
    return 1.0
