"""Genes whose expression goes with the probability of a fate."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import fate_slots
from scruot._messages import did_you_mean, unknown
from scruot.io.fates import NONE
from scruot.io.store import check_writable, writable
from scruot.tl._cells import chosen_cells, strata
from scruot.tl._correlate import correlate
from scruot.tl._genes import chosen_genes, expression

logger = logging.getLogger(__name__)


def driver_genes(
    adata: AnnData,
    fates: Sequence[str] | str | None = None,
    *,
    key: str | None = None,
    groupby: str | None = None,
    groups: Iterable[Any] | None = None,
    within: str | None = None,
    genes: Sequence[str] | None = None,
    layer: str | None = None,
    confidence: float = 0.95,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank genes by the correlation of their expression with the probability of each fate.

    For every fate and gene: Pearson's `r` over the cells with a fate, its two-sided p-value and
    confidence interval by Fisher's transform, and the false discovery rate over the genes
    (Benjamini and Hochberg), in the columns that CellRank's ``compute_lineage_drivers`` writes.

    Parameters
    ----------
    adata
        Annotated data with fate probabilities.
    fates
        Fates to rank genes for, all by default.
    key
        ``key_added`` of the fates.
    groupby, groups
        Only use cells of these groups of a column of ``obs``, e.g. the progenitors, or one day.
    within
        Column of ``obs``, e.g. the time: correlate within its groups. Over all cells, genes that
        merely change with time correlate with every fate whose probability does, too; within
        times, what is left tells cells of the same time apart.
    genes
        Genes to test, all by default; the false discovery rate is over these.
    layer
        Expression, by default ``X`` (log-normalised). Sparse matrices stay sparse.
    confidence
        Level of the confidence intervals.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    ``None``, or the copy. Writes

    ``adata.varm["driver_genes"]`` : DataFrame, one row per gene
        For each fate ``A``: ``A_corr``, ``A_pval``, ``A_qval``, ``A_ci_low``, ``A_ci_high``; NaN
        for genes that were not tested or do not vary.
        :func:`scruot.get.driver_genes_df` returns it ranked.

    Raises
    ------
    KeyError
        When there are no fate probabilities, or no such fate, gene, layer, column or group.
    ValueError
        When fewer cells are left than a test needs, no fate varies, or `confidence` is not
        between 0 and 1.

    Notes
    -----
    The test takes cells to be independent. Cells of one sample are not, and probabilities of
    neighbours in the representation are alike: small p-values order genes, and are no evidence
    that another sample would show the same. Genes that define a fate (its markers) correlate, and
    so do those that drive it; correlation does not tell which.

    References
    ----------
    Fisher (1921), On the probable error of a coefficient of correlation deduced from a small
    sample, Metron 1 :cite:p:`fisher1921`.

    Benjamini and Hochberg (1995), Controlling the false discovery rate, JRSS B 57
    :cite:p:`benjamini1995`.

    Lange et al. (2022), CellRank for directed single-cell fate mapping, Nature Methods 19
    :cite:p:`lange2022`.

    Examples
    --------
    >>> import numpy as np, pandas as pd, scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> late = np.clip(adata.obsm["X_genes"][:, 1] / 2, 0, 1)  # made up for the example
    >>> adata.obsm["fate_probabilities"] = pd.DataFrame(
    ...     {"high": late, "low": 1 - late}, index=adata.obs_names
    ... )
    >>> scruot.tl.driver_genes(adata)
    >>> scruot.get.driver_genes_df(adata, "high").index[0]
    'x2'
    """
    if not isinstance(confidence, numbers.Real) or not 0 < confidence < 1:
        msg = f"Found confidence={confidence!r}; expected a number between 0 and 1."
        raise ValueError(msg)
    check_writable(adata, copy=copy)
    probabilities = _probabilities(adata, key, fates)
    matrix, columns = expression(adata, layer), chosen_genes(adata, genes)
    values = probabilities.to_numpy(dtype=np.float64, copy=True)
    values[~chosen_cells(adata, groupby, groups)] = np.nan
    found = correlate(
        matrix, values, columns=columns, strata=strata(adata, within), confidence=confidence
    )
    _report(found.corr, list(probabilities.columns))
    rows = adata.var_names if columns is None else adata.var_names[columns]
    parts: dict[str, NDArray[np.float64]] = {}
    for j, fate in enumerate(probabilities.columns):
        parts |= found.table(j, f"{fate}_")
    table = pd.DataFrame(parts, index=rows).reindex(adata.var_names)
    adata = writable(adata, copy=copy)
    adata.varm[fate_slots(key).driver_genes] = table
    return adata if copy else None


def _probabilities(
    adata: AnnData, key: str | None, fates: Sequence[str] | str | None
) -> pd.DataFrame:
    name = fate_slots(key).probabilities
    if name not in adata.obsm:
        msg = (
            f"No fate probabilities in obsm[{name!r}] (found {sorted(adata.obsm)})."
            f"{did_you_mean(name, adata.obsm)} Call scruot.tl.fate_probabilities(adata, ...) first."
        )
        raise KeyError(msg)
    table = adata.obsm[name]
    if not isinstance(table, pd.DataFrame):
        msg = (
            f"obsm[{name!r}] is no table with one named column for each fate; expected what "
            "scruot.tl.fate_probabilities writes, or a pandas.DataFrame of your own."
        )
        raise ValueError(msg)
    table = table.rename(columns=str)
    if fates is None:
        return table.drop(columns=NONE, errors="ignore")
    wanted = [fates] if isinstance(fates, str) else [str(fate) for fate in fates]
    for fate in wanted:
        if fate not in table:
            raise KeyError(unknown("fate", fate, list(table.columns)))
    if not wanted or len(set(wanted)) < len(wanted):
        msg = f"Found fates={wanted}; expected at least one fate, and each once."
        raise ValueError(msg)
    return table[wanted]


def _report(corr: NDArray[np.float64], fates: list[str]) -> None:
    silent = [f for f, r in zip(fates, corr.T, strict=True) if not np.isfinite(r).any()]
    if len(silent) == len(fates):
        msg = (
            "No correlation is defined: neither any fate's probability nor, perhaps, any gene "
            "varies among the chosen cells. Choose other cells, genes or fates."
        )
        raise ValueError(msg)
    if silent:
        logger.warning("driver_genes: %s do not vary among the chosen cells", ", ".join(silent))
