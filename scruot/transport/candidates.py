"""Feasible duals and the cheapest pairs, from passes over the (blocked) cost matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.transport.cost import CostBlocks
from scruot.transport.penalties import Bounds

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


def price(costs: CostBlocks, psi: Tensor, *, k: int, bounds: Bounds | None = None) -> Pricing:
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
    bounds
        Range in which the potentials stay, if ``psi`` is within; free by default.

    Returns
    -------
    The potentials and the pairs.
    """
    n, m = costs.shape
    ks = min(k, m), min(k, n)
    # All results are allocated beforehand: small tensors that outlive a block fragment the heap.
    phi, low = psi.new_empty(n), psi.new_full((m,), math.inf)
    free = psi.new_full((n,), math.inf), psi.new_full((m,), math.inf)
    least, most, most_psi = (
        (-math.inf, *free) if bounds is None else (bounds.row_floor, bounds.rows, bounds.cols)
    )
    value, col = _pairs(psi, (n, ks[0]))
    best, best_row = _pairs(psi, (ks[1], m))
    for rows, block in costs:
        reduced = block - psi
        if k:
            top = reduced.topk(ks[0], dim=1, largest=False)
            # costs are not negative: the columns that a raised row presses down stay above zero
            phi[rows] = top.values.amin(dim=1).minimum(most[rows]).clamp_min(least)
            value[rows], col[rows] = top.values - phi[rows, None], top.indices
        else:
            phi[rows] = reduced.amin(dim=1).minimum(most[rows]).clamp_min(least)
        reduced = torch.sub(block, phi[rows, None], out=reduced)
        if k:
            top = reduced.topk(min(ks[1], reduced.shape[0]), dim=0, largest=False)
            merged = torch.cat([best, top.values])
            merged_row = torch.cat([best_row, top.indices + rows.start])
            top = merged.topk(ks[1], dim=0, largest=False)
            best.copy_(top.values)
            best_row.copy_(merged_row.gather(0, top.indices))
        else:
            torch.minimum(low, reduced.amin(dim=0), out=low)
    if not k:
        return Pricing(
            phi, low.minimum(most_psi), col[:, 0:0].reshape(-1), col[:, 0:0].reshape(-1), psi[:0]
        )
    i = torch.arange(n, device=psi.device)[:, None].expand_as(col)
    j = torch.arange(m, device=psi.device).expand_as(best_row)
    row, col = (
        torch.cat([i.reshape(-1), best_row.reshape(-1)]),
        torch.cat([col.reshape(-1), j.reshape(-1)]),
    )
    value = torch.cat([value.reshape(-1), (best - psi).reshape(-1)])
    finite = torch.isfinite(value)
    return Pricing(phi, best.amin(dim=0).minimum(most_psi), row[finite], col[finite], value[finite])


def _pairs(like: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Allocate values, infinite, and indices, zero."""
    return like.new_full(shape, math.inf), torch.zeros(shape, dtype=torch.int64, device=like.device)


def nearest_partners(costs: CostBlocks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the cheapest partner of every row and column.

    Returns
    -------
    Least cost of each row, its column, least cost of each column, its row; a cost is infinite where
    a cell has no partner within reach.
    """
    n, m = costs.shape
    rows, partner = _pairs(costs.x1, (n, 1))
    cols, col_partner = _pairs(costs.x1, (1, m))
    for part, block in costs:
        rows[part, 0], partner[part, 0] = block.min(dim=1)
        value, index = block.min(dim=0)
        closer = value < cols[0]
        cols[0] = torch.where(closer, value, cols[0])
        col_partner[0] = torch.where(closer, index + part.start, col_partner[0])
    return rows[:, 0], partner[:, 0], cols[0], col_partner[0]
