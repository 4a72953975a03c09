"""Data sets that are one table: a time, coordinates x1, x2, ..., further columns."""

from __future__ import annotations

import logging
import re
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from scruot.datasets._fetch import locate
from scruot.datasets._registry import ENTRIES

logger = logging.getLogger(__name__)

_TIME_COLUMNS = ("time", "samples")


def read_table(path: Path, *, rep: str) -> AnnData:
    """Read a table into an AnnData with ``obs["time"]``, other columns in ``obs``, and ``rep``."""
    table = pd.read_csv(path)
    times = [name for name in _TIME_COLUMNS if name in table.columns]
    coordinates = [name for name in table.columns if re.fullmatch(r"x\d+", str(name))]
    if not times or not coordinates:
        msg = (
            f"Found the columns {[str(name) for name in table.columns[:8]]} in {path}; expected "
            "'time' (or 'samples') and the coordinates 'x1', 'x2', ... Rename the columns."
        )
        raise ValueError(msg)
    values = table[coordinates].to_numpy(dtype=np.float64)
    time = table[times[0]].to_numpy(dtype=np.float64)
    if not (np.isfinite(values).all() and np.isfinite(time).all()):
        msg = f"Found missing or infinite values in {path}; expected finite numbers. Remove them."
        raise ValueError(msg)
    obs = pd.DataFrame({"time": time}, index=[f"cell{i}" for i in range(len(table))])
    for name in table.columns.difference([*times[:1], *coordinates], sort=False):
        obs[str(name)] = table[name].to_numpy()
    return AnnData(obs=obs, obsm={rep: values.astype(np.float32)})


def _load(name: str, rep: str, path: str | PathLike[str] | None) -> AnnData:
    entry = ENTRIES[name]
    found = locate(entry, path)
    adata = read_table(found, rep=rep)
    adata.uns["dataset"] = entry.provenance(found.name)
    return adata


def emt(*, path: str | PathLike[str] | None = None) -> AnnData:
    """Load A549 cells under TGFB1: epithelial-mesenchymal transition, 10-D latent.

    3133 cells at 0 h (577), 8 h (885), 1 day (788), and 3 and 7 days pooled (883). The latent
    was made by the autoencoder of TIGON. Time 3 pools 3 days (754 cells) and 7 days (129), as
    in the papers.

    Source: GEO GSE147405; latent table of DeepRUOT, https://github.com/zhenyiizhang/DeepRUOT.
    Licence: TIGON is MIT, DeepRUOT has no licence file, GEO is public.

    Parameters
    ----------
    path
        A local copy (CSV: ``time`` or ``samples``, ``x1`` ... ``x10``, optionally ``hours``,
        ``barcode``, ``tigon1`` ... ``tigon3``), read without a check of its hash. ``None``: the
        prepared copy or the original in ``SCRUOT_DATA_DIR``, else a download into the cache.

    Returns
    -------
    AnnData with ``obs["time"]`` (labels 0..3, no unit), ``obsm["X_ae"]`` (3133, 10), and
    ``uns["dataset"]`` (source, reference, licence). The prepared copy adds ``obs["hours"]``
    (0, 8, 24, 72, 168), ``obs["barcode"]`` and ``obsm["X_tigon"]`` (3133, 3); they were joined
    by row order within each time, weakest for 7 days.

    Raises
    ------
    ValueError
        If a file's hash is not the expected one.
    ConnectionError
        If the download failed.

    References
    ----------
    Cook & Vanderhyden (2020), Nature Communications 11:2142 :cite:p:`cook2020`.
    Sha et al. (2024), Nature Machine Intelligence 6:25 (TIGON) :cite:p:`sha2024tigon`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.emt()  # doctest: +SKIP
    >>> adata.obsm["X_ae"].shape  # doctest: +SKIP
    (3133, 10)
    """
    adata = _load("emt", "X_ae", path)
    latent = [name for name in ("tigon1", "tigon2", "tigon3") if name in adata.obs]
    if latent:
        adata.obsm["X_tigon"] = adata.obs[latent].to_numpy(dtype=np.float32)
        adata.obs = adata.obs.drop(columns=latent)
    return adata


