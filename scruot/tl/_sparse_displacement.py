"""Displacement maps that move few genes."""

from __future__ import annotations

import logging
from typing import Any

from anndata import AnnData

from scruot._keys import displacement_slots
from scruot.io.loadings import require_unique_genes
from scruot.io.read import check_names
from scruot.io.store import check_writable, writable
from scruot.tl._displacement_cells import Prepared, Question, prepare
from scruot.tl._displacement_elastic import elastic_maps
from scruot.tl._displacement_icnn import icnn_maps
from scruot.tl._displacement_maps import MapParams, Maps, local_maps
from scruot.tl._displacement_params import make_params
from scruot.tl._displacement_results import ranked_record, write

logger = logging.getLogger(__name__)


def sparse_displacement(
    adata: AnnData,
    *,
    source: Any = None,
    target: Any = None,
    time_key: str | None = None,
    use_rep: str | None = None,
    n_dims: int | None = None,
    mass: str = "counts",
    coupling: str = "auto",
    coupling_key: str | None = None,
    method: str = "local",
    penalty: str | None = None,
    n_active: float | None = None,
    fdr: float = 0.05,
    threshold: float = 1.5,
    n_neighbors: int | None = None,
    strength: float | None = None,
    reg: float = 0.05,
    tau: float = 0.1,
    groupby: str | None = None,
    layer: str | None = None,
    key_added: str | None = None,
    device: str = "auto",
    random_state: int = 0,
    progress: bool = False,
    copy: bool = False,
) -> AnnData | None:
    r"""Find which genes change in which cells: maps :math:`T(x) = x + \Delta(x)`, few genes each.

    Cells of one time (or condition) are followed to where their mass goes at the next, and the
    displacement :math:`\Delta` of every gene is told from the noise of sampling in every
    neighbourhood of cells.

    Parameters
    ----------
    adata
        Cells of all times or conditions, with log-normalised genes and a representation.
    source, target
        Two values of ``obs[time_key]``: times, or conditions such as a control and a drug. By
        default all consecutive times.
    time_key
        Column of ``obs`` with the times or conditions. Left out it is that of the fit, or else the
        transport, that ``adata`` holds (under ``coupling_key``), without either ``"time"``.
    use_rep, n_dims
        Representation in which cells are near each other, and how many of its columns to use. Left
        out they are found like ``time_key``, by default ``"X_pca"`` and all columns; with
        ``coupling="dynamics"`` it is always that of the fit.
    mass
        ``"counts"`` or ``"equal"``: every cell counts the same; or a column of ``obs`` with the
        cells' masses. Populations of whole times do not matter here.
    coupling
        Where mass goes. ``"dynamics"``: where the model of :func:`scruot.tl.fit_dynamics` carries
        the cells, with the mass that they have there. ``"transport"``: the couplings of
        :func:`scruot.tl.transport`. ``"compute"``: an entropic plan that may leave out mass of
        both sides, in a metric that does not let idle variance decide (see Notes). ``"auto"``: the
        first of these that ``adata`` holds for ``time_key``; conditions are always computed.
    coupling_key
        ``key_added`` of the fit or of the transport.
    method
        ``"local"``: means of neighbourhoods, tested against random halves of the data.
        ``"elastic"``: the entropic map of a quadratic cost plus the penalty of displacements
        (:mod:`scruot.displacement.elastic`); for hundreds of genes at most, see Notes.
        ``"icnn"``: convex networks trained as a saddle point
        (:func:`scruot.displacement.icnn.fit_icnn`), the map of the paper; slower, without a test.
    penalty
        What shrinks displacements in units of their standard errors: ``"stvs"`` (the default),
        ``"l1"``, ``"smoothed_l0"`` (keeps what exceeds the threshold as it is), or ``"k_support"``
        (needs ``n_active``). For ``"elastic"`` they are part of the cost, ``"l1"`` by default and
        never ``"smoothed_l0"``, which leaves nothing zero; for ``"icnn"`` they are part of the
        objective, ``"smoothed_l0"`` by default.
    n_active
        Wanted mean number of displaced genes per cell, among the called ones (``fdr=1`` calls all);
        replaces ``threshold``, or ``strength``, which ``"elastic"`` finds by bisection and
        ``"icnn"`` by annealing (without ``n_active``: to a trade-off with the distance).
    fdr
        False discovery rate at which genes are called, over all comparisons together.
    threshold
        Displacements of called genes within so many standard errors are set to zero.
    n_neighbors
        Cells of the narrowest neighbourhood; by default 30, a fifth of the source cells if these
        are fewer. Each cell has one of this size, or of two, four or eight times it, which end at
        gaps (see Notes).
    strength
        With ``"elastic"``: strength of the penalty, in units of the median standard deviation of
        the genes (a number for ``"k_support"``); 3 by default.
        With ``"icnn"``: weight of the penalty, beside distances in the same unit.
    reg, tau
        Entropic regularisation and price of mass that is left out, of computed couplings, in units
        of the mean squared distance. A small ``tau`` keeps apart what grows, or is rarer in one
        sample, and leaves out cells that move far: raise it to 1 where all cells change a lot;
        with an infinite one all mass moves.
    groupby
        Column of ``obs`` with groups: genes are ranked for each group of source cells, and
        neighbourhoods take cells of their own group first.
    layer
        Layer with the genes; by default ``X``.
    key_added
        Prefix of all slots.
    device
        Device of the fitted model that carries the cells, and of ``"icnn"``.
    random_state
        Seed of the random halves, and of ``"icnn"``.
    progress
        Whether to show progress bars of ``"icnn"``, one per comparison.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy. Written:

    ``adata.obsm["displacement"]`` : sparse, ``(n_obs, n_vars)``
        Displacement of each gene, in the units of the genes, until the next time or to the other
        condition. Empty rows: no target.
    ``adata.obs["n_displaced_genes"]`` : int
        Number of displaced genes; 0 for cells without a target.
    ``adata.var["displacement_score"]``, ``["displacement_qval"]``, ``["displaced"]``
        Largest score over comparisons, without a sign; false discovery rate over all of them; and
        whether it is at most ``fdr``.
    ``adata.uns["displacement_genes"]`` : dict
        Genes ranked per group and comparison, in the layout of ``scanpy.tl.rank_genes_groups``,
        which scanpy's ``get.rank_genes_groups_df`` and plots read;
        :func:`scruot.get.displacement_genes_df` has all of it in one table.

    Raises
    ------
    KeyError
        For a missing column, layer, representation, fit or transport.
    TypeError, ValueError
        For unknown words, numbers out of range and data that cannot be compared; raised before
        anything is computed.

    Notes
    -----
    *Metric.* The representation is whitened, softly, by the idle variance: in every direction that
    of the snapshots that vary least. *Neighbourhoods* are source cells that are near in it and head
    the same way, along the directions in which cells move more than between random halves; a cell's
    displacement is the mean of their targets minus their own mean. Wider neighbourhoods than the
    narrowest end at gaps, so that they do not reach into another type. Each cell's is as wide as
    the called genes' displacements stay the same, by Stein's estimate of the risk. *Genes*
    are called by the most unusual of several quantiles over cells of displacement over standard
    error, at three sizes of neighbourhoods and over all cells, each compared with the same number
    between random halves of one snapshot; several intervals are pooled by Fisher's method. *Groups*
    are ranked by their mean displacement over its standard error; without ``groupby`` genes are
    ranked by the score of the calls. Either way ``scores`` have the sign of the mean displacement,
    and genes are ranked by magnitude, as with scanpy's ``rankby_abs=True``. Without ``groupby`` the
    sign says little of a gene that goes up in some cells and down in others, and a score of 0 is no
    more than chance.
    ``logfoldchanges`` are mean displacements over ``ln 2``, which is what they are for genes as
    ``ln(1 + x)``.

    ``"elastic"`` solves for its own coupling in the space of the genes unless ``coupling`` names
    one. Its sparsity is of each single cell, whose own noise it takes for displacement wherever a
    gene is beyond the range of the cell's targets; more genes than really move are left, many more
    with hundreds of noisy genes. Its p-values are those of whole groups, as with ``groupby``.

    Two cells of the same type that differ in sampling noise only are told from displaced ones; a
    coupling that sends cells to the wrong type is not. Look at the couplings first. Cells of two
    lineages that are still alike go either way, so each has the genes of both; and genes that are
    not called are zero in every cell, however clear they are in a rare group: rank genes of groups
    by the table, which tests all of them.

    References
    ----------
    Cuturi, Klein and Ablin (2023), *Monge, Bregman and Occam*, ICML :cite:p:`cuturi2023`. Chen,
    Xie and Zhang (2025), *Displacement-sparse neural optimal transport*, arXiv:2502.01889
    :cite:p:`chen2025disnot`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.sparse_displacement("jumping", n_cells=300, n_genes=200)
    >>> scruot.tl.sparse_displacement(adata)
    >>> bool(adata.var["displaced"].sum() >= 30)
    True
    """
    params = make_params(
        method=method,
        penalty=penalty,
        n_active=n_active,
        fdr=fdr,
        threshold=threshold,
        n_neighbors=n_neighbors,
        strength=strength,
        reg=reg,
        tau=tau,
        random_state=random_state,
    )
    slots = displacement_slots(key_added)
    check_writable(adata, copy=copy)
    check_names(adata)
    require_unique_genes(adata)
    asked = Question(
        source=source,
        target=target,
        time_key=time_key,
        use_rep=use_rep,
        n_dims=n_dims,
        mass=mass,
        coupling=coupling,
        coupling_key=coupling_key,
        groupby=groupby,
        layer=layer,
        device=device,
    )
    prepared = prepare(adata, asked, params)
    maps = _maps(prepared, params, device, progress=progress)
    given = {"groupby": groupby, "layer": layer, "fdr": fdr, "random_state": random_state}
    record = ranked_record(prepared, maps, params, adata.var_names, given)
    _tell(prepared, maps, params)
    written = writable(adata, copy=copy)
    write(written, prepared, maps, record, params, slots)
    return written if copy else None


def _maps(prepared: Prepared, params: MapParams, device: str, *, progress: bool) -> Maps:
    cells, plans = prepared.clouds, prepared.plans
    if plans is not None and params.method == "local":
        return local_maps(cells, plans, prepared.codes, params)
    if plans is not None and params.method == "icnn":
        return icnn_maps(cells, plans, prepared.codes, params, device, progress=progress)
    return elastic_maps(cells, plans, prepared.codes, params)


def _tell(prepared: Prepared, maps: Maps, params: MapParams) -> None:
    counts = [
        f"{moved.nnz / max(moved.shape[0], 1):.1f} per cell from {pair.name}"
        for pair, moved in zip(prepared.pairs, maps.displacement, strict=True)
    ]
    logger.info(
        "%d of %d genes displaced, %s; coupling: %s",
        int((maps.rate <= params.fdr).sum()),
        len(maps.rate),
        "; ".join(counts),
        prepared.reading["coupling"],
    )
