"""How much sparser a map can be before it no longer reaches its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._checks import whole
from scruot._keys import displacement_slots
from scruot.displacement.elastic import elastic_displacement, elastic_plan, gene_scale
from scruot.displacement.local import Pair, row_mass, shrink
from scruot.io.representation import read_representation, require_variation
from scruot.io.store import check_writable, writable
from scruot.metrics import w1
from scruot.tl._clouds import subset
from scruot.tl._displacement_elastic import sparsity_of
from scruot.tl._displacement_icnn import fit_of
from scruot.tl._displacement_input import read_from, read_genes_matrix, read_masses
from scruot.tl._displacement_maps import MapParams, find_plans, make_pairs
from scruot.tl._displacement_pairs import comparisons
from scruot.tl._displacement_params import make_params

_STRENGTHS = {
    "elastic": (0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0),
    "icnn": (0.03, 0.1, 0.3, 1.0, 3.0),
    "local": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0),
}


def sparsity_path(
    adata: AnnData,
    strengths: Sequence[float] | None = None,
    *,
    source: Any,
    target: Any,
    time_key: str | None = None,
    use_rep: str | None = None,
    n_dims: int | None = None,
    mass: str = "counts",
    method: str = "elastic",
    penalty: str | None = None,
    n_active: float | None = None,
    reg: float = 0.05,
    tau: float = 0.1,
    n_cells: int = 500,
    layer: str | None = None,
    key_added: str | None = None,
    random_state: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Follow a displacement map over penalties: number of genes against how well it arrives.

    Parameters
    ----------
    adata
        Cells of two times or conditions, as for :func:`scruot.tl.sparse_displacement`.
    strengths
        Strengths of the penalty of ``"elastic"`` and ``"icnn"`` (one fit each), or thresholds of
        ``"local"``, as there.
    source, target
        Two values of ``obs[time_key]``.
    time_key, use_rep, n_dims, mass, method, penalty, reg, tau, layer
        As in :func:`scruot.tl.sparse_displacement`. ``"local"`` regards all genes as called.
    n_active
        The ``k`` of ``"k_support"``.
    n_cells
        Most cells of each side that distances are computed from.
    key_added
        Prefix of the slot.
    random_state
        Seed of the choice of cells.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy. Written: ``adata.uns["sparsity_path"]``, a dict with ``"table"``, one row
    per strength: ``strength``; ``dimension``, the mean number of displaced genes per cell, by
    transported mass; ``distance``, exact W1 between the mapped source cells and the target cells;
    ``relative``, over the distance of the source cells as they are; and ``floor``, the distance of
    two random halves of the target cells, below which a smaller one means nothing.

    Raises
    ------
    KeyError
        For a missing column, layer or representation.
    ValueError
        For unknown words, numbers out of range, and data that cannot be compared.

    Notes
    -----
    A small distance alone does not make a map good: the mean shift of all cells often has one.

    References
    ----------
    Chen, Xie and Zhang (2025), *Displacement-sparse neural optimal transport*, arXiv:2502.01889
    :cite:p:`chen2025disnot` (feasibility against dimension).

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.sparse_displacement("jumping", n_cells=100, n_genes=60)
    >>> scruot.tl.sparsity_path(adata, [0.1, 3.0], source=0.0, target=1.0)
    >>> table = adata.uns["sparsity_path"]["table"]
    >>> bool(table["dimension"].is_monotonic_decreasing)
    True
    """
    params = make_params(
        method=method,
        penalty=penalty,
        n_active=n_active,
        fdr=1.0,
        threshold=0.0,
        n_neighbors=None,
        strength=None,
        reg=reg,
        tau=tau,
        random_state=random_state,
    )
    whole("n_cells", n_cells)
    tried = list(_STRENGTHS[method] if strengths is None else strengths)
    if not tried or not all(isinstance(s, Real) and 0 <= s < np.inf for s in tried):
        msg = f"Found strengths={tried}; expected finite numbers, at least 0."
        raise ValueError(msg)
    slot = displacement_slots(key_added).path
    check_writable(adata, copy=copy)
    time_key, use_rep, n_dims = read_from(adata, None, time_key, use_rep, n_dims)
    masses = read_masses(adata, time_key, mass)
    pairs = comparisons(adata, time_key, source, target, masses)
    if len(pairs) != 1:
        msg = "Found source=None and target=None; expected two values of the column."
        raise ValueError(msg)
    genes = read_genes_matrix(adata, layer)
    cells = read_representation(adata, use_rep, n_dims)
    require_variation(cells, use_rep)
    rows = [(p.source, p.target) for p in pairs]
    pair = make_pairs(genes, cells.astype(np.float64), None, rows, masses)[0]
    table = _follow(pair, params, tried, n_cells)
    written = writable(adata, copy=copy)
    written.uns[slot] = {
        "table": table,
        "source": pairs[0].labels[0],
        "target": pairs[0].labels[1],
        "method": method,
        "penalty": params.penalty,
        "versions": {"scruot": version("scruot")},
    }
    return written if copy else None


def _follow(pair: Pair, params: MapParams, tried: list[float], n_cells: int) -> pd.DataFrame:
    rng = np.random.default_rng(params.random_state)
    x, y = (
        np.asarray(m.toarray() if sparse.issparse(m) else m, dtype=np.float64)
        for m in (pair.x, pair.y)
    )
    here, there = (subset(len(m), n_cells, rng) for m in (x, y))
    start = w1(x[here], y[there], pair.a[here], pair.b[there])
    order = rng.permutation(there)
    half = len(order) // 2
    floor = w1(y[order[:half]], y[order[half:]], pair.b[order[:half]], pair.b[order[half:]])
    plan = None if params.method == "elastic" else find_plans([pair], params)[0]
    found = []
    for strength in tried:
        moved, mass = _mapped(pair, x, y, plan, replace(params, strength=strength))
        share = mass / mass.sum()
        # cells that transport leaves out have no image
        reached = w1((x + moved)[here], y[there], np.maximum(mass[here], 0.0), pair.b[there])
        found.append(
            {
                "strength": float(strength),
                "dimension": float(share @ np.count_nonzero(moved, axis=1)),
                "distance": float(reached),
                "relative": float(reached / start) if start > 0 else np.nan,
                "floor": float(floor),
            }
        )
    return pd.DataFrame(found)


def _mapped(
    pair: Pair, x: NDArray[np.float64], y: NDArray[np.float64], plan: Any, params: MapParams
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return displacements ``(n, d)`` and transported mass ``(n,)``."""
    if params.method == "local":
        mass = row_mass(plan)
        moved, _ = shrink(
            pair.averages(plan)[0],
            pair,
            np.arange(x.shape[1]),
            mass > 0,
            penalty=params.penalty,
            n_active=params.n_active,
            threshold=params.strength or 0.0,
        )
        return moved.toarray(), mass
    if params.method == "icnn":
        return fit_of(x, y, plan, params, "cpu").displacement(x), row_mass(plan)
    sparsity = sparsity_of(params, gene_scale(x))
    plan = elastic_plan(x, y, pair.a, pair.b, sparsity, reg=params.reg, tau=params.tau)
    return elastic_displacement(x, y, plan, sparsity), row_mass(plan)
