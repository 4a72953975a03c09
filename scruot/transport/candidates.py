"""Feasible duals and the cheapest pairs, from passes over the (blocked) cost matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.transport.cost import CostBlocks

__all__ = ["Pricing", "nearest_partners", "price"]


@dataclass(frozen=True, eq=False)
class Pricing:
    """Potentials with ``phi_i + psi_j <= c_ij`` for all pairs, and the pairs nearest to equality.

    ``reduced`` is the cost of the pairs less ``phi`` of the row and the column potential that was
    given; a pair may be listed twice.
    """

    phi: Tensor
    psi: Tensor
    row: Tensor
    col: Tensor
    reduced: Tensor


def price(costs: CostBlocks, psi: Tensor, *, k: int) -> Pricing:
    """Compute feasible potentials and candidate pairs in one pass over all pairs.

    The row potentials are the largest that are feasible for ``psi``, the column potentials of the
    result the largest that are feasible for those.

    Parameters
    ----------
    costs
        Cost matrix; every row has a finite entry.
    psi
        Column potentials, shape ``(m,)``.
    k
        Pairs of least reduced cost to list per row and per column; 0 for none.

    Returns
    -------
    The potentials and the pairs.
    """
    m = costs.shape[1]
    phis, found = [], []
    best, best_row = _nothing(psi, 0 if k else 1), _nothing(psi, 0).to(torch.int64)
    for rows, block in costs:
        reduced = block - psi
        if k:
            value, col = reduced.topk(min(k, m), dim=1, largest=False)
            phi = value[:, 0] if min(k, m) == 1 else value.amin(dim=1)
            i = torch.arange(rows.start, rows.stop, device=psi.device)
            found.append((i[:, None].expand_as(col), col, value - phi[:, None]))
            reduced = torch.sub(block, phi[:, None], out=reduced)
            value, row = reduced.topk(min(k, reduced.shape[0]), dim=0, largest=False)
            value, row = torch.cat([best, value]), torch.cat([best_row, row + rows.start])
            best, order = value.topk(min(k, value.shape[0]), dim=0, largest=False)
            best_row = row.gather(0, order)
        else:
            phi = reduced.amin(dim=1)
            reduced = torch.sub(block, phi[:, None], out=reduced)
            best = torch.minimum(best, reduced.amin(dim=0))
        phis.append(phi)
    if k:
        j = torch.arange(m, device=psi.device).expand_as(best_row)
        found.append((best_row, j, best - psi))
    row, col, value = _flat(found, psi)
    return Pricing(torch.cat(phis), best.amin(dim=0), row, col, value)


def nearest_partners(costs: CostBlocks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the cheapest partner of every row and column.

    Returns
    -------
    Least cost of each row, its column, least cost of each column, its row; a cost is infinite where
    a cell has no partner within reach.
    """
    rows, partners = [], []
    cols = costs.x1.new_full((costs.shape[1],), math.inf)
    col_partner = torch.zeros(costs.shape[1], dtype=torch.int64, device=cols.device)
    for part, block in costs:
        value, partner = block.min(dim=1)
        rows.append(value)
        partners.append(partner)
        value, partner = block.min(dim=0)
        closer = value < cols
        cols = torch.where(closer, value, cols)
        col_partner = torch.where(closer, partner + part.start, col_partner)
    return torch.cat(rows), torch.cat(partners), cols, col_partner


def _nothing(psi: Tensor, rows: int) -> Tensor:
    return psi.new_full((rows, psi.shape[0]), math.inf)


def _flat(found: list[tuple[Tensor, Tensor, Tensor]], like: Tensor) -> tuple[Tensor, ...]:
    """Concatenate lists of pairs, without those out of reach."""
    if not found:
        none = torch.zeros(0, dtype=torch.int64, device=like.device)
        return none, none, like.new_zeros(0)
    row, col, value = (
        torch.cat([part.reshape(-1) for part in parts]) for parts in zip(*found, strict=True)
    )
    finite = torch.isfinite(value)
    return row[finite], col[finite], value[finite]
