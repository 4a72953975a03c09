"""Results as objects and tables."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from scruot._messages import unknown
from scruot.dynamics.device import resolve_device
from scruot.dynamics.model import Dynamics
from scruot.io.cellrank import couplings_by_category, row_stochastic
from scruot.io.couplings import read_transport
from scruot.io.displacement import genes_table
from scruot.io.fates import fates_table
from scruot.io.gene_tables import (
    jacobian_groups,
    jacobian_table,
    ranked_drivers,
    read_driver_genes,
    read_growth_genes,
    read_jacobian,
)
from scruot.io.store import fitted_representation, read_model, read_record
from scruot.io.transport import Transport

__all__ = [
    "cellrank_couplings",
    "displacement_genes_df",
    "driver_genes_df",
    "dynamics",
    "fates_df",
    "growth_genes_df",
    "regulatory_jacobian_df",
    "transition_matrix",
    "transport",
]


def dynamics(adata: AnnData, key: str | None = None, *, device: str = "cpu") -> Dynamics:
    """Return a fitted model as a callable.

    Parameters
    ----------
    adata
        AnnData that holds the model, in memory or read back from a file.
    key
        ``key_added`` of the fit.
    device
        Where the model computes: ``"auto"`` or a device of torch.

    Returns
    -------
    The model: ``.velocity(t, x)``, ``.drift(t, x)``, ``.growth(t, x)``, ``.score(t, x)``,
    ``.potential(t, x)``, ``.log_density(t, x)`` and ``.simulate(x0, times)``, in the units of the
    representation and of the user's time. NumPy arrays give NumPy arrays, tensors give tensors.

    Raises
    ------
    KeyError
        When there is no such fit.
    ValueError
        When the representation has changed since the fit, or the entry is damaged.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> model = scruot.get.dynamics(adata)
    >>> model.growth(0.5, adata.obsm["X_genes"][:3]).shape
    (3,)
    """
    record = read_record(adata, key)
    model = read_model(adata, key, device=resolve_device(device))
    if str(record["representation"]["use_rep"]) in (*adata.obsm, "X"):
        fitted_representation(adata, record)
    return model


def transport(adata: AnnData, key: str | None = None) -> Transport:
    """Return static couplings as an object.

    Parameters
    ----------
    adata
        AnnData that holds the transport, in memory or read back from a file; it may have been
        subset or reordered since, since cells are matched by their names.
    key
        ``key_added`` of the transport.

    Returns
    -------
    The couplings: ``.times``, ``.coupling(source_time, target_time)`` between any two times,
    ``.push`` and ``.pull`` of any masses, ``.growth``, ``.quality``.

    Raises
    ------
    KeyError
        When there is no such transport.
    ValueError
        When the entry is damaged, or ``adata`` has none of its cells.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> couplings = scruot.get.transport(adata)
    >>> couplings.pull(source_time=0, target_time=4).index.equals(couplings.cells[0])
    True
    """
    return read_transport(adata, key)


def fates_df(adata: AnnData, key: str | None = None, *, groupby: str | None = None) -> pd.DataFrame:
    """Return fates as a table: of every cell, or of groups of cells.

    Parameters
    ----------
    adata
        AnnData with :func:`scruot.tl.fate_probabilities`.
    key
        ``key_added`` of the fates.
    groupby
        Column of ``obs``: one row for each of its groups, with means over its cells that have a
        fate, instead of one for each cell.

    Returns
    -------
    Columns: a probability for each fate under its own name (and ``"none of these"`` where it was
    kept), ``"fate"``, ``"fate_entropy"``, ``"expected_descendants"``; for groups ``"n_cells"``
    instead of ``"fate"``. The index has the names of the cells or groups.

    Raises
    ------
    KeyError
        When there are no fates, or no such column.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(300, 5, n_continue=0, random_state=0)
    >>> scruot.tl.fate_probabilities(adata, "cell_type", source="transport", use_rep="X_sim")
    >>> scruot.get.fates_df(adata, groupby="time").columns.tolist()
    ['A', 'B', 'C', 'fate_entropy', 'expected_descendants', 'n_cells']
    """
    return fates_table(adata, key, groupby)


def cellrank_couplings(
    adata: AnnData, key: str | None = None, *, time_key: str | None = None
) -> dict[tuple[Any, Any], AnnData]:
    """Return couplings as CellRank's ``RealTimeKernel`` takes them.

    Parameters
    ----------
    adata
        AnnData that holds the transport, with all its cells and no others.
    key
        ``key_added`` of the transport.
    time_key
        Column of ``obs`` with the times as numbers that CellRank will read; by default the column
        of the transport. CellRank wants it to be categorical:
        ``adata.obs["day"] = adata.obs["day"].astype("category")``.

    Returns
    -------
    ``{(time, next_time): coupling}`` by the categories of the column, for consecutive times. Each
    is a copy (CellRank changes it in place), sparse, with the cells in the order of ``adata``.

    Raises
    ------
    KeyError
        When there is no such transport or column.
    ValueError
        When the column has no numbers or other times than the transport, or ``adata`` other cells.

    Notes
    -----
    CellRank divides each row by its sum, so growth is lost: in its fate probabilities a cell
    counts once however many descendants it has.

    References
    ----------
    Weiler et al. (2024), CellRank 2, Nature Methods 21 :cite:p:`weiler2024`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> sorted(scruot.get.cellrank_couplings(adata))[0]
    (0.0, 1.0)
    """
    return couplings_by_category(adata, key, time_key)


def transition_matrix(adata: AnnData, key: str | None = None) -> csr_matrix:
    """Return a transport as one matrix of transition probabilities between all cells.

    Parameters
    ----------
    adata
        AnnData that holds the transport, with all its cells.
    key
        ``key_added`` of the transport.

    Returns
    -------
    Sparse matrix, ``(n_obs, n_obs)``, rows sum to 1: from each cell to its descendants at the
    next time. Cells of the last time, without descendants or outside the transport stay where
    they are. It fits CellRank's ``PrecomputedKernel``; as there, growth is lost.

    Raises
    ------
    KeyError
        When there is no such transport.
    ValueError
        When ``adata`` lacks cells of the transport.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> matrix = scruot.get.transition_matrix(adata)
    >>> matrix.shape == (adata.n_obs, adata.n_obs), round(float(matrix.sum(axis=1).min()), 6)
    (True, 1.0)
    """
    return row_stochastic(adata, key)


def driver_genes_df(
    adata: AnnData, fate: str | None = None, *, key: str | None = None
) -> pd.DataFrame:
    """Return the genes that go with a fate, ranked.

    Parameters
    ----------
    adata
        AnnData after :func:`scruot.tl.driver_genes`.
    fate
        Name of the fate; by default all, one below the other.
    key
        ``key_added`` of the fates.

    Returns
    -------
    One row per tested gene, named by it, the most positive correlation first: ``corr``, ``pval``,
    ``qval``, ``ci_low``, ``ci_high``; of all fates with a column ``fate`` before them.

    Raises
    ------
    KeyError
        When there is no such table or fate.

    Examples
    --------
    >>> import numpy as np, pandas as pd, scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> late = np.clip(adata.obsm["X_genes"][:, 1] / 2, 0, 1)  # made up for the example
    >>> adata.obsm["fate_probabilities"] = pd.DataFrame(
    ...     {"high": late, "low": 1 - late}, index=adata.obs_names
    ... )
    >>> scruot.tl.driver_genes(adata)
    >>> list(scruot.get.driver_genes_df(adata, "low").index)
    ['x1', 'x2']
    """
    return ranked_drivers(read_driver_genes(adata, key), fate)


def growth_genes_df(
    adata: AnnData, *, by: Literal["gradient", "corr"] = "corr", key: str | None = None
) -> pd.DataFrame:
    """Return the genes that go with growth, ranked.

    Parameters
    ----------
    adata
        AnnData after :func:`scruot.tl.growth_genes`.
    by
        Column to rank by, largest first.
    key
        ``key_added`` of the fit.

    Returns
    -------
    One row per tested gene, named by it: ``gradient`` and ``gradient_std`` (growth per unit of
    time and of expression), ``corr``, ``pval``, ``qval``, ``ci_low``, ``ci_high``.

    Raises
    ------
    KeyError
        When there is no such table.
    ValueError
        When `by` is neither of the two.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=100, progress=False)
    >>> scruot.tl.growth_genes(adata)
    >>> scruot.get.growth_genes_df(adata).index[0]
    'x2'
    """
    if by not in ("gradient", "corr"):
        raise ValueError(unknown("by", str(by), ("gradient", "corr")))
    table = read_growth_genes(adata, key).dropna(subset=[by])
    return table.sort_values(by, ascending=False, kind="stable")


def regulatory_jacobian_df(
    adata: AnnData, group: str | None = None, *, key: str | None = None
) -> pd.DataFrame:
    """Return which gene drives which, as a table of targets and regulators.

    Parameters
    ----------
    adata
        AnnData after :func:`scruot.tl.regulatory_jacobian`.
    group
        One group (or time, as it is written there); by default all of them.
    key
        ``key_added`` of the fit.

    Returns
    -------
    One row per stored pair: ``group``, ``target``, ``regulator``, ``derivative`` (per unit of
    time; positive: activation), the largest absolute value first within each group. Of an ensemble
    also ``std_error``, ``pval``, ``qval`` and ``sign``: -1, 1, or 0 where ``qval`` exceeds 5 %.

    Raises
    ------
    KeyError
        When there is no such entry or group.
    ValueError
        When the entry is damaged.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.regulatory_jacobian(adata)
    >>> scruot.get.regulatory_jacobian_df(adata, "0").shape
    (4, 4)
    """
    entry = read_jacobian(adata, key)
    return jacobian_table(entry, jacobian_groups(entry) if group is None else [str(group)])


def displacement_genes_df(
    adata: AnnData, group: str | None = None, *, key: str | None = None, fdr: float | None = None
) -> pd.DataFrame:
    """Return the genes that :func:`scruot.tl.sparse_displacement` has ranked, as a table.

    Parameters
    ----------
    adata
        AnnData after :func:`scruot.tl.sparse_displacement`.
    group
        Name of a group, or of a group and interval as in ``uns["displacement_genes"]``; by default
        all.
    key
        ``key_added`` of the displacement.
    fdr
        Keep only rows with ``pvals_adj`` at most this.

    Returns
    -------
    One row per group, interval and gene, best first within each: ``group`` (empty without
    ``groupby``), ``source``, ``target``, ``gene``, ``scores`` (signed, ranked by magnitude),
    ``logfoldchanges`` (``displacement`` over ``ln 2``), ``pvals``, ``pvals_adj`` (within the group
    and interval), ``displacement`` (mean over the group, by mass) and ``share`` (of its cells in
    which the gene is displaced).

    Raises
    ------
    KeyError
        When there is no such displacement.
    ValueError
        When there is no such group.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.sparse_displacement("jumping", n_cells=300, n_genes=200)
    >>> scruot.tl.sparse_displacement(adata, groupby="cell_type")
    >>> table = scruot.get.displacement_genes_df(adata, "type1", fdr=0.01)
    >>> table.columns[3], len(table) >= 8
    ('gene', True)
    """
    table = genes_table(adata, key, group)
    return table if fdr is None else table[table["pvals_adj"] <= fdr].reset_index(drop=True)
