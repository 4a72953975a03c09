"""Candidate pairs of large clouds: clusters give potentials, potentials give partners."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.transport.clusters import Clusters, cluster
from scruot.transport.cost import CostBlocks, cost_of_squares, squared_distances
from scruot.transport.graph import EdgeGraph
from scruot.transport.penalties import WFR, Sides
from scruot.transport.sinkhorn import DenseCost, EdgeCost, anneal, typical_cost

__all__ = ["Search", "search_candidates"]

_NEAR_CLUSTERS = 8
_PARTNERS = 16
_BLOCK = 1_000_000  # distances that are held at once


@dataclass(frozen=True, eq=False)
class Search:
    """Candidate pairs with finite cost, and the clusters that they were found through.

    Attributes
    ----------
    edges
        Costs of the candidate pairs; a cell without any has no partner within reach.
    left, right
        Clusters of both clouds.
    nearest
        Mean cost of the cheapest candidate pair of a cell.
    carried
        Mean cost at which the clusters are coupled.
    """

    edges: EdgeCost
    left: Clusters
    right: Clusters
    nearest: float
    carried: float


def search_candidates(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    seed: int,
    known: tuple[Tensor, Tensor] | None = None,
    sides: Sides = WFR,
) -> Search:
    """Couple clusters, and find for each cell its best partners in its best clusters.

    Parameters
    ----------
    costs
        The two clouds and their cost.
    a, b
        Positive masses.
    seed
        Seed of the clustering.
    known
        Rows and columns of pairs that must be candidates; if not given, the nearest partner is
        looked for of each cell that found none.
    sides
        Penalties of rows and columns.

    Returns
    -------
    The candidate pairs.
    """
    left, right = cluster(costs.x0, a, seed), cluster(costs.x1, b, seed)
    coarse_phi, coarse_psi, carried = coarse_potentials(costs, left, right, sides)
    phi, near_right = best_clusters(costs.x0, right, coarse_psi, costs.delta)
    psi, near_left = best_clusters(costs.x1, left, coarse_phi, costs.delta)
    i, j = best_partners(costs.x0, costs.x1, psi, right, near_right, costs.delta)
    back_j, back_i = best_partners(costs.x1, costs.x0, phi, left, near_left, costs.delta)
    graph = EdgeGraph.from_pairs(torch.cat([i, back_i]), torch.cat([j, back_j]), costs.shape)
    del i, j, back_i, back_j
    if known is not None:
        graph = graph.union(*known)
    else:
        rows = torch.nonzero(graph.row_counts == 0)[:, 0]
        cols = torch.nonzero(graph.col_counts == 0)[:, 0]
        graph = graph.union(rows, nearest(costs.x0[rows], costs.x1))
        graph = graph.union(nearest(costs.x1[cols], costs.x0), cols)
    edges = finite_edges(costs, graph)
    best = torch.cat([edges.graph.rows(edges.cost, "min"), edges.graph.cols(edges.cost, "min")])
    best = best[torch.isfinite(best)]
    mean = float(best.mean()) if float(best.sum()) > 0 else typical_cost(edges.cost)
    return Search(edges, left, right, mean, carried)


def finite_edges(costs: CostBlocks, graph: EdgeGraph) -> EdgeCost:
    """Costs of pairs, without those out of reach."""
    cost = costs.edges(graph.row, graph.col)
    finite = torch.isfinite(cost)
    if bool(finite.all()):
        return EdgeCost(graph, cost)
    return EdgeCost(graph.subset(finite), cost[finite])


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """Nearest cell of ``y`` to each of ``x``."""
    step = max(1, _BLOCK // max(1, y.shape[0]))
    found = [squared_distances(part, y).argmin(dim=1) for part in x.split(step)]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=x.device)


def reachable_cost(square: Tensor, delta: float) -> Tensor:
    """WFR cost, continued linearly beyond 0.95 of its reach, so that it ranks far pairs too."""
    edge = 0.95 * math.pi * delta
    beyond = (square.sqrt() / edge - 1.0).clamp_min_(0.0).mul_(20.0)
    return cost_of_squares(square.clamp_max(edge**2), delta).add_(beyond)


def best_clusters(x: Tensor, other: Clusters, psi: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """Potentials of cells from those of clusters, and the clusters of least reduced cost.

    In single precision, as all that only ranks candidates.
    """
    near = min(_NEAR_CLUSTERS, len(psi))
    centre, offset = other.centre.float(), psi.float()
    value, choice = [], []
    for part in x.split(max(1, _BLOCK // len(psi))):
        reduced = reachable_cost(squared_distances(part.float(), centre), delta).sub_(offset)
        top = reduced.topk(near, dim=1, largest=False)
        value.append(top.values[:, 0].to(x.dtype))
        choice.append(top.indices)
    return torch.cat(value), torch.cat(choice)


def coarse_potentials(
    costs: CostBlocks, left: Clusters, right: Clusters, sides: Sides
) -> tuple[Tensor, Tensor, float]:
    """Potentials of the cluster problem, and the mean cost at which its plan carries mass."""
    square = squared_distances(left.centre, right.centre)
    reached = square < (math.pi * costs.delta) ** 2
    cost = reachable_cost(square, costs.delta)
    # clusters out of reach must not set the scale
    first = typical_cost(cost[reached])
    last = 0.01 * first
    phi, psi = anneal(DenseCost(cost), left.mass, right.mass, first=first, last=last, sides=sides)
    plan = left.mass[:, None] * right.mass * ((phi[:, None] + psi - cost) / last).exp() * reached
    return phi, psi, float((plan * cost).sum() / plan.sum().clamp_min(1e-300))


def best_partners(
    x: Tensor, y: Tensor, psi: Tensor, other: Clusters, clusters: Tensor, delta: float
) -> tuple[Tensor, Tensor]:
    """For each cell of ``x`` its partners of least reduced cost in some clusters of ``y``."""
    near, choice = clusters.shape[1], clusters.reshape(-1)
    order = torch.argsort(choice, stable=True)
    counts = torch.bincount(choice, minlength=len(other.mass)).tolist()
    best = torch.full((x.shape[0], _PARTNERS), math.inf, device=x.device)
    partner = torch.full(best.shape, -1, dtype=torch.int64, device=x.device)
    visitors = torch.div(order, near, rounding_mode="floor").split(counts)
    for visiting, members, centre in zip(visitors, other.members(), other.centre, strict=True):
        there, offset = (y[members] - centre).float(), psi[members].float()
        for cells in visiting.split(max(1, _BLOCK // max(1, len(members)))):
            square = squared_distances((x[cells] - centre).float(), there)
            reduced = cost_of_squares(square, delta).sub_(offset)
            value, j = reduced.topk(min(_PARTNERS, len(members)), dim=1, largest=False)
            value = torch.cat([best[cells], value], 1)
            index = torch.cat([partner[cells], members[j]], 1)
            value, keep = value.topk(_PARTNERS, dim=1, largest=False)
            best[cells], partner[cells] = value, index.gather(1, keep)
    i, r = torch.nonzero(torch.isfinite(best), as_tuple=True)
    return i, partner[i, r]
