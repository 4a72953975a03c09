"""What growth costs: a penalty ``psi`` and what follows from it.

Least action ties growth to the potential by ``alpha psi'(g) = lambda``. With ``p = lambda /
alpha`` that makes the growth ``g(p) = (psi')^{-1}(p)`` and the Hamiltonian ``H = lambda g - alpha
psi(g) = alpha psi*(p)`` with the convex conjugate ``psi*``, whose derivative is ``g``. All three
are functions of ``p``, in one place, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PENALTIES", "GrowthPenalty"]

PENALTIES = ("quadratic", "power", "cosh")


@dataclass(frozen=True)
class GrowthPenalty:
    r"""A penalty of growth, as plain values.

    Parameters
    ----------
    kind
        ``"quadratic"``, :math:`g^2 / 2`; ``"power"``, :math:`|g|^q`; ``"cosh"``,
        :math:`\cosh g - 1`, which is quadratic for slow growth and forbids fast growth.
    exponent
        ``q`` of ``"power"``, positive and not 1. Below 1 the penalty is not convex: the growth
        that solves :math:`\alpha\psi'(g) = \lambda` is then no minimum of the action, falls as
        the potential grows, and is without bound at zero, so that it needs ``cap``.
    cap
        Largest rate of growth of a ``"power"`` below 1. For potentials that ask for more, growth
        is the straight line through zero between the two ends, and the conjugate its integral.
    """

    kind: str = "quadratic"
    exponent: float = 2.0
    cap: float = 3.0

    @property
    def convex(self) -> bool:
        """Whether the growth is a minimum of the action."""
        return self.kind != "power" or self.exponent > 1

    def growth(self, p: Tensor) -> Tensor:
        """Return the growth at ``p``, the potential over alpha."""
        if self.kind == "quadratic":
            return p
        if self.kind == "cosh":
            return torch.asinh(p)
        if self.convex:
            # the clamp keeps the derivative of the root finite at zero
            size = (p.abs().clamp_min(1e-12) / self.exponent) ** (1 / (self.exponent - 1))
            return torch.sign(p) * size
        edge = self._edge
        tail = (self.exponent / p.abs().clamp_min(edge)) ** (1 / (1 - self.exponent))
        return torch.where(p.abs() < edge, p * (self.cap / edge), torch.sign(p) * tail)

    def conjugate(self, p: Tensor) -> Tensor:
        """Return ``p g - psi(g)`` at the growth that belongs to ``p``."""
        if self.kind == "quadratic":
            return p.square() / 2
        if self.kind == "cosh":
            return p * torch.asinh(p) - (1 + p.square()).sqrt() + 1
        if self.convex:
            return (self.exponent - 1) * self.growth(p).abs() ** self.exponent
        edge, q = self._edge, self.exponent
        tail = (q / p.abs().clamp_min(edge)) ** (q / (1 - q))
        inside = (p.square().clamp_max(edge**2) - edge**2) * (self.cap / edge) / 2
        return inside - (1 - q) * tail

    def cost(self, p: Tensor) -> Tensor:
        """Return ``psi`` of the growth that belongs to ``p``."""
        return p * self.growth(p) - self.conjugate(p)

    def slope(self, growth: Tensor) -> Tensor:
        """Return ``psi'(g)``: the ``p`` that belongs to a growth (at most ``cap`` in size)."""
        if self.kind == "quadratic":
            return growth
        if self.kind == "cosh":
            return torch.sinh(growth)
        size = growth.abs() if self.convex else growth.abs().clamp(1e-3, self.cap)
        return torch.sign(growth) * self.exponent * size ** (self.exponent - 1)

    @property
    def _edge(self) -> float:
        """Size of ``p`` below which growth would exceed the cap."""
        return float(self.exponent * self.cap ** (self.exponent - 1))
