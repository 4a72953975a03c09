"""What growth costs: named convex functions of the growth rate."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scruot.dynamics.growth_penalty import REGISTERED, GrowthPenalty

KINDS = ("quadratic", "quartic", "cosh", "huber")
# these and the registered penalties: a view, which sees what is registered later
COSTS = ChainMap[str, Any](REGISTERED, dict.fromkeys(KINDS)).keys()

# growth beyond this many rates is charged linearly: cosh would leave the finite numbers
_MOST = 20.0


@dataclass(frozen=True)
class GrowthCost:
    r"""The cost :math:`\Psi(g)` of growing at rate ``g``.

    All named ones but the quartic are :math:`g^2` for growth far below ``rate``; where growth is
    faster, they say how much more or less that costs.

    Parameters
    ----------
    kind
        ``"quadratic"``: :math:`g^2`. ``"quartic"``: :math:`g^4 / r^2`, cheap below the rate and
        expensive beyond. ``"cosh"``: :math:`2 r^2 (\cosh(g / r) - 1)`, which makes fast growth
        very expensive. ``"huber"``: :math:`2 r^2 (\sqrt{1 + g^2 / r^2} - 1)`, linear in fast
        growth, which allows it in few places.
    rate
        The rate ``r``, in the unit of the growth.
    """

    kind: str
    rate: float = 1.0

    def __call__(self, growth: Tensor) -> Tensor:
        """Return the cost, shape of ``growth``."""
        if self.kind == "quadratic":
            return growth.square()
        y = growth / self.rate
        if self.kind == "quartic":
            return self.rate**2 * y**4
        if self.kind == "cosh":
            inside = y.clamp(-_MOST, _MOST)
            steep = float(torch.sinh(torch.tensor(_MOST)))
            beyond = steep * (y - inside).abs()
            return 2 * self.rate**2 * (torch.cosh(inside) - 1 + beyond)
        if self.kind != "huber":
            return 2 * self.rate**2 * GrowthPenalty(self.kind).of_growth(y)
        return 2 * self.rate**2 * ((1 + y.square()).sqrt() - 1)
