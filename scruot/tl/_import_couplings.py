"""Couplings that another program has computed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._keys import transport_slots
from scruot.io.couplings import check_free_transport, transport_record, write_transport
from scruot.io.mass import Mass, describe_mass, read_mass
from scruot.io.read import check_names, read_obs
from scruot.io.store import check_writable, writable
from scruot.io.time import label_ranks, read_times
from scruot.io.transport import Transport
from scruot.tl._reading import how_to_read
from scruot.tl._transport_figures import plan_figures

logger = logging.getLogger(__name__)

Couplings = Mapping[tuple[Any, Any], Any]


def import_couplings(
    adata: AnnData,
    couplings: Couplings,
    *,
    time_key: str | None = None,
    mass: Mass = "counts",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Store couplings of another program, e.g. moscot, as if :func:`transport` had made them.

    Descendants, ancestors, transition tables and pictures then work on them.

    Parameters
    ----------
    adata
        The cells that were coupled.
    couplings
        The matrices of consecutive times, ``{(time, next_time): matrix}``, source cells as rows
        and target cells as columns: arrays, sparse matrices or jax arrays in the order of the
        cells of each time in ``adata``; AnnData or DataFrames, matched by their names; or
        results with a ``transport_matrix``, such as the ``solutions`` of a solved moscot problem.
        A solved problem itself will do, too.
    time_key
        Column of ``obs`` with the times; its values, or their numbers, are the keys. By default
        that of the fit in ``uns["dynamics"]``, without one ``"time"``.
    mass
        What the population was at each time, as in :func:`scruot.tl.fit_dynamics`. Each matrix
        is multiplied by one number so that its total is the population at its later time: others
        norm it to one, so that its row masses are no numbers of descendants.
    key_added
        Prefix of all slots; ``"transport"`` by default.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy, with the slots of :func:`scruot.tl.transport`; ``"quality"`` has no
    values of the problem, which was another's.

    Raises
    ------
    KeyError
        For a missing column, or cells that ``adata`` lacks.
    TypeError, ValueError
        For anything else but matrices of the right shape with finite entries >= 0, or times that
        are not consecutive.

    References
    ----------
    Klein et al. (2025), Mapping cells through time and space with moscot, Nature 638
    :cite:p:`klein2025`.

    Examples
    --------
    >>> import numpy as np, scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0, n_times=2)
    >>> n = adata.obs["time"].value_counts()
    >>> plan = np.full((n[0], n[1]), 1 / (n[0] * n[1]))
    >>> scruot.tl.import_couplings(adata, {(0, 1): plan})
    >>> len(scruot.get.transport(adata).couplings)
    1
    """
    names = transport_slots(key_added)
    check_writable(adata, copy=copy)
    check_free_transport(adata, names)
    check_names(adata)
    time_key = how_to_read(adata, time_key=time_key)["time_key"]
    column = read_obs(adata, time_key, "time column")
    time = read_times(column, time_key)
    weights = read_mass(adata.obs, time, mass)
    given = _by_time(couplings, column, time, time_key)
    times = sorted({t for pair in given for t in pair})
    rows = [np.flatnonzero((time == t) & (weights > 0)) for t in times]
    _require_chain(given, times, np.unique(time))
    matrices, quality = [], []
    for k, pair in enumerate(pairwise(times)):
        ends = [adata.obs_names[time == t] for t in pair]
        kept = [weights[time == t] > 0 for t in pair]
        matrix = _matrix(given[pair], ends, pair)[kept[0]][:, kept[1]]
        masses = weights[rows[k]], weights[rows[k + 1]]
        matrices.append(_scaled(matrix, float(masses[1].sum()), pair))
        quality.append(plan_figures(matrices[-1], spans=pair, masses=masses))
    made = Transport(
        times=np.array(times),
        cells=tuple(adata.obs_names[r] for r in rows),
        mass=tuple(weights[r] for r in rows),
        couplings=tuple(matrices),
        quality=pd.DataFrame(quality).assign(solver="imported"),
        method="imported",
    )
    params = {"time_key": time_key, "mass": mass}
    record = transport_record(
        made, method="imported", params=params, resolved={}, ranks=label_ranks(column)
    )
    logger.info("imported: %s", describe_mass(mass, time, weights))
    written = writable(adata, copy=copy)
    write_transport(written, record, made, names)
    return written if copy else None


