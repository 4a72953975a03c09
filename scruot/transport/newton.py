"""Entropic transport by Sinkhorn sweeps and truncated Newton steps, on a graph or on all pairs.

The dual of the entropic problem is smooth and concave. A sweep maximises it over one side and then
over the other; where mass has to shift along many edges, as in large or overlapping clouds at small
eps, this takes some ``1 / g`` sweeps for a spectral gap ``g``. Newton steps on the column
potentials, with the row potentials eliminated and the linear system solved by preconditioned
conjugate gradients, take the square root of that, and a product costs no more than a sweep.

References
----------
Brauer, Clason, Lorenz and Wirth, *A Sinkhorn-Newton method for entropic optimal transport*, 2017
:cite:p:`brauer2017`. Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao and Ying,
*Accelerating Sinkhorn algorithm with sparse Newton iterations*, ICLR 2024 :cite:p:`tang2024`.
Sejourne, Vialard and Peyre, *Faster unbalanced optimal transport: translation invariant Sinkhorn
and 1-D Frank-Wolfe*, AISTATS 2022 :cite:p:`sejourne2022`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.transport.graph import Product
from scruot.transport.objective import centre_potentials, dual_value
from scruot.transport.penalties import WFR, Sides
from scruot.transport.sinkhorn import EntropicCost

__all__ = ["NewtonPotentials", "newton_potentials"]

_LOG = logging.getLogger(__name__)

_CAP = 300.0  # largest exponent of a scaling between two absorptions
_SWEEPS = 3  # after each absorption
_NEWTON = 3  # steps between two absorptions
_CONJUGATE = 60  # products of a Newton step, by default
_ACCURACY = 0.1  # to which its linear system is solved
_LONGEST = 30.0  # change of a potential in a Newton step, over eps
_ABSORB = 20.0  # change after which the kernel is computed again, over eps
_SHORTER, _TRIALS = 0.4, 8  # of the line search
_RISE = 1e-4  # share of the predicted rise that a step must bring
_FACTOR = 4.0  # between one eps and the next
_ROUGH = 1e-2  # residual at all but the last eps


@dataclass(frozen=True, eq=False)
class NewtonPotentials:
    """Potentials at one eps.

    Attributes
    ----------
    phi, psi
        Row and column potentials.
    eps
        Regularisation.
    residual
        Mass by which the column sums of the plan differ from those that belong to the potentials,
        over the mass of the plan. The rows agree.
    """

    phi: Tensor
    psi: Tensor
    eps: float
    residual: float


def newton_potentials(
    costs: EntropicCost,
    a: Tensor,
    b: Tensor,
    *,
    first: float,
    last: float,
    start: Tensor | None = None,
    tol: float,
    most: int = 20,
    products: int = _CONJUGATE,
    sides: Sides = WFR,
) -> NewtonPotentials:
    """Solve the entropic problem while eps falls by four from ``first`` to ``last``.

    Parameters
    ----------
    costs
        Costs; every row and every column has a finite one.
    a, b
        Positive masses.
    first, last
        First and last regularisation, in units of the cost.
    start
        Column potentials to start from; zero by default.
    tol
        Residual to reach at the last eps.
    most
        Most absorptions, each with up to three Newton steps, at each eps.
    products
        Most products with the curvature in each Newton step.
    sides
        Penalties of rows and columns.

    Returns
    -------
    The potentials; ``residual`` tells whether ``tol`` was reached.
    """
    psi = torch.zeros_like(b) if start is None else start
    eps, before = max(first, last), None
    while True:
        enough = tol if eps <= last else max(tol, _ROUGH)
        found = _solve_at(_Problem(costs, a, b, sides, eps, products), psi, enough, most)
        if eps <= last:
            return found
        psi, following = found.psi, max(eps / _FACTOR, last)
        if before is not None:  # potentials are nearly linear in eps
            psi = psi + (psi - before.psi) * ((following - eps) / (eps - before.eps))
            psi = psi.clamp(-sides.target.bound, sides.target.bound)
        before, eps = found, following


@dataclass(frozen=True, eq=False)
class _Problem:
    """The entropic problem at one eps."""

    costs: EntropicCost
    a: Tensor
    b: Tensor
    sides: Sides
    eps: float
    products: int

    def rows(self, soft: Tensor) -> Tensor:
        """Row potentials from the logarithm of the row sums of the kernel."""
        return self.sides.source.step(soft, self.eps, self.a)

    def cols(self, soft: Tensor) -> Tensor:
        """Column potentials from the logarithm of the column sums."""
        return self.sides.target.step(soft, self.eps, self.b)


@dataclass(frozen=True, eq=False)
class _Kernel:
    """Products with ``a b exp((phi0 + psi0 - c) / eps)`` and its transpose."""

    problem: _Problem
    times: Product
    turned: Product
    phi0: Tensor
    psi0: Tensor

    @classmethod
    def absorb(cls, problem: _Problem, phi: Tensor, psi: Tensor) -> _Kernel:
        products = problem.costs.plan_products(problem.a, problem.b, phi, psi, problem.eps)
        return cls(problem, *products, phi, psi)

    def left(self, phi: Tensor) -> Tensor:
        return ((phi - self.phi0) / self.problem.eps).clamp(-_CAP, _CAP).exp()

    def right(self, psi: Tensor) -> Tensor:
        return ((psi - self.psi0) / self.problem.eps).clamp(-_CAP, _CAP).exp()

    def rows(self, psi: Tensor) -> Tensor:
        """Row potentials that are optimal for column potentials."""
        mass = self.times(self.right(psi)).clamp_min_(1e-300)
        return self.problem.rows((mass / self.problem.a).log_() - self.phi0 / self.problem.eps)

    def cols(self, phi: Tensor) -> Tensor:
        """Column potentials that are optimal for row potentials."""
        mass = self.turned(self.left(phi)).clamp_min_(1e-300)
        return self.problem.cols((mass / self.problem.b).log_() - self.psi0 / self.problem.eps)


def _solve_at(problem: _Problem, psi: Tensor, tol: float, most: int) -> NewtonPotentials:
    """Solve at one eps, from column potentials."""
    costs, a, b, eps = problem.costs, problem.a, problem.b, problem.eps
    phi = problem.rows(costs.soft_rows(psi / eps + b.log(), eps))
    psi = problem.cols(costs.soft_cols(phi / eps + a.log(), eps))
    residual = math.inf
    for number in range(most):
        kernel = _Kernel.absorb(problem, phi, psi)
        phi = kernel.rows(psi)
        for _ in range(_SWEEPS):
            psi = kernel.cols(phi)
            phi, psi = centre_potentials(phi, psi, a, b, problem.sides)
            phi = kernel.rows(psi)
        for _ in range(_NEWTON):
            local = _Expansion.at(kernel, phi, psi)
            residual = local.residual
            if residual <= tol:
                return NewtonPotentials(phi, psi, eps, residual)
            moved = local.step(kernel, phi, psi)
            if moved is None:
                break
            phi, psi, change = moved
            if change > _ABSORB * eps:
                break
        _LOG.debug("eps %.2e, absorption %d: residual %.2e", eps, number, residual)
    return NewtonPotentials(phi, psi, eps, residual)


@dataclass(frozen=True, eq=False)
class _Expansion:
    """The dual as a function of the column potentials: value, gradient and curvature."""

    value: float
    gradient: Tensor
    diagonal: Tensor
    curvature: Callable[[Tensor], Tensor]
    residual: float

    @classmethod
    def at(cls, kernel: _Kernel, phi: Tensor, psi: Tensor) -> _Expansion:
        """Expand at potentials whose rows are optimal."""
        source, target = kernel.problem.sides
        eps = kernel.problem.eps
        u, v = kernel.left(phi), kernel.right(psi)
        row, col = u * kernel.times(v), v * kernel.turned(u)
        asked, slope = target.smooth(psi, kernel.problem.b)
        gradient = asked - col
        free = _free(gradient, psi, target.bound)
        gradient = torch.where(free, gradient, 0.0)
        diagonal = (slope + col / eps).clamp_min(1e-300)  # a dead column has neither
        # Rows are eliminated: their diagonal is slope + row / eps, the coupling is plan / eps. At
        # its bound a row does not answer.
        weight = u * u / (eps * (eps * source.smooth(phi, kernel.problem.a)[1] + row))
        weight = torch.where(phi.abs() < source.bound, weight, 0.0)

        def curvature(x: Tensor) -> Tensor:
            turned = diagonal * x - v * kernel.turned(weight * kernel.times(v * x))
            return torch.where(free, turned, 0.0)

        residual = float(gradient.abs().sum() / row.sum())
        value = _value(kernel.problem, phi, psi, float(row.sum()))
        return cls(value, gradient, diagonal, curvature, residual)

    def step(
        self, kernel: _Kernel, phi: Tensor, psi: Tensor
    ) -> tuple[Tensor, Tensor, float] | None:
        """Step with backtracking; None where no step increases the dual value enough."""
        problem = kernel.problem
        longest, bound = _LONGEST * problem.eps, problem.sides.target.bound
        direction = conjugate_gradients(
            self.curvature, self.gradient, self.diagonal, most=problem.products
        )
        direction = direction.clamp(-longest, longest)
        size = 1.0
        for _ in range(_TRIALS):
            trial = (psi + size * direction).clamp(-bound, bound)
            trial_phi = kernel.rows(trial)
            mass = kernel.left(trial_phi) @ kernel.times(kernel.right(trial))
            rise = _value(problem, trial_phi, trial, float(mass)) - self.value
            if rise >= _RISE * float(self.gradient @ (trial - psi)):
                return trial_phi, trial, size * float(direction.abs().max())
            size *= _SHORTER
        return None


def _free(gradient: Tensor, psi: Tensor, bound: float) -> Tensor:
    """Mask of the potentials that are not held at a bound by their gradient."""
    return ~(((psi >= bound) & (gradient > 0)) | ((psi <= -bound) & (gradient < 0)))


def _value(problem: _Problem, phi: Tensor, psi: Tensor, mass: float) -> float:
    """Dual value of the entropic problem, up to a constant, where the plan has this mass."""
    return dual_value(phi, psi, problem.a, problem.b, problem.sides) - problem.eps * mass


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], right: Tensor, diagonal: Tensor, *, most: int = _CONJUGATE
) -> Tensor:
    """Solve a positive definite system roughly, with a diagonal preconditioner."""
    x, r = torch.zeros_like(right), right.clone()
    z = r / diagonal
    p, now = z, float(r @ z)
    enough = _ACCURACY**2 * now
    for _ in range(most):
        q = apply(p)
        curvature = float(p @ q)
        if not curvature > 0.0:  # rounding
            break
        x.add_(p, alpha=now / curvature)
        r.sub_(q, alpha=now / curvature)
        z = r / diagonal
        following = float(r @ z)
        if following <= enough:
            break
        p, now = z + (following / now) * p, following
    return x
