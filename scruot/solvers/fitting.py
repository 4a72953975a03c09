"""Fit of a simulated, weighted cloud to the snapshots, with gradients through the simulation."""

from __future__ import annotations

import numpy as np
import ot
import torch
from torch import Tensor, nn

from scruot.dynamics.simulate import integrate_flow
from scruot.dynamics.snapshots import Snapshots


def transport_loss(x: Tensor, log_weights: Tensor, y: Tensor, b: Tensor) -> Tensor:
    """Return W1 between two weighted clouds, with exact gradients in both of the first.

    The optimal plan gives the gradient in the positions, and its potentials that in the
    weights, so neither needs to be differentiated itself.

    Parameters
    ----------
    x, log_weights
        Simulated cells (n, d) and the logarithms of their weights (n,).
    y, b
        Observed cells (m, d) and their masses (m,).

    Returns
    -------
    The distance between the clouds with both masses normalised to one.
    """
    share = log_weights.softmax(0)
    cost = torch.cdist(x, y)
    p = share.detach().cpu().double().numpy()
    q = b.cpu().double().numpy()
    plan, log = ot.emd(
        p / p.sum(),
        q / q.sum(),
        cost.detach().cpu().double().numpy(),
        numItermax=1_000_000,
        log=True,
    )
    potential = np.asarray(log["u"])
    moved, price = (
        torch.as_tensor(np.asarray(v), dtype=torch.float32).to(x.device)
        for v in (plan, potential - potential @ p)
    )
    # its value is the first sum; the second, zero here, carries the gradient in the weights
    return (moved * cost).sum() + (price * (share - share.detach())).sum()


def fit_loss(
    field: nn.Module, clouds: Snapshots, n_cells: int, step: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the mean W1, and the mean squared log error of the population, at later times.

    Cells drawn from the first snapshot are simulated once through all times, and compared with
    cells drawn from the others.

    Parameters
    ----------
    field
        Module with velocity and growth.
    clouds
        The clouds.
    n_cells
        Most cells of a snapshot that are drawn.
    step
        Time step of the simulation.
    generator
        Source of randomness.
    """

    def rates(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        out = field(t, x)
        return out["velocity"], out["growth"]

    x0, w0 = drawn(clouds.x[0], clouds.weights[0], n_cells, generator)
    start = (w0 / w0.sum()).float().log()
    states, logs = integrate_flow(rates, x0, start, list(clouds.times), step)
    distances, errors = [], []
    for k in range(1, len(clouds.times)):
        y, b = drawn(clouds.x[k], clouds.weights[k], n_cells, generator)
        distances.append(transport_loss(states[k], logs[k], y, b))
        errors.append((logs[k].logsumexp(0) - float(np.log(clouds.masses[k]))) ** 2)
    distance, mass = torch.stack(distances).mean(), torch.stack(errors).mean()
    return {"loss": distance + mass, "distance": distance, "mass": mass}


def drawn(
    x: Tensor, weights: Tensor, n_cells: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return all cells and weights, or those of a random ``n_cells`` of them."""
    if len(x) <= n_cells:
        return x, weights
    rows = torch.randperm(len(x), generator=generator, device=x.device)[:n_cells]
    return x[rows], weights[rows]