def _by_time(
    couplings: Any, column: pd.Series, time: NDArray[np.float64], time_key: str
) -> dict[tuple[float, float], Any]:
    """Return the matrices by the numbers of their times."""
    solutions = couplings if isinstance(couplings, Mapping) else None
    if solutions is None:
        solutions = getattr(couplings, "solutions", None)
    if not isinstance(solutions, Mapping) or not solutions:
        msg = (
            f"Found couplings of type {type(couplings).__name__}; expected a mapping "
            "{(time, next_time): matrix}, not empty, or a solved moscot problem."
        )
        raise TypeError(msg)
    known = {str(label): float(t) for label, t in zip(column, time, strict=True)}
    known |= {str(float(t)): float(t) for t in time}
    found = {}
    for key, matrix in solutions.items():
        if not isinstance(key, tuple) or len(key) != 2:
            msg = f"Found the key {key!r} in couplings; expected (time, next_time)."
            raise ValueError(msg)
        pair = tuple(known.get(str(t), known.get(_as_float(t), np.nan)) for t in key)
        if np.isnan(pair).any():
            msg = (
                f"Found the key {key!r} in couplings; expected two values of obs[{time_key!r}]: "
                f"{sorted(set(time.tolist()))}."
            )
            raise ValueError(msg)
        if pair[0] == pair[1]:
            msg = f"Found the key {key!r} in couplings; expected two different times."
            raise ValueError(msg)
        found[(pair[0], pair[1])] = matrix
    return found


def _as_float(value: Any) -> str:
    try:
        return str(float(value))
    except (TypeError, ValueError):
        return ""


def _require_chain(
    given: Mapping[tuple[float, float], Any], times: list[float], observed: NDArray[np.float64]
) -> None:
    """Refuse couplings that leave an interval out; those over several are not needed."""
    missing = [pair for pair in pairwise(times) if pair not in given]
    if missing:
        msg = (
            f"couplings lack the intervals {missing}; expected one for every pair of consecutive "
            f"times among {times}."
        )
        raise ValueError(msg)
    skipped = [t for t in observed if times[0] < t < times[-1] and t not in times]
    if skipped:
        logger.info("times %s have no couplings and are left out", [float(t) for t in skipped])
    if len(given) > len(times) - 1:
        logger.info("couplings over several intervals are left out: they are composed instead")


def _matrix(value: Any, ends: list[pd.Index], pair: tuple[float, float]) -> sparse.csr_matrix:
    """Return a matrix in the order of the cells of ``adata``, checked."""
    if isinstance(value, pd.DataFrame) and value.index.isin(ends[0]).any():
        value = AnnData(value.to_numpy(dtype=np.float64), value[[]], value.T[[]])
    if isinstance(value, AnnData):
        order = []
        for named, end in ((value.obs_names, ends[0]), (value.var_names, ends[1])):
            order.append(named.get_indexer(end))
            lost = end[order[-1] < 0]
            if len(lost):
                msg = (
                    f"The coupling {pair} lacks {len(lost)} cells of adata (first: {lost[0]!r}); "
                    "expected all cells of both times."
                )
                raise KeyError(msg)
        matrix = sparse.csr_matrix(value.X)[order[0]][:, order[1]]
    else:
        value = getattr(value, "transport_matrix", value)
        matrix = _numeric(value, pair)
    matrix = matrix.astype(np.float64)
    expected = len(ends[0]), len(ends[1])
    if matrix.shape != expected:
        msg = (
            f"The coupling {pair} has shape {matrix.shape}; expected {expected}: the cells of "
            "both times in adata."
        )
        raise ValueError(msg)
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        msg = f"The coupling {pair} holds negative or non-finite entries; expected masses >= 0."
        raise ValueError(msg)
    return matrix


def _numeric(value: Any, pair: tuple[float, float]) -> sparse.csr_matrix:
    if not sparse.issparse(value):
        value = np.asarray(value)
    if value.ndim != 2 or value.dtype.kind not in "biuf":
        what = "a matrix" if value.ndim == 2 else f"an array of {value.ndim} dimensions"
        msg = (
            f"Found {what} of dtype {value.dtype} as the coupling {pair}; expected a matrix of "
            "masses, with cells of the earlier time as rows and of the later one as columns: give "
            "an array, a sparse matrix, a DataFrame, an AnnData or a moscot solution."
        )
        raise ValueError(msg)
    return sparse.csr_matrix(value)


def _scaled(
    matrix: sparse.csr_matrix, total: float, pair: tuple[float, float]
) -> sparse.csr_matrix:
    if not matrix.sum() > 0:
        msg = f"The coupling {pair} has no mass at all; expected some positive entries."
        raise ValueError(msg)
    scaled = sparse.csr_matrix(matrix * (total / matrix.sum()))
    scaled.eliminate_zeros()
    scaled.sort_indices()
    return scaled
