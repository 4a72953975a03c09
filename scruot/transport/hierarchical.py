"""Sparse couplings of large clouds: clusters give duals, duals give candidate pairs."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from scruot.transport.candidates import price
from scruot.transport.cost import CostBlocks, cost_of_squares, squared_distances
from scruot.transport.exact import SparsePlan, sparsify
from scruot.transport.graph import EdgeGraph
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.sinkhorn import DenseCost, EdgeCost, anneal, typical_cost

__all__ = ["solve_hierarchical"]

_LOG = logging.getLogger(__name__)

_CELLS_PER_CLUSTER = 200
_FEWEST_CLUSTERS, _MOST_CLUSTERS = 100, 1000
_NEAR_CLUSTERS = 8
_PARTNERS = 16
_PRICED = 8
_BLUNTEST, _SHARPEST = 0.4, 0.004  # first and last eps, over the mean cost of best pairs
_SHARPEST_CARRIED = 0.001  # last eps, over the mean cost at which clusters are coupled
_SWEEPS, _MOST_SWEEPS = 40, 200  # at each eps, at the last
_MOST_ROUNDS = 8
_GAP = 5e-3
_TOL = 1e-3


@dataclass(frozen=True, eq=False)
class _Clusters:
    """Clusters of a cloud: their centres, masses and members."""

    centre: Tensor
    mass: Tensor
    label: Tensor

    def members(self) -> list[Tensor]:
        """Return the cells of each cluster."""
        order = torch.argsort(self.label, stable=True)
        return list(order.split(torch.bincount(self.label, minlength=len(self.mass)).tolist()))


@dataclass(frozen=True, eq=False)
class Entropic:
    """Entropic potentials on a graph of candidate pairs."""

    edges: EdgeCost
    phi: Tensor
    psi: Tensor
    first: float
    eps: float

    def plan(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mass of each edge."""
        graph = self.edges.graph
        fit = self.phi[graph.row] + self.psi[graph.col] - self.edges.cost
        return a[graph.row] * b[graph.col] * (fit / self.eps).exp()


def solve_hierarchical(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    known: tuple[Tensor, Tensor],
    seed: int,
    certify: bool,
    blur: float = 0.0,
    kept_mass: float = 0.999,
) -> SparsePlan:
    """Couple large clouds through clusters.

    Clusters of each cloud (k-means) are coupled; their potentials give potentials to every cell and
    to each cell its candidate partners, by least reduced cost among its best clusters, from both
    sides. Log-Sinkhorn sweeps on the candidate pairs follow, one pricing round over all pairs adds
    what they miss, and the plan is cut to the entries that matter.

    Parameters
    ----------
    costs
        Cost matrix, used in row blocks.
    a, b
        Positive masses of sum one.
    known
        Rows and columns of pairs that must be candidates.
    seed
        Seed of the clustering.
    certify
        Whether to pass over all pairs, for pricing and for a dual value that is a true bound.
        Otherwise the dual value only regards the candidates and is an estimate.
    blur
        Regularisation over the median cost of best pairs; 0 for a plan as sharp as the sweeps go.
    kept_mass
        Share of each row or column of a blurred plan that is kept.

    Returns
    -------
    The pruned plan.
    """
    found = entropic_on_candidates(costs, a, b, known=known, seed=seed, blur=blur)
    if certify:
        found, (phi, psi) = _price_out(costs, a, b, found)
    else:
        phi, psi = centre_potentials(*feasible_on_edges(found), a, b)
    graph, plan = found.edges.graph, found.plan(a, b)
    graph, plan = sparsify(graph, plan, graph.rows(plan), graph.cols(plan), share=kept_mass)
    rows, cols = graph.rows(plan), graph.cols(plan)
    primal = primal_value(costs.edges(graph.row, graph.col), plan, rows, cols, a, b)
    return SparsePlan(graph, plan, phi, psi, primal, dual_value(phi, psi, a, b))


