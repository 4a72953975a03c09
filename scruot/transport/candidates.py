"""Feasible duals and the cheapest pairs, from passes over the (blocked) cost matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scruot.transport.cost import CostBlocks

__all__ = ["c_transform", "cheapest_pairs", "nearest_costs"]


def nearest_costs(costs: CostBlocks) -> tuple[Tensor, Tensor]:
    """Least cost of every row and of every column; infinite for a cell without a partner."""
    rows, cols = [], costs.x1.new_full((costs.shape[1],), math.inf)
    for _, block in costs:
        rows.append(block.amin(dim=1))
        cols = torch.minimum(cols, block.amin(dim=0))
    return torch.cat(rows), cols


def c_transform(costs: CostBlocks, psi: Tensor) -> tuple[Tensor, Tensor]:
    """Largest feasible row potentials for ``psi``, and the largest column potentials for those.

    One pass over the cost matrix; the pair returned satisfies ``phi_i + psi_j <= c_ij`` for **all**
    pairs.
    """
    rows, cols = [], psi.new_full(psi.shape, math.inf)
    for _, block in costs:
        phi = (block - psi).amin(dim=1)
        rows.append(phi)
        cols = torch.minimum(cols, (block - phi[:, None]).amin(dim=0))
    return torch.cat(rows), cols


def cheapest_pairs(
    costs: CostBlocks, phi: Tensor, psi: Tensor, *, k: int, below: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Find the ``k`` pairs of least reduced cost ``c - phi - psi`` of every row and every column.

    Parameters
    ----------
    costs
        Cost matrix.
    phi, psi
        Potentials of rows and columns.
    k
        Pairs kept per row and per column.
    below
        Only pairs whose reduced cost is smaller than this.

    Returns
    -------
    Rows and columns of the pairs; a pair may appear twice.
    """
    m = costs.shape[1]
    found: list[tuple[Tensor, Tensor]] = []
    best = psi.new_full((0, m), math.inf)
    best_row = torch.zeros((0, m), dtype=torch.int64, device=psi.device)
    for rows, block in costs:
        reduced = (block - psi).sub_(phi[rows, None])
        value, col = reduced.topk(min(k, m), dim=1, largest=False)
        i, r = torch.nonzero(value < below, as_tuple=True)
        found.append((i + rows.start, col[i, r]))
        value, row = reduced.topk(min(k, block.shape[0]), dim=0, largest=False)
        value, row = torch.cat([best, value]), torch.cat([best_row, row + rows.start])
        best, order = value.topk(min(k, value.shape[0]), dim=0, largest=False)
        best_row = row.gather(0, order)
    r, j = torch.nonzero(best < below, as_tuple=True)
    found.append((best_row[r, j], j))
    return torch.cat([i for i, _ in found]), torch.cat([j for _, j in found])
