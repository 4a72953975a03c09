"""The result of a static coupling: a sparse plan with its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scruot.transport.penalties import WFR, Penalty

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Coupling"]

# Values below this share of the total mass have no relative precision left in double precision.
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Coupling:
    r"""A sparse plan :math:`G` between two weighted clouds, with its primal and dual value.

    The values are those of :math:`\langle G, c\rangle + \tau_0 D_0(G 1 | a) + \tau_1 D_1(G^T 1 |
    b)`, in units of cost times mass, without any entropic term: where the plan is entropic their
    gap shows what the blur costs. Of a Wasserstein-Fisher-Rao coupling (``tau`` is 1, both
    divergences are KL) the squared distance is ``2 * delta**2`` times the value.

    Attributes
    ----------
    row, col
        Source and target cell of each entry, int64, shape ``(nnz,)``, sorted by row and then
        column.
    mass
        Transported mass of each entry, shape ``(nnz,)``, float64 (float32 on a device without
        float64).
    shape
        Number of source and of target cells.
    a, b
        Prescribed masses of the source and target cells, shapes ``(n,)`` and ``(m,)``.
    primal
        Value of the stored plan: an upper bound of the optimum.
    dual
        Value of feasible potentials.
    method
        How the plan was found.
    certified
        Whether ``dual`` was checked against all pairs and so is a true lower bound of the optimum.
    converged
        Whether the solver settled before its steps were used up.
    reg
        Entropic regularisation, in units of the cost; 0 for none.
    source, target
        Penalties of the row and of the column masses.

    Examples
    --------
    >>> import torch
    >>> from scruot.transport import wfr_coupling
    >>> one = torch.ones(1)
    >>> plan = wfr_coupling(torch.zeros(1, 2), torch.ones(1, 2), one, 2 * one, 1.0)
    >>> plan.shape, plan.certified
    ((1, 1), True)
    """

    row: Tensor
    col: Tensor
    mass: Tensor
    shape: tuple[int, int]
    a: Tensor
    b: Tensor
    primal: float
    dual: float
    method: str
    certified: bool
    converged: bool = True
    reg: float = 0.0
    source: Penalty = WFR.source
    target: Penalty = WFR.target

    @cached_property
    def row_mass(self) -> Tensor:
        """Mass that leaves each source cell, shape ``(n,)``."""
        return torch.zeros_like(self.a).index_add_(0, self.row, self.mass)

    @cached_property
    def col_mass(self) -> Tensor:
        """Mass that reaches each target cell, shape ``(m,)``."""
        return torch.zeros_like(self.b).index_add_(0, self.col, self.mass)

    @property
    def moved(self) -> float:
        """Mass that is transported, the sum of the plan."""
        return float(self.mass.sum())

    @property
    def gap(self) -> float:
        """Relative duality gap, ``(primal - dual) / primal``; over 1e-9 of the mass at least."""
        least = _TINY * float(self.a.sum() + self.b.sum())
        return (self.primal - self.dual) / max(abs(self.primal), least, 1e-300)

    def effective_targets(self) -> Tensor:
        """Return the exponential of each row's entropy: its number of targets, 0 if none."""
        share = self.mass / self.row_mass[self.row]
        entropy = torch.zeros_like(self.a).index_add_(0, self.row, -torch.xlogy(share, share))
        return torch.where(self.row_mass > 0, entropy.exp(), torch.zeros_like(entropy))

    def to_scipy(self) -> csr_array[Any, tuple[int, int]]:
        """Return the plan as a SciPy sparse array, shape ``(n, m)``."""
        from scipy.sparse import csr_array

        entries = self.mass.cpu().numpy(), (self.row.cpu().numpy(), self.col.cpu().numpy())
        return csr_array(entries, shape=self.shape)