def _price_out(
    costs: CostBlocks, a: Tensor, b: Tensor, found: Entropic
) -> tuple[Entropic, tuple[Tensor, Tensor]]:
    """Add pairs until the potentials, made feasible for all pairs, agree with the plan."""
    best, last_gap = -math.inf, math.inf
    for number in range(_MOST_ROUNDS):
        priced = price(costs, found.psi, k=_PRICED)
        phi, psi = centre_potentials(priced.phi, priced.psi, a, b)
        dual = dual_value(phi, psi, a, b)
        if dual > best:
            best, feasible = dual, (phi, psi)
        graph, plan = found.edges.graph, found.plan(a, b)
        primal = primal_value(found.edges.cost, plan, graph.rows(plan), graph.cols(plan), a, b)
        gap = (primal - best) / max(primal, 1e-9)
        _LOG.debug("round %d: %d candidate pairs, relative gap %.2e", number, plan.numel(), gap)
        # What the last eps blurs stays in the gap; further pairs do not remove it.
        if gap <= _GAP or gap > 0.8 * last_gap:
            break
        last_gap = gap
        graph = graph.union(priced.row, priced.col)
        edges = EdgeCost(graph, costs.edges(graph.row, graph.col))
        found = solve_on_candidates(edges, a, b, found.first, found.eps, (found.phi, found.psi))
    return found, feasible


def entropic_on_candidates(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    known: tuple[Tensor, Tensor],
    seed: int,
    blur: float = 0.0,
) -> Entropic:
    """Find candidate pairs through clusters and solve the entropic problem on them."""
    left, right = cluster(costs.x0, a, seed), cluster(costs.x1, b, seed)
    coarse_phi, coarse_psi, carried = coarse_potentials(costs, left, right)
    phi = reduced_to(costs.x0, right, coarse_psi, costs.delta).amin(1)
    psi = reduced_to(costs.x1, left, coarse_phi, costs.delta).amin(1)
    i, j = best_partners(costs.x0, costs.x1, psi, right, coarse_psi, costs.delta)
    back_j, back_i = best_partners(costs.x1, costs.x0, phi, left, coarse_phi, costs.delta)
    row, col = torch.cat([i, back_i, known[0]]), torch.cat([j, back_j, known[1]])
    graph = EdgeGraph.from_pairs(row, col, costs.shape)
    edges = EdgeCost(graph, costs.edges(graph.row, graph.col))
    best = torch.cat([graph.rows(edges.cost, "min"), graph.cols(edges.cost, "min")])
    best = best[torch.isfinite(best)]
    scale = float(best.mean()) if float(best.sum()) > 0 else typical_cost(edges.cost)
    # where clouds overlap, the cheapest pairs say little of the cost at which mass is carried
    sharpest = max(_SHARPEST * scale, _SHARPEST_CARRIED * carried)
    last = blur * float(best.median()) or sharpest
    return solve_on_candidates(edges, a, b, max(_BLUNTEST * max(scale, carried), last), last)


def solve_on_candidates(
    edges: EdgeCost,
    a: Tensor,
    b: Tensor,
    first: float,
    last: float,
    start: tuple[Tensor, Tensor] | None = None,
) -> Entropic:
    """Anneal on the candidate pairs."""
    phi, psi = anneal(
        edges,
        a,
        b,
        first=first,
        last=last,
        sweeps=_SWEEPS,
        most_last=_MOST_SWEEPS,
        start=start,
        tol=_TOL,
    )
    return Entropic(edges, phi, psi, first, last)


def feasible_on_edges(found: Entropic) -> tuple[Tensor, Tensor]:
    """Potentials that are feasible for the candidate pairs; infinite for cells without any."""
    graph, cost = found.edges.graph, found.edges.cost
    phi = graph.rows(cost - found.psi[graph.col], "min")
    return phi, graph.cols(cost - phi[graph.row], "min")


