"""What growth costs: a penalty ``psi`` and what follows from it.

Least action ties growth to the potential by ``alpha psi'(g) = lambda``. With ``p = lambda /
alpha`` that makes the growth ``g(p) = (psi')^{-1}(p)`` and the Hamiltonian ``H = lambda g - alpha
psi(g) = alpha psi*(p)`` with the convex conjugate ``psi*``, whose derivative is ``g``. All three
are functions of ``p``, in one place, so that they cannot disagree.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scruot._messages import unknown

__all__ = ["PENALTIES", "REGISTERED", "GrowthPenalty", "register_penalty"]

Function = Callable[[Tensor], Tensor]

_OWN = ("quadratic", "power", "cosh")
# costs that other solvers know by a name: taken, so that a name means one thing
_ELSEWHERE = ("quartic", "huber")
# growth and conjugate of every registered penalty
REGISTERED: dict[str, tuple[Function, Function]] = {}
# the names, those of registered penalties included: a view, which sees what is registered later
PENALTIES = ChainMap[str, Any](REGISTERED, dict.fromkeys(_OWN)).keys()

_TRIED = 3.0  # a pair of functions is tried for potentials over alpha up to this size
_DOUBLINGS, _HALVINGS = 40, 60  # of the search for the potential of a growth
# the penalty as a function of growth rises at most this steeply: beyond walls it must be finite
_STEEPEST = 1e3


def register_penalty(
    name: str, *, growth: Function, conjugate: Function, replace: bool = False
) -> None:
    r"""Add a convex penalty of growth of your own, for this session.

    ``method="varruot"`` takes it as ``penalty=name``, ``method="deepruot"`` as
    ``growth_cost=name``; :func:`scruot.tl.cross_validate` compares it with others by left-out
    times, and files that were fitted with it are read while it is registered. With
    :math:`p = \lambda / \alpha`, both functions take ``p`` as a tensor of any shape and return a
    tensor of this shape, made of differentiable operations of torch.

    Parameters
    ----------
    name
        A new name: lower-case letters, digits and underscores, beginning with a letter.
    growth
        :math:`(\psi')^{-1}(p)`, the growth at which :math:`\alpha\psi'(g) = \lambda`. It never
        falls. Its unit is one per mean interval between snapshots in ``"varruot"``, the parameter
        ``growth_rate`` in ``"deepruot"``.
    conjugate
        :math:`\psi^*(p) = p\,g - \psi(g)` at this growth; its derivative is `growth`.
    replace
        Whether a registered penalty of this name may be replaced.

    Raises
    ------
    ValueError
        For a name that is taken or not allowed, and for functions that do not fit each other: not
        finite, of another shape, a growth that falls (the penalty is then not convex), or one that
        is not the derivative of the conjugate.

    References
    ----------
    Sun et al., *Var-RUOT*, NeurIPS 2025 :cite:p:`sun2025varruot`.

    Examples
    --------
    Growth costs :math:`2 g^2` for dying cells and :math:`g^2 / 2` for dividing ones:

    >>> import torch, scruot
    >>> scruot.solvers.register_penalty(
    ...     "reluctant_death",
    ...     growth=lambda p: torch.where(p < 0, p / 4, p),
    ...     conjugate=lambda p: torch.where(p < 0, p**2 / 8, p**2 / 2),
    ...     replace=True,
    ... )
    >>> adata = scruot.datasets.three_gene(30, random_state=0)
    >>> scruot.tl.fit_dynamics(
    ...     adata, "varruot", use_rep="X_genes", penalty="reluctant_death", steps=2, progress=False
    ... )
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        msg = (
            f"Found the name {name!r}; expected lower-case letters, digits and underscores, "
            "beginning with a letter."
        )
        raise ValueError(msg)
    if (own := name in (*_OWN, *_ELSEWHERE)) or (name in REGISTERED and not replace):
        msg = f"Found a penalty {name!r} already; expected a new name" + (
            "." if own else ", or replace=True to put this one in its place."
        )
        raise ValueError(msg)
    _check_pair(growth, conjugate)
    REGISTERED[name] = (growth, conjugate)


