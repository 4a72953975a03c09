r"""Penalties that make displacements sparse: value, gradient and proximal operator.

Each is a function :math:`\gamma\tau` of a row :math:`z` of displacements; its proximal operator is
:math:`w \mapsto \arg\min_z \tfrac12 |w - z|^2 + \gamma\tau(z)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from scipy.optimize import brentq
from torch import Tensor

from scruot._messages import unknown

__all__ = ["PENALTIES", "Sparsity"]

Kind = Literal["smoothed_l0", "l1", "stvs", "k_support"]
PENALTIES: tuple[str, ...] = get_args(Kind)

_BISECTIONS = 60


@dataclass(frozen=True)
class Sparsity:
    r"""A penalty of displacements, summed over the last axis.

    * ``"l1"``: :math:`\gamma\sum |z_i|`;
    * ``"smoothed_l0"``: :math:`\gamma\sum 1 - \exp(-z_i^2 / 2a^2)`, which tends to :math:`\gamma`
      times the number of non-zero entries as ``width`` :math:`a \to 0`;
    * ``"stvs"`` (soft thresholding with vanishing shrinkage): :math:`\gamma^2\sum s_i + \tfrac12 -
      \tfrac12 e^{-2 s_i}` with :math:`s_i = \mathrm{asinh}(|z_i| / 2\gamma)`: it zeroes like
      ``"l1"`` and leaves large entries almost as they are;
    * ``"k_support"``: :math:`\tfrac{\gamma}{2}` times the squared k-support norm (k-overlap norm),
      the tightest convex penalty of rows with at most ``k`` non-zero entries.

    Parameters
    ----------
    kind
        The penalty.
    strength
        :math:`\gamma`, at least 0: a length for ``"l1"`` and ``"stvs"``, a squared length for
        ``"smoothed_l0"``, a number for ``"k_support"``.
    width
        With ``"smoothed_l0"``: the length :math:`a` beyond which an entry counts as non-zero.
    k
        With ``"k_support"``: the number of entries.

    Raises
    ------
    ValueError
        For an unknown penalty and numbers out of range.

    References
    ----------
    Schreck, Fort, Le Corff and Moulines (2016), IEEE J. Sel. Top. Signal Process. 10 (STVS)
    :cite:p:`schreck2016`. Argyriou, Foygel and Srebro (2012), NeurIPS (k-support)
    :cite:p:`argyriou2012`. Cuturi, Klein and Ablin (2023), ICML :cite:p:`cuturi2023`.

    Examples
    --------
    >>> import torch
    >>> Sparsity("l1", 1.0).prox(torch.tensor([[3.0, 0.5]])).tolist()
    [[2.0, 0.0]]
    """

    kind: Kind
    strength: float = 1.0
    width: float = 1.0
    k: int = 1

    def __post_init__(self) -> None:
        """Refuse what no penalty is."""
        if self.kind not in PENALTIES:
            raise ValueError(unknown("penalty", str(self.kind), PENALTIES))
        if not (math.isfinite(self.strength) and self.strength >= 0):
            msg = f"Found strength={self.strength!r}; expected a finite number, at least 0."
            raise ValueError(msg)
        if not (math.isfinite(self.width) and self.width > 0):
            msg = f"Found width={self.width!r}; expected a positive, finite number."
            raise ValueError(msg)
        if self.k < 1:
            msg = f"Found k={self.k!r}; expected a whole number of at least 1."
            raise ValueError(msg)

    def value(self, z: Tensor) -> Tensor:
        """Return the penalty of each row, shape ``z.shape[:-1]``; differentiable."""
        g = self.strength
        if g == 0:
            return torch.zeros_like(z).sum(-1)
        if self.kind == "l1":
            return g * z.abs().sum(-1)
        if self.kind == "smoothed_l0":
            return g * -torch.expm1(-0.5 * (z / self.width) ** 2).sum(-1)
        if self.kind == "stvs":
            s = torch.asinh(z.abs() / (2 * g))
            return g * g * (s - 0.5 * torch.expm1(-2 * s)).sum(-1)
        # the minimising shares do not move to first order: autograd is right without them
        return 0.5 * g * (z * _over(z, _shares(z.detach(), self.k, 0.0))).sum(-1)

    def gradient(self, z: Tensor) -> Tensor:
        """Return the gradient, or the least subgradient where there is none, shape of ``z``."""
        g = self.strength
        if g == 0:
            return torch.zeros_like(z)
        if self.kind == "l1":
            return g * z.sign()
        if self.kind == "smoothed_l0":
            return g * z / self.width**2 * torch.exp(-0.5 * (z / self.width) ** 2)
        if self.kind == "stvs":
            return g * z.sign() * torch.exp(-torch.asinh(z.abs() / (2 * g)))
        return g * _over(z, _shares(z, self.k, 0.0))

    def prox(self, w: Tensor) -> Tensor:
        r"""Return :math:`\arg\min_z \tfrac12 |w - z|^2 + \gamma\tau(z)`, shape of ``w``.

        Closed forms, except that ``"smoothed_l0"``, which is not convex, solves for the lower of
        its two local minima.
        """
        g = self.strength
        if g == 0:
            return w.clone()
        if self.kind == "l1":
            return w.sign() * (w.abs() - g).clamp(min=0)
        if self.kind == "smoothed_l0":
            return _prox_smoothed_l0(w, g, self.width)
        if self.kind == "stvs":
            large = w.abs() > g
            return torch.where(large, w - g * g / torch.where(large, w, torch.ones_like(w)), 0.0)
        share = _shares(w, self.k, g)
        return w * share / (share + g)


def _over(z: Tensor, share: Tensor) -> Tensor:
    return torch.where(share > 0, z / torch.where(share > 0, share, torch.ones_like(z)), 0.0)


def _shares(v: Tensor, k: int, shift: float) -> Tensor:
    r"""Return the shares ``clip(s |v_i| - shift, 0, 1)`` that sum to ``k``.

    Where a row has no more than ``k`` non-zero entries, these have share 1.

    The sum is piecewise linear in ``s``, so that sorting its ``2 d`` corners solves exactly.
    """
    size = v.abs()
    tiny = torch.finfo(v.dtype).tiny
    some = size > 0
    slope = torch.where(some, size, torch.zeros_like(size))
    safe = size.clamp(min=tiny)
    far = torch.full_like(size, torch.inf)
    corners = torch.cat([torch.where(some, c / safe, far) for c in (shift, 1.0 + shift)], dim=-1)
    turns = torch.cat([slope, -slope], dim=-1)
    corners, order = corners.sort(dim=-1)
    slopes = turns.gather(-1, order).cumsum(-1)
    steps = torch.nan_to_num(corners.diff(dim=-1), nan=0.0, posinf=0.0)
    levels = torch.cat([torch.zeros_like(corners[..., :1]), (slopes[..., :-1] * steps)], -1)
    levels = levels.cumsum(-1)
    last = ((levels < k) & torch.isfinite(corners)).sum(-1, keepdim=True).clamp(min=1) - 1
    start, level, rate = (t.gather(-1, last) for t in (corners, levels, slopes))
    s = start + (k - level) / rate.clamp(min=tiny)
    found = (size * s - shift).clamp(0, 1)
    few = some.sum(-1, keepdim=True) <= k
    return torch.where(few, some.to(v.dtype), torch.where(some, found, torch.zeros_like(found)))


def _prox_smoothed_l0(w: Tensor, strength: float, width: float) -> Tensor:
    """Return the global minimiser, the lower of the smallest and the largest stationary point."""
    size = w.abs() / width
    ratio = strength / width**2
    dip = _dip(ratio)
    if dip is None:
        return w.sign() * width * _root(size, torch.zeros_like(size), size, ratio)
    start, end = dip
    small = _root(size, torch.zeros_like(size), size.clamp(max=start), ratio)
    large = _root(size, size.clamp(max=end), size, ratio)

    def objective(z: Tensor) -> Tensor:
        return 0.5 * (size - z) ** 2 - ratio * torch.expm1(-0.5 * z * z)

    return w.sign() * width * torch.where(objective(large) < objective(small), large, small)


def _dip(ratio: float) -> tuple[float, float] | None:
    """Return where the derivative of the objective, ``z + ratio z exp(-z^2/2) - w``, falls."""

    def slope(z: float) -> float:
        return 1.0 + ratio * (1.0 - z * z) * math.exp(-0.5 * z * z)

    lowest = math.sqrt(3.0)
    if slope(lowest) >= 0:
        return None
    far = lowest
    while slope(far) < 0:
        far *= 2.0
    return brentq(slope, 1.0, lowest), brentq(slope, lowest, far)


def _root(size: Tensor, low: Tensor, high: Tensor, ratio: float) -> Tensor:
    """Bisect ``z + ratio z exp(-z^2/2) = size``; without a root, end at the nearer bound."""
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        below = middle + ratio * middle * torch.exp(-0.5 * middle * middle) < size
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return 0.5 * (low + high)
