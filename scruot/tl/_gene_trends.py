"""Expression of genes along time, for each fate."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._checks import whole
from scruot._keys import FATE, GENE_TRENDS, ORIGIN, SIMULATION, fate_slots, slots
from scruot._messages import unknown
from scruot.io.loadings import gene_columns
from scruot.io.read import read_obs
from scruot.io.store import check_writable, fitted_times, read_record, writable
from scruot.pp._expression import read_expression
from scruot.tl._lineage_mass import standard_error
from scruot.tl._smooth import smooth

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

_ALL = "all"
_BAND = 1.96
# the ends of a curve are where so large a part of the cells lies beyond
_TAIL = 0.005
# fewer cells than this, by weight, have no trend
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class _Trends:
    """The rows of the table, and the column whose colours the lineages have."""

    rows: list[pd.DataFrame]
    groupby: str
    time: str


def gene_trends(
    adata: AnnData,
    genes: Sequence[str],
    *,
    simulation: AnnData | None = None,
    time: str | None = None,
    fates_key: str | None = None,
    lineages: Sequence[str] | None = None,
    layer: str | None = None,
    n_points: int = 100,
    n_knots: int = 8,
    key: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    r"""Follow genes along time, for each fate, with intervals.

    Without `simulation`, a smooth mean of the observed cells: cubic P-splines along a continuous
    time, each cell weighed by its probability of the fate (all alike where there are none). The
    smoothness of each gene is that of the least generalised cross-validation error.

    With `simulation`, the mean over the simulated cells at each simulated time, weighed by what
    each trajectory weighs at its late end: the expression, at that time, of the ancestors of
    those that end in the fate,
    :math:`\sum_i w_i(T) x_i(t) / \sum_i w_i(T)` over the trajectories `i` that do.

    Parameters
    ----------
    adata
        Cells.
    genes
        Names in ``var_names``.
    simulation
        What :func:`scruot.tl.simulate` returned, with ``genes`` and, for a trend of each fate,
        ``groupby``.
    time
        Column of ``obs`` with numbers. By default that of
        :func:`scruot.tl.pseudotime_from_dynamics` where there is one, else the times of the fit.
    fates_key
        ``key_added`` of the fates.
    lineages
        Which fates, all by default.
    layer
        Layer with the expression, ``X`` by default.
    n_points
        Times at which a smooth curve is given, evenly between the 0.5 % first and last cells.
    n_knots
        Knots of the splines, at quantiles of the times.
    key
        ``key_added`` of the fit.
    key_added
        Prefix of the slot that is written; by default that of the fit.
    copy
        Whether to return a copy of ``adata`` with the result instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy. One row per gene, lineage and time:

    ``gene``, ``lineage`` : str
        ``"all"`` where there are no fates.
    ``time``, ``mean``, ``se``, ``lower``, ``upper`` : float
        The mean with its standard error and bounds of 95 % at each time.
    ``n_effective`` : float
        Number of equally weighted cells (or trajectories) worth as much.

    Written as ``adata.uns["gene_trends"]``, prefixed by ``key_added`` or as the fit is:

    ``"table"`` : DataFrame
        As returned.
    ``"groupby"``, ``"time"``, ``"source"``, ``"params"``
        How it was computed.

    Raises
    ------
    KeyError
        For unknown genes, layers or columns, or a simulation without these genes.
    ValueError
        For a time that is no number or the same for all cells, or a parameter out of range.

    Notes
    -----
    Intervals are pointwise, and those of a sample of independent cells or trajectories: fates,
    times and the model are taken as given. Over a few discrete days a curve between the days is
    interpolation by the smoother; the continuous time fills it with cells.

    References
    ----------
    Eilers and Marx (1996), Statistical Science 11, 89-121 :cite:p:`eilers1996` (P-splines).
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019` (trends of ancestors).

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(100, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> simulated = scruot.tl.simulate(adata, groupby="lineage", genes=["x1"])
    >>> table = scruot.tl.gene_trends(adata, ["x1"], simulation=simulated)
    >>> sorted(set(table["lineage"]))
    ['quiescent', 'transition']
    """
    whole("n_points", n_points)
    whole("n_knots", n_knots)
    if n_points < 2 or n_knots < 2:
        msg = f"Found n_points={n_points}, n_knots={n_knots}; expected at least 2 of each."
        raise ValueError(msg)
    check_writable(adata, copy=copy)
    slot = slots(key if key_added is None else key_added).table(GENE_TRENDS)
    if simulation is None:
        found = _of_cells(adata, genes, time, fates_key, lineages, layer, n_points, n_knots, key)
    else:
        found = _of_simulation(simulation, genes, lineages)
    table = pd.concat(found.rows, ignore_index=True)
    result: dict[str, Any] = {
        "table": table,
        "groupby": found.groupby,
        "time": found.time,
        "source": "cells" if simulation is None else "simulation",
        "params": {"n_points": n_points, "n_knots": n_knots, "layer": layer or "X"},
    }
    written = writable(adata, copy=copy)
    written.uns[slot] = result
    return written if copy else table.copy()


def _of_cells(
    adata: AnnData,
    genes: Sequence[str],
    time: str | None,
    fates_key: str | None,
    lineages: Sequence[str] | None,
    layer: str | None,
    n_points: int,
    n_knots: int,
    key: str | None,
) -> _Trends:
    matrix = read_expression(adata, layer=layer, use_raw=False, gene_symbols=None)
    columns = gene_columns(adata, genes)
    name, t = _times(adata, time, key)
    weights, groupby = _weights(adata, fates_key, lineages)
    y = _dense(matrix.take([int(c) for c in columns]), f"{matrix.label} of the genes asked for")
    rows = []
    for lineage, weight in weights.items():
        used = np.isfinite(t) & (weight > 0)
        if weight[used].sum() < _FEWEST or np.ptp(t[used]) == 0:
            logger.warning(
                "The lineage %r has cells worth %.1f, of %d different times, and no trend.",
                lineage,
                weight[used].sum(),
                len(np.unique(t[used])),
            )
            continue
        low, high = _quantiles(t[used], weight[used])
        at = np.linspace(low, high, n_points)
        curves = smooth(t[used], y[used], weight[used], at, n_knots=n_knots)
        rows += [
            _table(str(gene), lineage, at, curves.mean[:, g], curves.se[:, g], curves.n_effective)
            for g, gene in enumerate(adata.var_names[columns])
        ]
    if not rows:
        msg = (
            f"No lineage of {list(weights)} has cells of different times worth {_FEWEST} together; "
            "expected more cells, or other fates."
        )
        raise ValueError(msg)
    return _Trends(rows, groupby, name)


def _times(adata: AnnData, time: str | None, key: str | None) -> tuple[str, Array]:
    """Return the name and the values of a continuous time."""
    names = slots(key)
    if time is None and names.pseudotime not in adata.obs:
        record = read_record(adata, key)
        return str(record["params"]["time_key"]), fitted_times(adata, record)
    name = names.pseudotime if time is None else time
    column = read_obs(adata, name, "column of times")
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        msg = f"obs[{name!r}] has dtype {column.dtype}; expected numbers, a time for each cell."
        raise ValueError(msg)
    return name, column.to_numpy(dtype=float, na_value=np.nan)


def _weights(
    adata: AnnData, fates_key: str | None, lineages: Sequence[str] | None
) -> tuple[dict[str, Array], str]:
    """Return the weight of every cell in each lineage, and the column with their colours."""
    names = fate_slots(fates_key)
    if names.probabilities not in adata.obsm:
        if fates_key is not None or lineages is not None:
            asked = "" if fates_key is None else f", key_added={fates_key!r}"
            msg = (
                f"Found no obsm[{names.probabilities!r}]; run scruot.tl.fate_probabilities(adata, "
                f"groupby=...{asked}) first."
            )
            raise KeyError(msg)
        return {_ALL: np.ones(adata.n_obs)}, ""
    table = pd.DataFrame(adata.obsm[names.probabilities])
    known = [str(c) for c in table.columns]
    for lineage in lineages or ():
        if lineage not in known:
            raise ValueError(unknown("lineage", str(lineage), known))
    found = {
        lineage: np.nan_to_num(table.iloc[:, k].to_numpy(dtype=float))
        for k, lineage in enumerate(known)
        if lineages is None or lineage in lineages
    }
    return found, names.fate if names.fate in adata.obs else ""


def _of_simulation(
    simulation: AnnData, genes: Sequence[str], lineages: Sequence[str] | None
) -> _Trends:
    if SIMULATION not in simulation.uns or simulation.X is None:
        msg = (
            "Found a simulation without genes; expected what "
            "scruot.tl.simulate(adata, genes=[...]) returned."
        )
        raise KeyError(msg)
    columns = gene_columns(simulation, genes)
    y = _dense(simulation.X[:, columns], "the simulation")
    obs = simulation.obs
    time = obs["time"].to_numpy(dtype=float)
    label = next((name for name in (FATE, ORIGIN) if name in obs), None)
    group = np.full(len(obs), _ALL) if label is None else obs[label].astype(str).to_numpy()
    present = list(dict.fromkeys(group if label is None else obs[label].cat.categories))
    for lineage in lineages or ():
        if lineage not in present:
            raise ValueError(unknown("lineage", str(lineage), [str(name) for name in present]))
    # the weight of the late end counts descendants, in both directions
    late = time == time.max()
    final = pd.Series(obs["weight"].to_numpy(dtype=float)[late], obs["trajectory"].to_numpy()[late])
    weight = final.reindex(obs["trajectory"].to_numpy()).to_numpy()
    rows = []
    for lineage in present if lineages is None else lineages:
        mine = group == lineage
        if not weight[mine].sum() > 0:
            continue
        moments = np.unique(time[mine])
        each = [_mean(y[mine & (time == t)], weight[mine & (time == t)]) for t in moments]
        mean, se = (np.stack([pair[i] for pair in each]) for i in (0, 1))
        w = weight[mine & late]
        n_effective = float(w.sum() ** 2 / np.square(w).sum())
        rows += [
            _table(str(gene), str(lineage), moments, mean[:, g], se[:, g], n_effective)
            for g, gene in enumerate(simulation.var_names[columns])
        ]
    groupby = str(simulation.uns[SIMULATION].get("groupby", ""))
    return _Trends(rows, groupby, "time")


def _mean(y: Array, weight: Array) -> tuple[Array, Array]:
    share = weight / weight.sum()
    mean = share @ y
    return mean, standard_error(share[:, None] * (y - mean))


def _table(
    gene: str, lineage: str, time: Array, mean: Array, se: Array, n_effective: float
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "gene": gene,
            "lineage": lineage,
            "time": time,
            "mean": mean,
            "se": se,
            "lower": mean - _BAND * se,
            "upper": mean + _BAND * se,
            "n_effective": n_effective,
        }
    )


def _quantiles(t: Array, weight: Array) -> tuple[float, float]:
    order = np.argsort(t)
    below = np.cumsum(weight[order]) / weight.sum()
    first, last = np.searchsorted(below, [_TAIL, 1 - _TAIL])
    return float(t[order][first]), float(t[order][min(last, len(t) - 1)])


def _dense(values: Any, what: str) -> Array:
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    dense = dense.astype(np.float64)
    if not np.isfinite(dense).all():
        msg = f"Found NaN or infinity in {what}; expected finite expression."
        raise ValueError(msg)
    return np.asarray(dense)
