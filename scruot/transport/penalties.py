"""Penalties for the marginals of a plan, and what the solvers need to know of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from scruot._messages import unknown

__all__ = ["WFR", "Bounds", "Penalty", "Sides"]

_KINDS = ("exact", "kl", "l2", "tv", "chi2")
_RARE = 40.0  # with KL a share exp(-40) of the mass stays, which double precision cannot see
_FEASIBLE = 1e-6  # relative error with which an exact marginal counts as met


@dataclass(frozen=True)
class Penalty:
    r"""Price of a marginal ``p`` of the plan that differs from the prescribed masses ``q``.

    The price is :math:`\tau D(p | q)`. All divergences double when both measures double, so
    ``tau`` is in units of the cost per unit of mass, whatever the masses are:

    * ``"kl"``: :math:`\sum p \log(p / q) - p + q`;
    * ``"chi2"``: :math:`\sum (p - q)^2 / q`;
    * ``"l2"``: :math:`\sum (p - q)^2 / (2 \bar q)` with :math:`\bar q` the mean of the positive
      masses; POT's ``div="l2"`` writes :math:`\tfrac12 \|p - q\|^2`, its ``reg_m`` is ``tau /
      mean``. For equal masses half of chi-squared;
    * ``"tv"``: :math:`\sum |p - q|`, as POT's;
    * ``"exact"``: the marginal is as prescribed. An infinite ``tau`` means the same.

    Parameters
    ----------
    kind
        The divergence.
    tau
        Price of a unit of mass, in units of the (scaled) cost, positive; infinite for an exact
        marginal.

    References
    ----------
    Chizat, Peyre, Schmitzer and Vialard, *Scaling algorithms for unbalanced optimal transport
    problems*, Math. Comp. 87 (2018) :cite:p:`chizat2018scaling`. Sejourne, Peyre and Vialard,
    *Unbalanced optimal transport, from theory to numerics*, Handbook of Numerical Analysis 24
    (2023) :cite:p:`sejourne2023`.

    Examples
    --------
    >>> import torch
    >>> float(Penalty("tv", 3.0).value(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 3.0])))
    6.0
    >>> Penalty("kl").exact
    True
    """

    kind: Literal["exact", "kl", "l2", "tv", "chi2"]
    tau: float = math.inf

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(unknown("penalty", self.kind, _KINDS))
        if not self.tau > 0:
            msg = (
                f"Found tau = {self.tau} for the penalty {self.kind!r}, expected a positive price; "
                "an infinite one fixes the marginal."
            )
            raise ValueError(msg)
        if self.kind == "exact" and self.tau != math.inf:
            msg = f"Found tau = {self.tau} for an exact marginal; leave tau out or use kind='kl'."
            raise ValueError(msg)

    @property
    def exact(self) -> bool:
        """Whether the marginal is fixed."""
        return self.tau == math.inf

    @property
    def bound(self) -> float:
        """Bound of the size of potentials: ``tau`` with TV."""
        return self.tau if self.kind == "tv" else math.inf

    def ceiling(self, prescribed: Tensor) -> Tensor:
        """Largest potentials worth considering: beyond it all mass is destroyed."""
        if self.exact or self.kind == "tv":
            return torch.full_like(prescribed, self.tau)
        if self.kind == "kl":
            return torch.full_like(prescribed, _RARE * self.tau)
        return self._stiffness(prescribed) * prescribed

    def value(self, mass: Tensor, prescribed: Tensor) -> Tensor:
        """Price of a marginal; ``prescribed`` positive.

        An exact marginal counts as met when no mass is off by more than 1e-6 of its prescribed
        value, and costs infinity otherwise.
        """
        if self.exact:
            worst = ((mass / prescribed) - 1.0).abs().max()
            return torch.where(worst <= _FEASIBLE, 0.0, math.inf).to(mass.dtype)
        if self.kind == "kl":
            ratio = mass / prescribed  # precise where they agree
            return self.tau * (prescribed * (torch.xlogy(ratio, ratio) - (ratio - 1.0))).sum()
        if self.kind == "tv":
            return self.tau * (mass - prescribed).abs().sum()
        return 0.5 * (self._stiffness(prescribed) * (mass - prescribed).square()).sum()

    def dual(self, phi: Tensor, prescribed: Tensor) -> Tensor:
        """Least price of a marginal plus ``phi`` per unit of mass: this side of the dual value."""
        if self.exact:
            return (phi * prescribed).sum()
        if self.kind == "kl":
            return -self.tau * (prescribed * torch.expm1(-phi / self.tau)).sum()
        if self.kind == "tv":
            forbidden = (phi < -self.tau * (1.0 + 1e-12)).any()
            value = (phi.clamp_max(self.tau) * prescribed).sum()
            return torch.where(forbidden, -math.inf, value)
        stiff = self._stiffness(prescribed)
        top = phi.minimum(stiff * prescribed)  # beyond it the cheapest marginal is zero
        return (top * prescribed - top.square() / (2.0 * stiff)).sum()

    def marginal(self, phi: Tensor, prescribed: Tensor) -> Tensor:
        """Marginal that belongs to a potential: the slope of :meth:`dual`, at least zero.

        With TV it is the prescribed mass up to ``phi = tau``, and zero beyond.
        """
        if self.exact:
            return prescribed
        if self.kind == "tv":
            return torch.where(phi < self.tau, prescribed, 0.0)
        return self.smooth(phi, prescribed)[0].clamp_min(0.0)

    def smooth(self, phi: Tensor, prescribed: Tensor) -> tuple[Tensor, Tensor]:
        """Marginal of a potential where no bound is active, and minus its derivative."""
        if self.kind == "kl" and not self.exact:
            mass = prescribed * torch.exp(-phi / self.tau)
            return mass, mass / self.tau
        if self.exact or self.kind == "tv":
            return prescribed, torch.zeros_like(prescribed)
        stiff = self._stiffness(prescribed)
        return prescribed - phi / stiff, 1.0 / stiff

    def bend(self, mass: Tensor, change: Tensor) -> Tensor:
        """Second-order change of the smooth marginal ``mass`` when its potential changes."""
        if self.kind == "kl" and not self.exact:
            return 0.5 * mass * (change / self.tau).clamp(-1, 1) ** 2
        return torch.zeros_like(mass)

    def step(self, soft: Tensor, eps: float, prescribed: Tensor) -> Tensor:
        """Solve a Sinkhorn half step: the potential whose row mass ``q exp(phi/eps + soft)`` fits.

        ``soft`` is the logarithm of the row sums of the kernel, scaled by the other side.
        """
        if self.exact:
            return -eps * soft
        if self.kind == "kl":
            return soft * (-eps / (1.0 + eps / self.tau))
        if self.kind == "tv":
            return (-eps * soft).clamp(-self.tau, self.tau)
        # exp(phi/eps + soft) = 1 - phi/edge, that is z + exp(z) = edge/eps + soft + log(edge/eps)
        edge = self._stiffness(prescribed) * prescribed
        ratio = edge / eps
        z = _omega(ratio + soft + ratio.log())
        return -edge * torch.expm1(z - ratio.log())

    def _stiffness(self, prescribed: Tensor) -> Tensor:
        """Second derivative of a quadratic penalty."""
        if self.kind == "chi2":
            return 2.0 * self.tau / prescribed
        return (self.tau / prescribed.mean()).expand_as(prescribed)


def _omega(right: Tensor) -> Tensor:
    """Solve ``z + exp(z) = right``; Newton from above, where the convex function is positive."""
    z = torch.where(right < 1.0, right, right.clamp_min(1.0).log())
    for _ in range(60):
        grown = z.exp()
        change = (z + grown - right) / (1.0 + grown)
        z = z - change
        if float(change.abs().nan_to_num().max()) <= 1e-15 * (
            1.0 + float(z.abs().nan_to_num().max())
        ):
            break
    return z


class Bounds(NamedTuple):
    """Least potentials of rows and columns, and the largest ones, cell by cell."""

    row_floor: float
    col_floor: float
    rows: Tensor
    cols: Tensor

    @property
    def cost(self) -> float:
        """Cost from which on a pair carries no mass."""
        return float(self.rows.max() + self.cols.max())

    def columns(self, psi: Tensor) -> Tensor:
        """Column potentials brought into the range."""
        return psi.clamp_min(self.col_floor).minimum(self.cols)


class Sides(NamedTuple):
    """Penalties of both marginals."""

    source: Penalty
    target: Penalty

    @property
    def least(self) -> float:
        """The smaller price, infinite if both marginals are exact."""
        return min(self.source.tau, self.target.tau)

    def bounds(self, a: Tensor, b: Tensor) -> Bounds:
        """Range of potentials that is worth considering."""
        return Bounds(
            -self.source.bound, -self.target.bound, self.source.ceiling(a), self.target.ceiling(b)
        )


WFR = Sides(Penalty("kl", 1.0), Penalty("kl", 1.0))
