"""Primal and dual value of penalised transport, and the best shift of its potentials."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scruot.transport.penalties import WFR, Sides

__all__ = ["centre_potentials", "dual_value", "primal_value"]

_BALANCED = 1e-12  # share of the mass that counts as rounding
_MOST_STEPS = 60
_NUDGE = 1e-9  # share of tau on either side of a kink


def primal_value(
    cost: Tensor,
    plan: Tensor,
    rows: Tensor,
    cols: Tensor,
    a: Tensor,
    b: Tensor,
    sides: Sides = WFR,
) -> float:
    """<G, c> and the penalties of a sparse plan with these marginals; a, b positive."""
    source, target = sides.source.value(rows, a), sides.target.value(cols, b)
    return float((cost * plan).sum() + source + target)


def dual_value(phi: Tensor, psi: Tensor, a: Tensor, b: Tensor, sides: Sides = WFR) -> float:
    """Sum of both sides of the dual: a lower bound if phi + psi <= c for all pairs."""
    return float(sides.source.dual(phi, a) + sides.target.dual(psi, b))


def centre_potentials(
    phi: Tensor, psi: Tensor, a: Tensor, b: Tensor, sides: Sides = WFR
) -> tuple[Tensor, Tensor]:
    """Add the constant to phi, and take it from psi, that maximises the dual value.

    The maximum is where both sides carry the same mass (translation-invariant Sinkhorn: Sejourne,
    Vialard and Peyre, AISTATS 2022 :cite:p:`sejourne2022`): in closed form with KL or exact
    marginals, else by a search.
    """
    source, target = sides
    if source.exact and target.exact:
        return phi, psi
    if all(side.exact or side.kind == "kl" for side in sides):
        rate = 1.0 / (1.0 / source.tau + 1.0 / target.tau)
        left = torch.logsumexp(a.log() - phi / source.tau, 0)
        shift = rate * (left - torch.logsumexp(b.log() - psi / target.tau, 0))
        return phi + shift, psi - shift
    search = _bisect if any(side.kind == "tv" for side in sides) else _newton
    found = search(phi, psi, a, b, sides)
    # the bounds of TV come first: potentials below them are shifted up, if the other side allows
    found = max(found, -sides.source.bound - float(phi.min()))
    found = min(found, sides.target.bound + float(psi.min()))
    return phi + found, psi - found


def _newton(phi: Tensor, psi: Tensor, a: Tensor, b: Tensor, sides: Sides) -> float:
    """Shift at which both sides carry the same mass, by Newton steps within a shrinking bracket."""
    low, high, shift = -math.inf, math.inf, 0.0
    rounding, longest = _BALANCED * float(a.sum() + b.sum()), 64.0 * sides.least
    for _ in range(_MOST_STEPS):
        rows, row_curve = sides.source.smooth(phi + shift, a)
        cols, col_curve = sides.target.smooth(psi - shift, b)
        excess = float(rows.clamp_min(0.0).sum() - cols.clamp_min(0.0).sum())
        if abs(excess) <= rounding:
            break
        low, high = (shift, high) if excess > 0 else (low, shift)
        slope = float((row_curve * (rows > 0)).sum() + (col_curve * (cols > 0)).sum())
        step = max(-longest, min(longest, excess / max(slope, 1e-300)))
        shift = shift + step if low < shift + step < high else 0.5 * (low + high)
    return shift


def _bisect(phi: Tensor, psi: Tensor, a: Tensor, b: Tensor, sides: Sides) -> float:
    """Shift at which the excess of mass of the source changes its sign.

    With TV masses jump, and may be balanced on a whole interval of shifts. Its middle is taken when
    no shift at all would leave a potential at its bound, which a Sinkhorn step cannot leave either.
    """

    def excess(shift: float) -> float:
        rows = sides.source.marginal(phi + shift, a)
        found = float(rows.sum() - sides.target.marginal(psi - shift, b).sum())
        return 0.0 if abs(found) <= rounding else found

    step, rounding = sides.least, _BALANCED * float(a.sum() + b.sum())
    # potentials within the bounds of TV stay within them
    least = min(0.0, -sides.source.bound - float(phi.min()))
    most = max(0.0, float(psi.min()) + sides.target.bound)
    after, before = excess(_NUDGE * step), excess(-_NUDGE * step)
    if after > 0:
        return _sign_change(excess, 1.0, step, most)
    if before < 0:
        return _sign_change(excess, -1.0, step, -least)
    if after == 0 < before:
        return 0.5 * _sign_change(lambda shift: excess(shift) + rounding, 1.0, step, most)
    if before == 0 > after:
        return 0.5 * _sign_change(lambda shift: excess(shift) - rounding, -1.0, step, -least)
    return 0.0


def _sign_change(
    excess: Callable[[float], float], direction: float, step: float, most: float
) -> float:
    """Walk from zero until a decreasing function changes its sign, then bisect."""
    near, far = 0.0, min(step, most)
    while direction * excess(direction * far) > 0 and far < min(most, 2.0**60 * step):
        near, far = far, min(4.0 * far, most)
    for _ in range(50):
        middle = 0.5 * (near + far)
        if direction * excess(direction * middle) > 0:
            near = middle
        else:
            far = middle
    return direction * 0.5 * (near + far)
