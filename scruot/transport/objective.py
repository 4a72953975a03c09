"""Primal and dual value of optimal entropy transport, and the best shift of its potentials."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centre_potentials", "dual_value", "primal_value"]


def marginal_penalty(mass: Tensor, target: Tensor) -> Tensor:
    """KL(mass | target) = sum mass log(mass / target) - mass + target, precise where they agree."""
    ratio = mass / target
    excess = ratio - 1.0
    return (target * (torch.xlogy(ratio, ratio) - excess)).sum()


def primal_value(
    cost: Tensor, plan: Tensor, rows: Tensor, cols: Tensor, a: Tensor, b: Tensor
) -> float:
    """<G, c> + KL(rows | a) + KL(cols | b) of a sparse plan with these marginals; a, b positive."""
    return float((cost * plan).sum() + marginal_penalty(rows, a) + marginal_penalty(cols, b))


def dual_value(phi: Tensor, psi: Tensor, a: Tensor, b: Tensor) -> float:
    """Sum a (1 - e^-phi) + b (1 - e^-psi): a lower bound if phi + psi <= c for all pairs."""
    return float(-(a * torch.expm1(-phi)).sum() - (b * torch.expm1(-psi)).sum())


def centre_potentials(phi: Tensor, psi: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Add the constant to phi, and take it from psi, that maximises the dual value.

    The maximum is where both sides carry the same mass, sum a e^-phi = sum b e^-psi
    (translation-invariant Sinkhorn: Sejourne, Vialard and Peyre, AISTATS 2022).
    """
    shift = 0.5 * (torch.logsumexp(a.log() - phi, 0) - torch.logsumexp(b.log() - psi, 0))
    return phi + shift, psi - shift
