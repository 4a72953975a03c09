"""Cells kept back from a fit, and the simulation's distance to them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from scruot.dynamics.simulate import integrate_flow
from scruot.dynamics.snapshots import Snapshots
from scruot.metrics import w1

# cells of a cloud that enter a validation figure
_MAX_CELLS = 1000


def split_cells(
    snapshots: Snapshots, share: float, random_state: int
) -> tuple[Snapshots, Snapshots | None]:
    """Keep back a share of every cloud; clouds of fewer than ten cells stay whole."""
    if share == 0:
        return snapshots, None
    rng = np.random.default_rng(random_state)
    keep = []
    for x in snapshots.x:
        mask = np.ones(len(x), dtype=bool)
        if len(x) >= 10:
            mask[rng.permutation(len(x))[: max(1, round(share * len(x)))]] = False
        keep.append(torch.from_numpy(mask).to(x.device))
    aside = [~m if not bool(m.all()) else m for m in keep]
    return snapshots.select(keep), snapshots.select(aside)


def simulation_error(field: nn.Module, start: Snapshots, aside: Snapshots) -> float:
    """Return the mean W1 between the first cloud carried on and later cells kept back."""

    def rates(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        out = field(t, x)
        # methods without growth leave weights as they are
        return out["velocity"], out["growth"] if "growth" in out else torch.zeros_like(t)

    x0, w0 = _thinned(start.x[0]), _thinned(start.weights[0])
    with torch.no_grad():
        states, logs = integrate_flow(rates, x0, w0.float().log(), list(start.times), 0.1)
    errors = [
        # distances are between distributions; where all cells die, the last to die count
        w1(states[k], _thinned(aside.x[k]), logs[k].softmax(0), _thinned(aside.weights[k]))
        for k in range(1, len(start.times))
    ]
    return float(np.mean(errors))


def thin(snapshots: Snapshots, n_cells: int) -> Snapshots:
    """Keep at most ``n_cells`` evenly spaced cells of every snapshot, and its population."""
    if all(len(x) <= n_cells for x in snapshots.x):
        return snapshots
    masks = []
    for x in snapshots.x:
        rows = torch.arange(len(x), device=x.device)
        masks.append(rows % (-(-len(x) // n_cells)) == 0)
    return snapshots.select(masks)


def _thinned(cloud: Tensor) -> Tensor:
    return cloud[:: max(1, -(-len(cloud) // _MAX_CELLS))]
