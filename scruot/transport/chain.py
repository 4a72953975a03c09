"""Couplings of consecutive times, composed between any two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, diags_array, vstack
from scipy.sparse.linalg import LinearOperator, aslinearoperator

__all__ = ["Chain", "arriving", "leaving", "rows_of"]

Array = NDArray[np.float64]
Matrix: TypeAlias = Any  # SciPy compressed rows

_ENTRY_BYTES = 12  # value and column of a sparse entry


@dataclass(frozen=True, eq=False)
class Chain:
    r"""Plans :math:`P_{01}, P_{12}, \ldots` between consecutive snapshots, as one Markov chain.

    Two plans meet in the cells of the snapshot between them, and

    .. math:: P_{02} = P_{01}\, \mathrm{diag}(1 / r)\, P_{12},
              \qquad r = P_{01}^T \mathbf 1 ,

    divides by the mass that the cells *received*, not by the mass that was prescribed for them. So
    all mass that a cell sends on is shared among its ancestors in proportion to what they gave it:
    the columns of the composition sum to what arrives at the end from cells with ancestors, and its
    rows to what the descendants of each cell weigh at the end. (With the prescribed masses, mass
    would vanish or appear wherever an unbalanced plan does not meet them.) What is born in between,
    in cells without an ancestor, descends from nobody and is left out.

    Pushing and pulling vectors through the chain never forms the product of plans.

    Parameters
    ----------
    plans
        One sparse array per interval, shapes ``(n_0, n_1)``, ``(n_1, n_2)``, ...; non-negative. Or
        linear operators, as of :class:`scruot.transport.EntropicPlan`, through which vectors can be
        pushed and pulled, but which cannot be composed.

    Raises
    ------
    ValueError
        If there is no plan, or shapes do not follow each other.

    References
    ----------
    Schiebinger et al., Cell 176 (2019) :cite:p:`schiebinger2019`.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> first = csr_array(np.array([[1.0, 0.0], [1.0, 2.0]]))
    >>> second = csr_array(np.array([[2.0], [1.0]]))
    >>> chain = Chain([first, second])
    >>> chain.push([1.0, 0.0], 0, 2).tolist(), chain.between(0, 2).toarray().tolist()
    ([1.0], [[1.0], [2.0]])
    """

    plans: Sequence[Any]

    def __post_init__(self) -> None:
        if not self.plans:
            msg = "Found no plan, expected one per interval."
            raise ValueError(msg)
        for k, (one, two) in enumerate(zip(self.plans[:-1], self.plans[1:], strict=True)):
            if one.shape[1] != two.shape[0]:
                msg = (
                    f"Found plans of shapes {one.shape} and {two.shape} for the intervals {k} and "
                    f"{k + 1}, expected as many rows as the plan before has columns."
                )
                raise ValueError(msg)

    @cached_property
    def _steps(self) -> list[Matrix]:
        """Plans, each but the first divided by the mass that its rows have received."""
        steps = [rows_of(self.plans[0])]
        for before, plan in zip(self.plans[:-1], self.plans[1:], strict=True):
            received = arriving(before)
            weight = np.divide(1.0, received, out=np.zeros(len(received)), where=received > 0)
            scale = diags_array(weight)
            if isinstance(plan, LinearOperator):
                steps.append(aslinearoperator(scale) @ plan)
            else:
                steps.append(csr_array(scale @ rows_of(plan)))
        return steps

    def _path(self, start: int, stop: int) -> list[Matrix]:
        n = len(self.plans)
        if not 0 <= start < stop <= n:
            msg = f"Found start = {start} and stop = {stop}, expected 0 <= start < stop <= {n}."
            raise ValueError(msg)
        return [rows_of(self.plans[start]), *self._steps[start + 1 : stop]]

    def push(self, weights: ArrayLike, start: int, stop: int) -> Array:
        """Mass at ``stop`` that descends from a set of cells at ``start``.

        Parameters
        ----------
        weights
            Share of each cell that belongs to the set, shape ``(n_start,)``, or several sets as
            columns ``(n_start, k)``.
        start, stop
            Positions of the two times.

        Returns
        -------
        Mass of each later cell that descends from the set, shape ``(n_stop,)`` or ``(n_stop, k)``.
        """
        path = self._path(start, stop)
        values = self._vector(weights, path[0].shape[0])
        for step in path:
            values = step.T @ values
        return values

    def pull(self, values: ArrayLike, start: int, stop: int) -> Array:
        """Descendants at ``stop`` of every cell at ``start``, counted with values.

        Parameters
        ----------
        values
            Value of each later cell, e.g. whether it belongs to a fate, shape ``(n_stop,)`` or
            ``(n_stop, k)``.
        start, stop
            Positions of the two times.

        Returns
        -------
        Sum of the values over the descendants of each cell, by their mass at ``stop``; divide by
        the same for values of one to get a mean. Shape ``(n_start,)`` or ``(n_start, k)``.
        """
        path = self._path(start, stop)
        result = self._vector(values, path[-1].shape[1])
        for step in reversed(path):
            result = step @ result
        return result

    def between(
        self, start: int, stop: int, *, kept_mass: float = 0.999, max_bytes: int = 2**30
    ) -> Matrix:
        """Compose the plans from one time to another, as a sparse array.

        Parameters
        ----------
        start, stop
            Positions of the two times.
        kept_mass
            After each product the largest entries that hold this share of their row are kept and
            scaled up to the mass of the row; 1 keeps all.
        max_bytes
            Most bytes of the entries of a block of rows before they are cut, and of the result.

        Returns
        -------
        Mass at ``stop`` by ancestor and descendant, shape ``(n_start, n_stop)``.

        Raises
        ------
        MemoryError
            If the result is larger than ``max_bytes``.
        TypeError
            If a plan is a linear operator.
        """
        if not 0 < kept_mass <= 1:
            msg = f"Found kept_mass = {kept_mass}, expected a share in (0, 1]."
            raise ValueError(msg)
        path = self._path(start, stop)
        if any(isinstance(plan, LinearOperator) for plan in self.plans[start:stop]):
            msg = (
                "Found a plan that is a linear operator, expected sparse arrays; take its "
                "coupling(), or push and pull vectors."
            )
            raise TypeError(msg)
        result = path[0]
        for step in path[1:]:
            result = _product(result, step, kept_mass, max_bytes)
        return result

    @staticmethod
    def _vector(values: ArrayLike, n: int) -> Array:
        found = np.asarray(values, dtype=np.float64)
        if found.ndim not in (1, 2) or found.shape[0] != n:
            msg = f"Found values of shape {found.shape}, expected ({n},) or ({n}, k)."
            raise ValueError(msg)
        return found


def rows_of(plan: Any) -> Matrix:
    """Return a plan as something that multiplies: compressed rows, or the operator it is."""
    return plan if isinstance(plan, LinearOperator) else csr_array(plan, dtype=np.float64)


def arriving(plan: Any) -> Array:
    """Mass that arrives in each column of a plan."""
    if isinstance(plan, LinearOperator):
        return np.asarray(plan.T @ np.ones(plan.shape[0]), dtype=np.float64)
    return np.asarray(plan.sum(axis=0), dtype=np.float64).ravel()


def leaving(plan: Any) -> Array:
    """Mass that leaves each row of a plan."""
    if isinstance(plan, LinearOperator):
        return np.asarray(plan @ np.ones(plan.shape[1]), dtype=np.float64)
    return np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()


def _product(left: Matrix, right: Matrix, kept: float, max_bytes: int) -> Matrix:
    """Multiply in blocks of rows whose entries fit, and cut each."""
    fan = np.diff(right.indptr)
    row_of = np.repeat(np.arange(left.shape[0]), np.diff(left.indptr))
    most = np.bincount(row_of, fan[left.indices], left.shape[0])
    most = np.minimum(most, right.shape[1])
    budget = max_bytes / _ENTRY_BYTES
    blocks: list[Matrix] = []
    begin, total = 0, 0
    running = np.cumsum(most)
    while begin < left.shape[0]:
        used = running[begin - 1] if begin else 0.0
        end = max(begin + 1, int(np.searchsorted(running, used + budget, side="right")))
        blocks.append(_cut(csr_array(left[begin:end] @ right), kept))
        total += blocks[-1].nnz
        if total > budget:
            msg = (
                f"The composed coupling needs more than max_bytes = {max_bytes}; lower kept_mass, "
                "or push and pull vectors instead, which never form it."
            )
            raise MemoryError(msg)
        begin = end
    return csr_array(vstack(blocks, format="csr"))


def _cut(matrix: Matrix, kept: float) -> Matrix:
    """Keep the largest entries that hold a share of their row, and scale them to its mass."""
    if kept >= 1 or matrix.nnz == 0:
        return matrix
    counts = np.diff(matrix.indptr)
    row = np.repeat(np.arange(matrix.shape[0]), counts)
    sums = np.bincount(row, matrix.data, matrix.shape[0])
    order = np.lexsort((-matrix.data, row))
    share = matrix.data[order] / sums[row]  # rows stay where they are
    before = np.cumsum(share) - share
    keep = order[before - before[matrix.indptr[:-1][row]] < kept]
    row, col, data = row[keep], matrix.indices[keep], matrix.data[keep]
    data = data * (sums / np.bincount(row, data, matrix.shape[0]).clip(1e-300))[row]
    return csr_array((data, (row, col)), shape=matrix.shape)
