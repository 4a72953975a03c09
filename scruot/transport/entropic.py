"""Entropic plans that are held by their potentials: no entry is stored."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from scruot.transport.blurred import cut, entropic_potentials, plan_blocks
from scruot.transport.checks import check_clouds
from scruot.transport.cost import CostBlocks
from scruot.transport.coupling import Coupling
from scruot.transport.penalties import Penalty, Sides
from scruot.transport.reduction import Problem, homogeneous_problem, restore
from scruot.transport.sinkhorn import Potentials

__all__ = ["EntropicPlan", "entropic_plan"]

_LOG = logging.getLogger(__name__)

Array = NDArray[np.float64]

_SWEEPS = 20  # before Newton steps, which a plan with much blur needs few of
_BLOCK_BYTES = 2**23  # of the plan that exist at once


@dataclass(frozen=True, eq=False)
class _Solved:
    """A problem with its potentials, and what it was made from."""

    problem: Problem
    potentials: Potentials
    sides: Sides
    reg: float
    x0: Tensor
    a: Tensor
    b: Tensor


class EntropicPlan(LinearOperator):  # type: ignore[misc]  # SciPy has no types
    r"""The plan :math:`P = a b \exp((\phi + \psi - c) / \epsilon)` as a linear operator.

    ``plan @ values`` and ``plan.T @ values`` compute its entries block by block and forget them.
    With much blur nearly every pair of cells has some mass, and the plan of two large clouds is
    larger than all that it is asked for.

    Attributes
    ----------
    shape
        Number of source and of target cells.
    converged
        Whether the potentials settled.
    """

    def __init__(self, solved: _Solved) -> None:
        super().__init__(np.float64, (len(solved.a), len(solved.b)))
        self.converged = solved.potentials.converged
        self._solved = solved

    def _matmat(self, X: Array) -> Array:
        problem, values = self._solved.problem, torch.from_numpy(np.asarray(X, dtype=np.float64))
        device = problem.a.device
        chosen = values.to(device)[problem.cols]
        found = torch.zeros(self.shape[0], values.shape[1], dtype=torch.float64, device=device)
        for part, block in self._entries():
            found[problem.rows[part]] = block @ chosen
        return np.asarray(problem.scale * found.cpu().numpy(), dtype=np.float64)

    def _rmatvec(self, x: Array) -> Array:  # older SciPy does not derive it from _rmatmat
        return self._rmatmat(np.reshape(x, (-1, 1))).ravel()

    def _rmatmat(self, X: Array) -> Array:
        problem, values = self._solved.problem, torch.from_numpy(np.asarray(X, dtype=np.float64))
        device = problem.a.device
        chosen = values.to(device)[problem.rows]
        arrived = torch.zeros(
            len(problem.cols), values.shape[1], dtype=torch.float64, device=device
        )
        for part, block in self._entries():
            arrived += block.T @ chosen[part]
        found = torch.zeros(self.shape[1], values.shape[1], dtype=torch.float64, device=device)
        found[problem.cols] = arrived
        return np.asarray(problem.scale * found.cpu().numpy(), dtype=np.float64)

    def _entries(self) -> Iterator[tuple[slice, Tensor]]:
        solved = self._solved
        problem = solved.problem
        potentials = solved.potentials.phi, solved.potentials.psi
        return plan_blocks(problem.costs, problem.a, problem.b, potentials, solved.reg)

    def coupling(self, *, kept_mass: float = 0.999) -> Coupling:
        """Return the plan with its entries, as :func:`scruot.transport.couple` would.

        Parameters
        ----------
        kept_mass
            Share of the mass of each row or column that the entries hold.
        """
        solved = self._solved
        problem, sides, reg = solved.problem, solved.sides, solved.reg
        sparse = cut(
            problem.costs,
            problem.a,
            problem.b,
            solved.potentials,
            eps=reg,
            kept_mass=kept_mass,
            sides=sides,
        )
        return restore(
            problem,
            sparse,
            solved.x0,
            solved.a,
            solved.b,
            method="entropic",
            sides=sides,
            reg=reg,
        )


def entropic_plan(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    source: Penalty,
    target: Penalty,
    reg: float,
    max_bytes: int = 2**28,
) -> EntropicPlan:
    """Couple two clouds under squared distances with entropy, and keep the potentials alone.

    The problem is that of :func:`scruot.transport.couple`; all pairs are regarded, whatever the
    size, and time is proportional to their number.

    Parameters
    ----------
    x0, x1
        Source and target cells, shapes ``(n, d)`` and ``(m, d)``.
    a, b
        Their masses; of one sum where both sides are exact.
    source, target
        Penalties of the row and of the column masses.
    reg
        Regularisation, a squared length, positive.
    max_bytes
        Most bytes of the cost matrix that are held at once, and as many of the plan; beyond that
        both are computed in blocks, again in every sweep.

    Raises
    ------
    ValueError
        On wrong shapes, values that are no numbers, and clouds without mass.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from scruot.transport import Penalty, entropic_plan
    >>> x, one, exact = torch.tensor([[0.0], [1.0]]), torch.ones(2), Penalty("exact")
    >>> plan = entropic_plan(x, x, one, one, source=exact, target=exact, reg=1.0)
    >>> (plan @ np.eye(2)).round(3).tolist(), plan.converged
    ([[0.731, 0.269], [0.269, 0.731]], True)
    """
    check_clouds(x0, x1, a, b)
    if not (math.isfinite(reg) and reg > 0):
        msg = f"Found reg = {reg}, expected a positive squared length."
        raise ValueError(msg)
    sides = Sides(source, target)
    device = torch.device("cpu") if x0.device.type == "mps" else x0.device
    ends = (t.to(device).to(torch.float64) for t in (x0, x1, a, b))
    problem = homogeneous_problem(*ends, max_bytes=max_bytes)
    if problem is None:
        msg = "Found a cloud without mass, expected some in both; leave its time out."
        raise ValueError(msg)
    potentials = entropic_potentials(
        problem.costs, problem.a, problem.b, eps=reg, sides=sides, sweeps=_SWEEPS
    )
    if not potentials.converged:
        _LOG.warning(
            "The entropic coupling of %d with %d cells has not converged at reg = %.3g: its masses "
            "are not those that were asked for. Look for cells far from all others.",
            *problem.costs.shape,
            reg,
        )
    # the cost matrix is not needed any more
    costs = CostBlocks(problem.costs.x0, problem.costs.x1, delta=math.inf, max_bytes=_BLOCK_BYTES)
    return EntropicPlan(_Solved(replace(problem, costs=costs), potentials, sides, reg, x0, a, b))
