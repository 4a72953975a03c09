"""Fates through a chain of plans: where the descendants of every cell end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scruot.transport import Chain
from scruot.transport.chain import arriving, rows_of

__all__ = ["Absorbed", "absorb", "shares"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Absorbed:
    """Descendants of every cell by fate, one entry per time.

    Attributes
    ----------
    mass
        Mass of the descendants by fate, over the mass of the cell, shapes ``(n_k, F + 1)``: the
        last column counts those that end in none of the fates. A cell that is in a terminal state
        counts once, as itself.
    """

    mass: list[Array]

    @property
    def probabilities(self) -> list[Array]:
        """Shares of the descendants by fate and in none, rows sum to one; NaN without any."""
        return [shares(mass) for mass in self.mass]


def absorb(
    chain: Chain,
    masses: Sequence[NDArray[np.floating]],
    members: Sequence[NDArray[np.floating]],
) -> Absorbed:
    r"""Follow all cells to where they leave the chain.

    Backwards in time, with the share :math:`s_{jf}` of cell :math:`j` that has reached fate
    :math:`f` (zero or one for observed cells), :math:`r_j` the mass that :math:`j` has received
    and :math:`P` the plan from its time to the next,

    .. math:: V_{jf} = s_{jf} + \bigl(1 - \textstyle\sum_g s_{jg}\bigr)
              \frac{1}{r_j} \sum_l P_{jl} V_{lf} .

    So mass that reaches a terminal state leaves, whenever that is; what is left at the last time
    ends in none. Without states before the last time this is the product of the plans
    (:meth:`scruot.transport.Chain.pull`).

    Parameters
    ----------
    chain
        Plans between consecutive times.
    masses
        Mass of each cell before growth, each of shape ``(n_k,)``; for the first time and for
        cells that have received nothing.
    members
        Shares :math:`s`, each of shape ``(n_k, F)``, rows sum to at most one.

    Returns
    -------
    Descendants by fate.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from scruot.transport import Chain
    >>> plan = csr_array(np.array([[1.0, 3.0]]))
    >>> found = absorb(Chain([plan]), [np.ones(1), np.ones(2)], [np.zeros((1, 2)), np.eye(2)])
    >>> found.mass[0].tolist(), found.probabilities[0].tolist()
    ([[1.0, 3.0, 0.0]], [[0.25, 0.75, 0.0]])
    """
    sizes = [chain.plans[0].shape[0], *(plan.shape[1] for plan in chain.plans)]
    if [len(m) for m in members] != sizes or [len(m) for m in masses] != sizes:
        msg = (
            f"Found members of {[len(m) for m in members]} and masses of "
            f"{[len(m) for m in masses]} cells; expected {sizes}, as in the plans."
        )
        raise ValueError(msg)
    last = np.asarray(members[-1], dtype=np.float64)
    value = np.column_stack([last, np.clip(1.0 - last.sum(1), 0.0, None)])
    found = [value]
    for k in range(len(chain.plans) - 1, -1, -1):
        plan = rows_of(chain.plans[k])
        mass = np.asarray(masses[k], dtype=np.float64)
        received = mass if k == 0 else arriving(chain.plans[k - 1])
        received = np.where(received > 0, received, mass)
        onward = plan @ value
        onward = np.divide(
            onward, received[:, None], out=np.zeros_like(onward), where=received[:, None] > 0
        )
        share = np.asarray(members[k], dtype=np.float64)
        left = np.clip(1.0 - share.sum(1, keepdims=True), 0.0, None)
        value = left * onward
        value[:, :-1] += share
        found.append(value)
    return Absorbed(found[::-1])


def shares(mass: Array) -> Array:
    """Divide rows by their sums; NaN where there is nothing."""
    total = mass.sum(1, keepdims=True)
    out = np.full_like(mass, np.nan)
    np.divide(mass, total, out=out, where=total > 0)
    return out
