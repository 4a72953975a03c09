"""Feasible potentials and missing pairs of large clouds, without looking at every cost.

Potentials are feasible if ``phi_i + psi_j <= c_ij`` for all pairs. Two bounds make the check cheap.

* Clusters whose distance, by the triangle inequality, lets no pair violate are passed over.
* The cost is a convex function g of the squared distance s, and each of its tangents bounds it from
  below: ``c_ij >= g(s_i) + g'(s_i) (s_ij - s_i)``. This is linear in the coordinates of j, so that
  the least reduced cost of a row is at least the row minimum of one matrix product. The product is
  taken in single precision, and the largest error that it can have is taken off.

Rows that seem to miss a pair are looked at again with true costs, as far as a budget goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.transport.clusters import Clusters
from scruot.transport.cost import CostBlocks, cost_of_squares, squared_distances, tangent_at

__all__ = ["Screening", "near_clusters", "screen"]

_UNIT = 2.0**-24  # rounding of single precision
_PARTS = 16  # of the other cloud; each may name one missing pair of a row
_SMALLEST, _LARGEST = 64, 8192  # columns of a part
_MOST_ROWS = 512
_MOST_EXACT = 2.5e8  # pairs whose true costs are computed; some 15 ns each on a core
_EXACT_BLOCK = 2_000_000  # of them at once
_ROUNDING = 1e-9  # relative, of a distance in double precision


@dataclass(frozen=True, eq=False)
class Screening:
    """Row potentials that are feasible with the given column potentials, and missing pairs."""

    phi: Tensor
    row: Tensor
    col: Tensor


def near_clusters(
    costs: CostBlocks, left: Clusters, right: Clusters, phi: Tensor, psi: Tensor
) -> tuple[Tensor, float]:
    """Find the pairs of clusters in which a pair of cells may violate.

    Returns
    -------
    The mask of such pairs of clusters, and their pairs of cells.
    """
    apart = squared_distances(left.centre, right.centre).sqrt_()
    radii = left.radius(costs.x0)[:, None] + right.radius(costs.x1)
    least = (apart * (1.0 - _ROUNDING) - radii * (1.0 + _ROUNDING)).clamp_min_(0.0)
    least = cost_of_squares(least.square_(), costs.delta)
    near = least < left.largest(phi)[:, None] + right.largest(psi)
    counts = left.counts.double()[:, None] * right.counts
    return near, float((counts * near).sum())


def screen(
    costs: CostBlocks,
    left: Clusters,
    right: Clusters,
    potentials: tuple[Tensor, Tensor],
    *,
    near: Tensor,
    tangent: Tensor,
    slack: float,
) -> Screening:
    """Lower row potentials until they are feasible for all pairs, and list missing pairs.

    Parameters
    ----------
    costs
        The two clouds and their cost.
    left, right
        Clusters of the clouds.
    potentials
        Finite row and column potentials to check.
    near
        Pairs of clusters to look at.
    tangent
        Cost at which each row is linearised; the bound is sharp near this cost.
    slack
        Pairs that violate by more than this are listed, up to 16 of each row.

    Returns
    -------
    The lowered row potentials and the pairs.
    """
    phi, psi = potentials
    y, psi, order = costs.x1[right.order], psi[right.order], right.order
    value, slope = tangent_at(tangent, costs.delta)
    ranges = torch.arange(len(order), device=order.device).split(right.counts.tolist())
    result, found_row, found_col = phi.clone(), [order[:0]], [order[:0]]
    budget = _MOST_EXACT
    for cells, blocks, centre in zip(left.members(), near.tolist(), left.centre, strict=True):
        columns = [part for part, look in zip(ranges, blocks, strict=True) if look]
        if not columns or not cells.numel():
            continue
        chosen = torch.cat(columns)
        for rows in cells.split(_MOST_ROWS):
            block = _Rows(costs.x0[rows] - centre, phi[rows], value[rows], slope[rows])
            least, i, j = block.bound(y, psi, chosen, centre, slack)
            unclear = torch.nonzero(least < block.phi - slack)[:, 0]
            if unclear.numel() * chosen.numel() <= budget:
                budget -= unclear.numel() * chosen.numel()
                again = block.subset(unclear)
                least[unclear], i, j = again.exact(y, psi, chosen, centre, slack, costs.delta)
                i = unclear[i]
            result[rows] = torch.minimum(phi[rows], least)
            found_row.append(rows[i])
            found_col.append(order[j])
    return Screening(result, torch.cat(found_row), torch.cat(found_col))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Some rows: coordinates about a centre, potentials, tangents."""

    x: Tensor
    phi: Tensor
    value: Tensor
    slope: Tensor

    def subset(self, rows: Tensor) -> _Rows:
        return _Rows(self.x[rows], self.phi[rows], self.value[rows], self.slope[rows])

    def exact(
        self,
        y: Tensor,
        psi: Tensor,
        columns: Tensor,
        centre: Tensor,
        slack: float,
        delta: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Find the least reduced costs, and list the pairs that are too cheap by most."""
        other, potential = y[columns] - centre, psi[columns]
        least, row, col = [], [columns[:0]], [columns[:0]]
        step, start = max(1, _EXACT_BLOCK // columns.numel()), 0
        for x, phi in zip(self.x.split(step), self.phi.split(step), strict=True):
            reduced = cost_of_squares(squared_distances(x, other), delta).sub_(potential)
            best, index = reduced.topk(min(_PARTS, columns.numel()), dim=1, largest=False)
            least.append(best[:, 0])
            i, rank = torch.nonzero(best < phi[:, None] - slack, as_tuple=True)
            row.append(i + start)
            col.append(columns[index[i, rank]])
            start += len(x)
        return torch.cat(least) if least else self.phi, torch.cat(row), torch.cat(col)

    def bound(
        self, y: Tensor, psi: Tensor, columns: Tensor, centre: Tensor, slack: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bound the least reduced costs from below, and list pairs that are too cheap."""
        slope = self.slope[:, None]
        left = torch.cat([-2.0 * slope * self.x, slope, -torch.ones_like(slope)], 1).float()
        square = self.x.square().sum(1)
        constant = self.value + self.slope * square
        length = 2.0 * self.slope * square.sqrt()
        # sum of k products, of rounded factors, in any order: error of at most k u / (1 - k u)
        rounding = (self.x.shape[1] + 8) * _UNIT
        rounding /= 1.0 - rounding
        least, row, col = torch.full_like(self.phi, float("inf")), [], []
        size = min(max(_SMALLEST, -(-columns.numel() // _PARTS)), _LARGEST)
        for part in columns.split(size):
            other, potential = y[part] - centre, psi[part]
            square = other.square().sum(1, keepdim=True)
            right = torch.cat([other, square, potential[:, None]], 1).float()
            reduced, index = (left @ right.T).min(dim=1)
            most = float(square.max())
            error = length * most**0.5 + self.slope * most + float(potential.abs().max())
            bound = constant + reduced.double() - rounding * error
            least = torch.minimum(least, bound)
            i = torch.nonzero(bound < self.phi - slack)[:, 0]
            row.append(i)
            col.append(part[index[i]])
        return least, torch.cat(row), torch.cat(col)