def _check_pair(growth: Function, conjugate: Function) -> None:
    """Refuse functions that are no convex penalty's growth and conjugate."""
    p = torch.linspace(-_TRIED, _TRIED, 6001, dtype=torch.float64)
    rates, values = growth(p), conjugate(p)
    for told, found in (("growth", rates), ("conjugate", values)):
        if found.shape != p.shape or not bool(torch.isfinite(found).all()):
            msg = (
                f"Found {told}(p) of shape {tuple(found.shape)} or not finite for p between "
                f"{-_TRIED:g} and {_TRIED:g}; expected finite values of the shape of p."
            )
            raise ValueError(msg)
    size = float(rates.abs().max())
    if float(rates.diff().min()) < -1e-9 * size:
        msg = "Found a growth that falls as p rises; expected one that never does (a convex psi)."
        raise ValueError(msg)
    # between two potentials the conjugate rises by no less than the lower growth, and no more than
    # the higher one: true of steep growth and of growth that jumps, too
    rise, spare = values.diff() / p.diff(), 1e-3 * max(size, 1e-12)
    if bool(((rise < rates[:-1] - spare) | (rise > rates[1:] + spare)).any()):
        msg = (
            "Found a growth that is not the derivative of the conjugate; expected conjugate(p) = "
            "p growth(p) - psi(growth(p))."
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class GrowthPenalty:
    r"""A penalty of growth, as plain values.

    Parameters
    ----------
    kind
        ``"quadratic"``, :math:`g^2 / 2`; ``"power"``, :math:`|g|^q`; ``"cosh"``,
        :math:`\cosh g - 1`, which is quadratic for slow growth and forbids fast growth; or the name
        of one that was registered (:func:`register_penalty`).
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

    def __post_init__(self) -> None:
        """Refuse a name that nobody has registered."""
        if self.kind not in PENALTIES:
            msg = unknown("penalty of growth", self.kind, PENALTIES) + (
                " One of your own is registered first (solvers.register_penalty)."
            )
            raise ValueError(msg)

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
        if (pair := REGISTERED.get(self.kind)) is not None:
            return pair[0](p)
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
        if (pair := REGISTERED.get(self.kind)) is not None:
            return pair[1](p)
        if self.convex:
            return (self.exponent - 1) * self.growth(p).abs() ** self.exponent
        edge, q = self._edge, self.exponent
        tail = (q / p.abs().clamp_min(edge)) ** (q / (1 - q))
        inside = (p.square().clamp_max(edge**2) - edge**2) * (self.cap / edge) / 2
        return inside - (1 - q) * tail

    def cost(self, p: Tensor) -> Tensor:
        """Return ``psi`` of the growth that belongs to ``p``."""
        return p * self.growth(p) - self.conjugate(p)

    def of_growth(self, growth: Tensor) -> Tensor:
        """Return ``psi`` of a growth, from where it is steepest on as a straight line."""
        p = self.slope(growth.detach()).clamp(-_STEEPEST, _STEEPEST)
        # the best potential for this growth: it has a share in the value, but none in its slope
        return p * growth - self.conjugate(p)

    def slope(self, growth: Tensor) -> Tensor:
        """Return ``psi'(g)``: the ``p`` that belongs to a growth (at most ``cap`` in size)."""
        if self.kind == "quadratic":
            return growth
        if self.kind == "cosh":
            return torch.sinh(growth)
        if (pair := REGISTERED.get(self.kind)) is not None:
            return _inverse(pair[0], growth)
        size = growth.abs() if self.convex else growth.abs().clamp(1e-3, self.cap)
        return torch.sign(growth) * self.exponent * size ** (self.exponent - 1)

    @property
    def _edge(self) -> float:
        """Size of ``p`` below which growth would exceed the cap."""
        return float(self.exponent * self.cap ** (self.exponent - 1))


@torch.no_grad()
def _inverse(growth: Function, rates: Tensor) -> Tensor:
    """Return where a growth that never falls takes the `rates`, by bisection."""
    low, high = -torch.ones_like(rates), torch.ones_like(rates)
    for _ in range(_DOUBLINGS):
        short, far = growth(low) > rates, growth(high) < rates
        if not bool((short | far).any()):
            break
        low, high = torch.where(short, 2 * low, low), torch.where(far, 2 * high, high)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        above = growth(middle) > rates
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return 0.5 * (low + high)
