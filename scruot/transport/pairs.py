"""Pairs of cells joined by travelling Diracs, and their sampling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from scruot.transport.coupling import Coupling

__all__ = ["PairTable", "pairs"]


@dataclass(frozen=True, eq=False)
class PairTable:
    """Travelling Diracs ``m0`` at a source cell to ``m1`` at a target cell.

    Attributes
    ----------
    source
        Index of the source cell, int64, shape ``(p,)``; -1 where the target is born from nothing.
    target
        Index of the target cell; -1 where the source dies without descendants.
    m0, m1
        Mass at the start and at the end; 0 at the start of a birth and at the end of a death.

    Examples
    --------
    >>> import torch
    >>> from scruot.transport import pairs, wfr_coupling
    >>> x = torch.tensor([[0.0], [100.0]])
    >>> table = pairs(wfr_coupling(x, x[:1], torch.ones(2), torch.ones(1), 1.0))
    >>> table.source.tolist(), table.target.tolist(), table.m1.tolist()
    ([0, 1], [0, -1], [1.0, 0.0])
    """

    source: Tensor
    target: Tensor
    m0: Tensor
    m1: Tensor

    @cached_property
    def _cumulative(self) -> Tensor:
        return torch.cumsum(self.m0 + self.m1, dim=0)

    def __len__(self) -> int:
        return self.source.numel()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw pairs in proportion to ``m0 + m1``, with replacement.

        Parameters
        ----------
        n
            Number of draws.
        generator
            Source of randomness; it may live on another device than the table.

        Returns
        -------
        Indices into the table, int64, shape ``(n,)``.
        """
        if len(self) == 0:
            msg = "Found a table without pairs, expected at least one cell of positive mass."
            raise ValueError(msg)
        bound = self._cumulative
        uniform = torch.rand(n, generator=generator, device=generator.device, dtype=bound.dtype)
        index = torch.searchsorted(bound, uniform.to(bound.device) * bound[-1], right=True)
        return index.clamp_(max=len(self) - 1)


def pairs(coupling: Coupling) -> PairTable:
    r"""Semi-couplings of a plan, as a list of pairs.

    An entry of the plan becomes a travelling Dirac with ``m0 = a_i G_ij / sum_j G_ij`` and ``m1 =
    b_j G_ij / sum_i G_ij``; a source without partner dies (target -1, ``m1 = 0``) and a target
    without partner is born (source -1, ``m0 = 0``). ``m0`` sums to ``a`` over each source, ``m1``
    to ``b`` over each target.

    Parameters
    ----------
    coupling
        A static coupling.

    Returns
    -------
    The table: entries of the plan in their order, then deaths, then births.

    References
    ----------
    Chizat, Peyre, Schmitzer and Vialard, J. Funct. Anal. 274 (2018) :cite:p:`chizat2018dynamic`, on
    semi-couplings.

    Examples
    --------
    >>> import torch
    >>> from scruot.transport import pairs, wfr_coupling
    >>> x = torch.zeros(1, 2)
    >>> table = pairs(wfr_coupling(x, x, torch.ones(1), 3 * torch.ones(1), 1.0))
    >>> table.m0.tolist(), table.m1.tolist()
    ([1.0], [3.0])
    """
    a, b, row, col = coupling.a, coupling.b, coupling.row, coupling.col
    leaving, arriving = coupling.row_mass, coupling.col_mass
    death = torch.nonzero((leaving == 0) & (a > 0))[:, 0]
    birth = torch.nonzero((arriving == 0) & (b > 0))[:, 0]
    nothing = torch.full_like(death, -1), torch.full_like(birth, -1)
    return PairTable(
        source=torch.cat([row, death, nothing[1]]),
        target=torch.cat([col, nothing[0], birth]),
        m0=torch.cat(
            [a[row] * (coupling.mass / leaving[row]), a[death], torch.zeros_like(b[birth])]
        ),
        m1=torch.cat(
            [b[col] * (coupling.mass / arriving[col]), torch.zeros_like(a[death]), b[birth]]
        ),
    )
