"""How far simulated particles are from a snapshot, with exact transport and its gradient."""

from __future__ import annotations

import warnings

import numpy as np
import ot
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

__all__ = ["transport_loss"]

_MAX_ITERATIONS = 1_000_000


def transport_loss(x: Tensor, mass: Tensor, y: Tensor, target: Tensor) -> Tensor:
    r"""Return half the squared W2 distance of two clouds, differentiable in ``x`` and ``mass``.

    The plan is that of exact transport at these very states and masses. By the envelope theorem
    its cost has the gradient :math:`\sum_j P_{ij} (x_i - y_j)` in the states, and the dual
    potentials of the plan in the normalised masses; no derivative of the plan is needed.

    Parameters
    ----------
    x, mass
        States (n, d) and positive masses (n,) of the particles; masses are normalised.
    y, target
        Cells (m, d) and their positive masses (m,), normalised too.
    """
    share = mass / mass.sum()
    a, b = _normalised(share), _normalised(target)
    cost = cdist(_numpy(x), _numpy(y), "sqeuclidean") / 2
    with warnings.catch_warnings():
        # a plan that is not quite optimal is a step in a good direction all the same
        warnings.simplefilter("ignore", UserWarning)
        plan, log = ot.emd(a, b, cost, numItermax=_MAX_ITERATIONS, log=True)
    row, col = np.nonzero(plan)
    moved = torch.from_numpy(plan[row, col]).to(x.device, x.dtype)
    i, j = (torch.from_numpy(index).to(x.device) for index in (row, col))
    price = torch.from_numpy(np.asarray(log["u"])).to(x.device, x.dtype)
    value = (moved * (x[i] - y[j]).square().sum(1)).sum() / 2
    return value + (price * (share - share.detach())).sum()


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


def _normalised(masses: Tensor) -> np.ndarray:
    values = _numpy(masses)
    return np.asarray(values / values.sum())