def cluster(x: Tensor, mass: Tensor, seed: int) -> _Clusters:
    """Group cells by mini-batch k-means; empty clusters are dropped."""
    n = x.shape[0]
    k = max(math.ceil(n / _CELLS_PER_CLUSTER), min(_FEWEST_CLUSTERS, math.ceil(n / 8)))
    k = min(k, _MOST_CLUSTERS)
    means = MiniBatchKMeans(k, random_state=seed, batch_size=4096, n_init=1, max_iter=20)
    found = torch.from_numpy(means.fit_predict(x.cpu().numpy())).to(x.device, torch.int64)
    label = torch.unique(found, return_inverse=True)[1]
    k = int(label.max()) + 1
    total = torch.zeros(k, dtype=x.dtype, device=x.device).index_add_(0, label, mass)
    weighted = torch.zeros(k, x.shape[1], dtype=x.dtype, device=x.device)
    weighted.index_add_(0, label, mass[:, None] * x)
    return _Clusters(weighted / total[:, None], total, label)


def reachable_cost(square: Tensor, delta: float) -> Tensor:
    """WFR cost, continued linearly beyond 0.95 of its reach, so that it ranks far pairs too."""
    edge = 0.95 * math.pi * delta
    beyond = (square.sqrt() / edge - 1.0).clamp_min_(0.0).mul_(20.0)
    return cost_of_squares(square.clamp_max(edge**2), delta).add_(beyond)


def reduced_to(x: Tensor, other: _Clusters, psi: Tensor, delta: float) -> Tensor:
    """Costs from cells to clusters, less the potentials of the clusters."""
    return reachable_cost(squared_distances(x, other.centre), delta).sub_(psi)


def coarse_potentials(
    costs: CostBlocks, left: _Clusters, right: _Clusters
) -> tuple[Tensor, Tensor, float]:
    """Potentials of the cluster problem, and the mean cost at which its plan carries mass."""
    cost = reachable_cost(squared_distances(left.centre, right.centre), costs.delta)
    first = typical_cost(cost)
    last = 0.01 * first
    phi, psi = anneal(DenseCost(cost), left.mass, right.mass, first=first, last=last)
    plan = left.mass[:, None] * right.mass * ((phi[:, None] + psi - cost) / last).exp()
    return phi, psi, float((plan * cost).sum() / plan.sum().clamp_min(1e-300))


def best_partners(
    x: Tensor, y: Tensor, psi: Tensor, other: _Clusters, other_psi: Tensor, delta: float
) -> tuple[Tensor, Tensor]:
    """For each cell of ``x`` its partners of least reduced cost in its best clusters of ``y``."""
    cost = reduced_to(x, other, other_psi, delta)
    near = min(_NEAR_CLUSTERS, cost.shape[1])
    choice = cost.topk(near, dim=1, largest=False).indices.reshape(-1)
    order = torch.argsort(choice, stable=True)
    counts = torch.bincount(choice, minlength=cost.shape[1]).tolist()
    best = x.new_full((x.shape[0], _PARTNERS), math.inf)
    partner = torch.full(best.shape, -1, dtype=torch.int64, device=x.device)
    visitors = torch.div(order, near, rounding_mode="floor").split(counts)
    for cells, members in zip(visitors, other.members(), strict=True):
        if cells.numel() == 0:
            continue
        block = cost_of_squares(squared_distances(x[cells], y[members]), delta).sub_(psi[members])
        value, j = block.topk(min(_PARTNERS, len(members)), dim=1, largest=False)
        value = torch.cat([best[cells], value], 1)
        index = torch.cat([partner[cells], members[j]], 1)
        value, keep = value.topk(_PARTNERS, dim=1, largest=False)
        best[cells], partner[cells] = value, index.gather(1, keep)
    i, r = torch.nonzero(torch.isfinite(best), as_tuple=True)
    return i, partner[i, r]