def three_gene_table(*, path: str | PathLike[str] | None = None) -> AnnData:
    """Load the published table of the three-gene simulation (two of the three genes).

    3031 cells at five times (400, 442, 530, 690, 969), the population of one growing
    simulation. :func:`scruot.datasets.three_gene` generates such data with their truth.

    Source: https://github.com/zhenyiizhang/DeepRUOT, ``data/simulation_gene_data.csv``.
    Licence: no licence file in the repository.

    Parameters
    ----------
    path
        A local copy (CSV: ``time`` or ``samples``, ``x1``, ``x2``), read without a check of its
        hash. ``None``: the prepared copy or the original in ``SCRUOT_DATA_DIR``, else a download
        into the cache.

    Returns
    -------
    AnnData with ``obs["time"]`` (labels 0..4; one is 8 physical units), ``obsm["X_genes"]``
    (3031, 2) and ``uns["dataset"]`` (source, reference, licence).

    Raises
    ------
    ValueError
        If a file's hash is not the expected one.
    ConnectionError
        If the download failed.

    References
    ----------
    Zhang et al. (2025), ICLR (DeepRUOT) :cite:p:`zhang2025deepruot`; Sha et al. (2024), Nature
    Machine Intelligence 6:25 :cite:p:`sha2024tigon`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene_table()  # doctest: +SKIP
    """
    return _load("three_gene_table", "X_genes", path)


def dyngen(*, path: str | PathLike[str] | None = None) -> AnnData:
    """Load a branching dyngen simulation in a 5-D embedding.

    728 cells at five times (156, 112, 63, 96, 301).

    Source: https://github.com/QiangweiPeng/WFR-FM, ``data/dygen.csv``, the set used by MIOFlow.
    Licence: no licence file in the repository.

    Parameters
    ----------
    path
        A local copy (CSV: ``time`` or ``samples``, ``x1`` ... ``x5``), read without a check of
        its hash. ``None``: the prepared copy or ``dygen.csv`` in ``SCRUOT_DATA_DIR``.

    Returns
    -------
    AnnData with ``obs["time"]`` (labels 0..4), ``obsm["X_latent"]`` (728, 5) and
    ``uns["dataset"]`` (source, reference, licence).

    Raises
    ------
    FileNotFoundError
        If there is no local file; the message names the source.
    ValueError
        If a file's hash is not the expected one.

    References
    ----------
    Cannoodt et al. (2021), Nature Communications 12:3942 :cite:p:`cannoodt2021`. Huguet et al.
    (2022), NeurIPS :cite:p:`huguet2022`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.dyngen()  # doctest: +SKIP
    """
    return _load("dyngen", "X_latent", path)


def bifurcation(*, path: str | PathLike[str] | None = None) -> AnnData:
    """Load iPS cells bifurcating on their way to cardiomyocytes, 4-D latent.

    1896 cells at eight times (231, 166, 93, 211, 122, 258, 456, 359).

    Source: https://github.com/yutongo/TIGON, ``Input/Bifurcation.npy``. Licence: MIT (TIGON).

    Parameters
    ----------
    path
        A local copy (CSV: ``time`` or ``samples``, ``x1`` ... ``x4``), read without a check of
        its hash. ``None``: the prepared copy in ``SCRUOT_DATA_DIR``.

    Returns
    -------
    AnnData with ``obs["time"]`` (labels 0..7, the order of the sampled days),
    ``obsm["X_latent"]`` (1896, 4) and ``uns["dataset"]`` (source, reference, licence).

    Raises
    ------
    FileNotFoundError
        If there is no local file; the message names the source.
    ValueError
        If a file's hash is not the expected one.

    References
    ----------
    Bargaje et al. (2017), PNAS 114:2271 :cite:p:`bargaje2017`. Sha et al. (2024), Nature Machine
    Intelligence 6:25 :cite:p:`sha2024tigon`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.bifurcation()  # doctest: +SKIP
    """
    return _load("bifurcation", "X_latent", path)
