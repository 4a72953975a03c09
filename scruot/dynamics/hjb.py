r"""Residual of the Hamilton-Jacobi-Bellman equation, in three forms.

.. math:: r = \partial_t\lambda + \tfrac12|\nabla\lambda|^2
          + \tfrac12\sum_i\sigma_i^2\partial_i^2\lambda + H(\lambda)

vanishes along the paths of least action. All three forms agree: the exact one differentiates
twice in every coordinate, the second estimates that sum from random directions (Hutchinson), and
the third, the temporal difference, needs no second derivative and none in time: along a simulated
step the potential must change as Ito's formula and the equation say.

References
----------
Hutchinson (1990), Commun. Stat. Simul. Comput. 19, 433-450 :cite:p:`hutchinson1990`; Han, Jentzen,
E (2018), PNAS 115, 8505-8510 :cite:p:`han2018`, on the equation along simulated paths.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Potential", "residual", "temporal_difference"]

Potential = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Value (n,) and gradient (n, d) of a potential at times (n,) and states (n, d)."""


def residual(
    potential: Potential,
    hamiltonian: Callable[[Tensor], Tensor],
    t: Tensor,
    x: Tensor,
    sigma: Tensor,
    *,
    probes: Tensor | None = None,
) -> Tensor:
    """Return the residual with a Laplacian by differentiation, shape (n,).

    Parameters
    ----------
    potential
        Value and gradient, both differentiable.
    hamiltonian
        ``H`` of the potential's value.
    t, x
        Shapes (n,) and (n, d).
    sigma
        Noise per coordinate, shape (d,) or (n, d).
    probes
        Random signs of shape (n, d): the Laplacian is then Hutchinson's unbiased estimate.
        Without them it is exact, at ``d`` differentiations.
    """
    # without a graph of its own, and for callers that want no gradient at all
    with torch.enable_grad():
        t, x = (v if v.requires_grad else v.detach().requires_grad_() for v in (t, x))
        value, gradient = potential(t, x)
        (rate,) = torch.autograd.grad(value.sum(), t, create_graph=True)
        result = rate + gradient.square().sum(1) / 2 + hamiltonian(value)
        if bool((sigma > 0).any()) and gradient.requires_grad:
            variance = sigma.square().expand_as(x)
            result = result + _laplacian(gradient, x, variance, probes) / 2
    return result


def _laplacian(gradient: Tensor, x: Tensor, variance: Tensor, probes: Tensor | None) -> Tensor:
    if probes is not None:
        root = variance.sqrt() * probes
        (product,) = torch.autograd.grad((gradient * root).sum(), x, create_graph=True)
        return (product * root).sum(1)
    total = torch.zeros_like(x[:, 0])
    for i in range(x.shape[1]):
        (row,) = torch.autograd.grad(gradient[:, i].sum(), x, create_graph=True)
        total = total + variance[:, i] * row[:, i]
    return total


def temporal_difference(
    before: tuple[Tensor, Tensor, Tensor],
    after: tuple[Tensor, Tensor, Tensor],
    h: Tensor | float,
    noise: Tensor,
) -> Tensor:
    r"""Return the residual from one Euler step ``x + h u + noise``, shape (n,).

    In expectation over the noise it is the residual at the step's start up to order ``h`` (order
    ``h^2`` around the step's middle without noise): Ito's formula along the step, where the
    unknown time derivative has been taken from the equation at both ends.

    Parameters
    ----------
    before, after
        Value (n,), gradient (n, d) and Hamiltonian (n,) of the potential at both ends of the
        step.
    h
        Duration of the step.
    noise
        ``sigma dW`` of the step, shape (n, d).
    """
    value, u, hamiltonian = before
    value_after, u_after, hamiltonian_after = after
    start = u.square().sum(1) / 2 - hamiltonian
    end = (u_after * u).sum(1) - u_after.square().sum(1) / 2 - hamiltonian_after
    martingale = (u * noise).sum(1)
    return (value_after - value - martingale) / h - (start + end) / 2
