"""Small gene-level data sets: a prepared h5ad file, or the tables of their sources."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
from anndata import AnnData
from pandas.api.types import is_numeric_dtype

from scruot.datasets._fetch import download, find, locate
from scruot.datasets._originals import read_guo, read_moscot, read_scode, read_treutlein
from scruot.datasets._registry import ENTRIES, Entry


def _load(
    name: str,
    n_pcs: int | None,
    path: str | PathLike[str] | None,
    read: Callable[[Path], AnnData] = ad.read_h5ad,
) -> AnnData:
    entry = ENTRIES[name]
    _check_components(n_pcs)
    found = locate(entry, path)
    return _finish(entry, read(found), found, n_pcs)


def _check_components(n_pcs: int | None) -> None:
    if n_pcs is not None and n_pcs < 1:
        msg = f"n_pcs is {n_pcs}; expected a positive number, or None for no components."
        raise ValueError(msg)


def _finish(entry: Entry, adata: AnnData, found: Path, n_pcs: int | None) -> AnnData:
    """Check the time, say where the data come from, and add principal components."""
    if "time" not in adata.obs or not is_numeric_dtype(adata.obs["time"]):
        msg = (
            f"Found the obs columns {list(adata.obs)} in {found}; expected a numeric 'time' among "
            "them. Add it, or use the prepared copy."
        )
        raise ValueError(msg)
    adata.obs["time"] = adata.obs["time"].to_numpy(dtype=np.float64)
    adata.obs.index.name = None
    adata.obs_names_make_unique()
    adata.var_names_make_unique()
    for key in ("licence", "provenance"):
        adata.uns.pop(key, None)
    adata.uns["dataset"] = entry.provenance(found.name)
    if n_pcs is not None:
        sc.pp.pca(adata, n_comps=min(n_pcs, min(adata.shape) - 1), svd_solver="arpack")
    return adata


def guo2010(*, n_pcs: int | None = 20, path: str | PathLike[str] | None = None) -> AnnData:
    """Load mouse zygote to blastocyst, single-cell qPCR of 48 genes.

    437 cells of embryos with 1 (9), 2 (19), 4 (23), 8 (43), 16 (75), 32 (109) and 64 (159)
    cells. Values are normalised Ct with the sign flipped, so that larger means more expressed.

    Source: supplement of the paper, through https://github.com/sods/ods. Licence: BSD-3-Clause
    style (ods).

    Parameters
    ----------
    n_pcs
        Number of principal components in ``obsm["X_pca"]``; ``None`` for none.
    path
        A local h5ad file with ``obs["time"]`` and genes in ``var_names``, or a ``guo_qpcr.csv``,
        read without a check of its hash. ``None``: the prepared copy in ``SCRUOT_DATA_DIR``,
        else the table of the source, there, in the cache or downloaded.

    Returns
    -------
    AnnData (437, 48) with ``obs["time"]`` (log2 of the embryo's cell number, 0..6),
    ``obs["stage_cells"]``, ``obs["cell_type"]`` (TE, ICM, then EPI and PE; known at 32 and 64
    cells), ``obsm["X_pca"]`` and ``uns["dataset"]`` (source, reference, licence).

    Raises
    ------
    ConnectionError
        If the download failed; the message says what to do without a network.
    ValueError
        If a file's hash is not the expected one, or ``n_pcs`` is not positive.

    References
    ----------
    Guo et al. (2010), Developmental Cell 18:675 :cite:p:`guo2010`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.guo2010()  # doctest: +SKIP
    """
    return _load("guo2010", n_pcs, path, read_guo)


def hsmm(*, n_pcs: int | None = 30, path: str | PathLike[str] | None = None) -> AnnData:
    """Load human skeletal muscle myoblasts differentiating after a switch of medium.

    271 cells at 0 (69), 24 (74), 48 (79) and 72 hours (49); log1p(FPKM) of 2998 genes.

    Source: GEO GSE52529, through Bioconductor's HSMMSingleCell. Licence: Artistic-2.0.

    Parameters
    ----------
    n_pcs
        Number of principal components in ``obsm["X_pca"]``; ``None`` for none.
    path
        A local h5ad file with ``obs["time"]`` and genes in ``var_names``, read without a check
        of its hash. ``None``: the prepared copy in ``SCRUOT_DATA_DIR``.

    Returns
    -------
    AnnData (271, 2998) with ``obs["time"]`` (hours), ``obs["media"]``, ``obs["pseudotime"]`` and
    ``obs["state"]`` (Monocle), ``obsm["X_pca"]`` and ``uns["dataset"]``.

    Raises
    ------
    FileNotFoundError
        If there is no local file; the message names the source.
    ValueError
        If a file's hash is not the expected one, or ``n_pcs`` is not positive.

    Notes
    -----
    The source is a package of R, so there is nothing that one call could download. There,
    ``library(HSMMSingleCell)`` and ``data(list = "HSMM_expr_matrix")`` give FPKM, genes x cells,
    ``"HSMM_sample_sheet"`` their ``Hours``, ``Media``, ``Pseudotime`` and ``State``, and
    ``"HSMM_gene_annotation"`` symbols (``gene_short_name``) and ``biotype``: write them with
    ``write.csv``, make an AnnData of log1p(FPKM), of 3000 variable protein-coding genes, with the
    hours in ``obs["time"]``, write it, and give it as ``path``.

    References
    ----------
    Trapnell et al. (2014), Nature Biotechnology 32:381 :cite:p:`trapnell2014`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.hsmm()  # doctest: +SKIP
    """
    return _load("hsmm", n_pcs, path)


def hayashi2018(*, n_pcs: int | None = 20, path: str | PathLike[str] | None = None) -> AnnData:
    """Load mouse ES cells becoming primitive endoderm (RamDA-seq), 100 transcription factors.

    456 cells at 0 (92), 12 (91), 24 (93), 48 (87) and 72 hours (93); log expression, gene
    symbols in upper case.

    Source: GEO GSE98664, through https://github.com/hmatsu1226/SCODE. Licence: GEO public,
    SCODE is MIT.

    Parameters
    ----------
    n_pcs
        Number of principal components in ``obsm["X_pca"]``; ``None`` for none.
    path
        A local h5ad file with ``obs["time"]`` and genes in ``var_names``, read without a check
        of its hash. ``None``: the prepared copy in ``SCRUOT_DATA_DIR``, else the five tables of the
        source, there, in the cache or downloaded.

    Returns
    -------
    AnnData (456, 100) with ``obs["time"]`` (hours), ``obs["pseudotime"]``,
    ``obs["scode_split"]``, ``obsm["X_pca"]`` and ``uns["dataset"]``.

    Raises
    ------
    ConnectionError
        If the download failed; the message says what to do without a network.
    ValueError
        If a file's hash is not the expected one, or ``n_pcs`` is not positive.

    References
    ----------
    Hayashi et al. (2018), Nature Communications 9:619 :cite:p:`hayashi2018`.
    Matsumoto et al. (2017), Bioinformatics 33:2314 (SCODE) :cite:p:`matsumoto2017`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.hayashi2018()  # doctest: +SKIP
    """
    entry = ENTRIES["hayashi2018"]
    if path is not None or (entry.prepared is not None and find(entry.prepared) is not None):
        return _load("hayashi2018", n_pcs, path)
    _check_components(n_pcs)
    *tables, genes = (find(file) or download(file) for file in entry.originals)
    parts = {"train": (tables[0], tables[1]), "test": (tables[2], tables[3])}
    return _finish(entry, read_scode(parts, genes), tables[0], n_pcs)


def treutlein2016(*, n_pcs: int | None = 20, path: str | PathLike[str] | None = None) -> AnnData:
    """Load fibroblasts reprogrammed to neurons, 100 transcription factors.

    373 cells at 0 (83), 2 (118), 5 (55) and 22 days (117); log expression. The day is read
    from the cell's label, where late fibroblasts and myocytes count as day 22.

    Source: GEO GSE67310, through https://github.com/hmatsu1226/SCODE. Licence: GEO public,
    SCODE is MIT.

    Parameters
    ----------
    n_pcs
        Number of principal components in ``obsm["X_pca"]``; ``None`` for none.
    path
        A local h5ad file with ``obs["time"]`` and genes in ``var_names``, read without a check
        of its hash. ``None``: the prepared copy in ``SCRUOT_DATA_DIR``, else the three tables of
        the source, there, in the cache or downloaded.

    Returns
    -------
    AnnData (373, 100) with ``obs["time"]`` (days), ``obs["cell_type"]``, ``obs["pseudotime"]``,
    ``obsm["X_pca"]`` and ``uns["dataset"]``.

    Raises
    ------
    ConnectionError
        If the download failed; the message says what to do without a network.
    ValueError
        If a file's hash is not the expected one, or ``n_pcs`` is not positive.

    References
    ----------
    Treutlein et al. (2016), Nature 534:391 :cite:p:`treutlein2016`. Matsumoto et al. (2017),
    Bioinformatics 33:2314 :cite:p:`matsumoto2017`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.treutlein2016()  # doctest: +SKIP
    """
    entry = ENTRIES["treutlein2016"]
    if path is not None or (entry.prepared is not None and find(entry.prepared) is not None):
        return _load("treutlein2016", n_pcs, path)
    _check_components(n_pcs)
    expression, cells, genes = (find(file) or download(file) for file in entry.originals)
    return _finish(entry, read_treutlein(expression, cells, genes), expression, n_pcs)


def mef_reprogramming(
    *, n_pcs: int | None = 30, path: str | PathLike[str] | None = None
) -> AnnData:
    """Load fibroblasts reprogrammed to iPS cells in serum: a small subset.

    250 cells at days 10 (85), 10.5 (81) and 11 (84), log-normalised highly variable genes.

    Source: GEO GSE122662, through the test data of https://github.com/theislab/moscot. Licence:
    BSD-3-Clause (moscot).

    Parameters
    ----------
    n_pcs
        Number of principal components in ``obsm["X_pca"]``; ``None`` for none.
    path
        A local h5ad file with ``obs["time"]`` and genes in ``var_names``, read without a check
        of its hash. ``None``: the prepared copy in ``SCRUOT_DATA_DIR``, else the file of the
        source, there, in the cache or downloaded.

    Returns
    -------
    AnnData (250, 1479) with ``obs["time"]`` (days), ``obs["cell_type"]``, ``obsm["X_pca"]`` and
    ``uns["dataset"]``.

    Raises
    ------
    ConnectionError
        If the download failed; the message says what to do without a network.
    ValueError
        If a file's hash is not the expected one, or ``n_pcs`` is not positive.

    References
    ----------
    Schiebinger et al. (2019), Cell 176:928 :cite:p:`schiebinger2019`. Klein et al. (2025), Nature
    638:1065 (moscot) :cite:p:`klein2025`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.mef_reprogramming()  # doctest: +SKIP
    """
    return _load("mef_reprogramming", n_pcs, path, read_moscot)
