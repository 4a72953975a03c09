"""Birth and death of cells, guessed from the genes that they express."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import PriorSlots, prior_slots
from scruot.io.read import check_names as check_cell_names
from scruot.io.store import check_writable, writable
from scruot.pp._expression import read_expression
from scruot.pp._genes import check_names
from scruot.pp._rates import Logistic, days_per_unit
from scruot.pp._set_scores import Kind, score_sets

logger = logging.getLogger(__name__)


def growth_prior(
    adata: AnnData,
    *,
    time_unit: Literal["minute", "hour", "day", "week"] | float,
    organism: Literal["auto", "human", "mouse"] = "auto",
    proliferation_genes: Iterable[str] | None = None,
    apoptosis_genes: Iterable[str] | None = None,
    layer: str | None = None,
    use_raw: bool | None = None,
    gene_symbols: str | None = None,
    beta_max: float = 1.7,
    beta_min: float = 0.3,
    beta_center: float = 0.25,
    beta_slope: float = 8.0,
    delta_max: float = 1.7,
    delta_min: float = 0.3,
    delta_center: float = 0.1,
    delta_slope: float = 20.0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Guess the growth of each cell from proliferation and apoptosis genes.

    As in Waddington-OT [1]_, a score of each set of genes becomes a rate by a logistic,

    .. math::

        \beta(p) = \beta_{\min} + \frac{\beta_{\max} - \beta_{\min}}{1 + e^{-k (p - c)}}, \qquad
        \delta(q) \text{ likewise}, \qquad g = \beta(p) - \delta(q),

    so that a cell has :math:`e^{g\,\Delta t}` descendants after a time :math:`\Delta t`. **It is
    a prior**: what a transport may start from, not a measurement of growth. The score is the mean
    z-score of the genes over all cells, times the part of its variance that the genes share
    (Cronbach's :math:`\alpha`). It has no unit, does not depend on the scale of the expression,
    and is near 0 where the genes only carry noise; 0 is the average cell, so rates are relative
    to the cells that are scored together.

    Parameters
    ----------
    adata
        Annotated data with log-normalised expression.
    time_unit
        The unit of your times: ``"minute"``, ``"hour"``, ``"day"``, ``"week"``, or the number of
        days in one. It has no default, as nothing in the data tells: hours taken for days are a
        growth 24 times too fast.
    organism
        Whose gene symbols to use: ``"human"``, ``"mouse"``, or ``"auto"`` for the one whose
        spelling the data have. Genes are also found in other case, and that is said.
    proliferation_genes
        A set of your own; by default genes of S and G2/M phase [2]_. An empty list leaves birth
        out: all cells are average.
    apoptosis_genes
        A set of your own; by default genes of the two pathways of apoptosis and targets of p53
        [3]_. An empty list leaves death out: all cells are average.
    layer
        Layer to read expression from.
    use_raw
        Whether to read from ``adata.raw``; by default where there is one and no `layer`. A choice
        of variable genes drops most genes of the sets, ``raw`` still has them.
    gene_symbols
        Column of ``var`` with gene symbols, where ``var_names`` are something else.
    beta_max
        Largest birth rate **per day** (1.7: a division every 10 hours).
    beta_min
        Smallest birth rate per day (0.3: one every 55 hours).
    beta_center
        Proliferation score at which the birth rate is half-way.
    beta_slope
        Steepness `k` of the birth rate, per unit of score.
    delta_max
        Largest death rate per day.
    delta_min
        Smallest death rate per day.
    delta_center
        Apoptosis score at which the death rate is half-way.
    delta_slope
        Steepness of the death rate, per unit of score.
    key_added
        Prefix of everything that is written, as ``<key_added>_growth_prior``.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    ``None``, or the copy. Writes

    ``adata.obs["birth_score"]``, ``adata.obs["death_score"]`` : float64
        Scores `p` and `q`, mean 0.
    ``adata.obs["growth_prior"]`` : float64
        Birth minus death per unit of **your** time.
    ``adata.uns["growth_prior"]`` : dict
        ``params``, ``organism``, ``expression`` (which matrix), ``time_unit_days``, and for
        ``proliferation`` and ``apoptosis`` each the ``genes`` used, those ``missing``, those
        ``constant``, and the ``reliability`` of the score.

    Raises
    ------
    KeyError
        When there is no such layer or column.
    ValueError
        When fewer than 3 genes of a set (or not all of a smaller set) are there and vary, or a
        parameter makes no sense; nothing is written then.

    References
    ----------
    .. [1] Schiebinger et al. (2019), Optimal-transport analysis of single-cell gene expression
       identifies developmental trajectories in reprogramming. Cell 176 :cite:p:`schiebinger2019`.
    .. [2] Tirosh et al. (2016), Dissecting the multicellular ecosystem of metastatic melanoma by
       single-cell RNA-seq. Science 352 :cite:p:`tirosh2016`.
    .. [3] Elmore (2007), Apoptosis: a review of programmed cell death. Toxicologic Pathology 35
       :cite:p:`elmore2007`; Fischer (2017), Census and evaluation of p53 target genes. Oncogene 36
       :cite:p:`fischer2017`.

    Examples
    --------
    >>> import numpy as np, pandas as pd, scruot
    >>> from anndata import AnnData
    >>> cycling = np.repeat([0.0, 2.5], 50)[:, None]
    >>> dying = np.tile([0.0, 0.5], 50)[:, None]
    >>> genes = pd.DataFrame(index=["Mki67", "Top2a", "Pcna", "Bax", "Fas", "Casp3"])
    >>> adata = AnnData(np.hstack([cycling] * 3 + [dying] * 3), var=genes)
    >>> scruot.pp.growth_prior(adata, time_unit="hour")
    >>> adata.uns["growth_prior"]["organism"]
    'mouse'
    >>> adata.obs["growth_prior"].iloc[[1, -2]].round(3).tolist()
    [-0.058, 0.058]
    """
    names = prior_slots(key_added)
    birth = Logistic("beta", beta_min, beta_max, beta_center, beta_slope)
    death = Logistic("delta", delta_min, delta_max, delta_center, delta_slope)
    days = days_per_unit(time_unit)
    given: dict[Kind, tuple[str, ...] | None] = {
        "proliferation": check_names(proliferation_genes, "proliferation_genes"),
        "apoptosis": check_names(apoptosis_genes, "apoptosis_genes"),
    }
    check_writable(adata, copy=copy)
    check_cell_names(adata)
    expression = read_expression(adata, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols)
    scores, species = score_sets(adata, expression, organism, given)
    p, q = scores["proliferation"].values, scores["apoptosis"].values
    rate = (birth(p) - death(q)) * days
    params = {
        **birth.params(),
        **death.params(),
        "organism": organism,
        "time_unit": time_unit if isinstance(time_unit, str) else float(time_unit),
    }
    record = {
        "params": params,
        "organism": species,
        "expression": expression.label,
        "time_unit_days": days,
        **{str(kind): score.record for kind, score in scores.items()},
    }
    _say_rates(rate, days, time_unit)
    adata = writable(adata, copy=copy)
    _write(adata, names, record, p, q, rate)
    return adata if copy else None


def _say_rates(rate: NDArray[np.float64], days: float, time_unit: Any) -> None:
    unit = time_unit if isinstance(time_unit, str) else f"{days:g} days"
    low, middle, high = np.percentile(rate, [5, 50, 95])
    logger.info(
        "Growth prior per %s: median %.3g, 5 %% to 95 %% of the cells %.3g to %.3g.",
        unit,
        middle,
        low,
        high,
    )


def _write(
    adata: AnnData,
    names: PriorSlots,
    record: dict[str, Any],
    p: NDArray[np.float64],
    q: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> None:
    adata.obs[names.birth_score] = p
    adata.obs[names.death_score] = q
    adata.obs[names.growth] = rate
    adata.uns[names.growth] = record
