"""Embryoid bodies: the archive of TrajectoryNet, or the prepared PHATE table."""

from __future__ import annotations

import logging
import zipfile
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from scruot.datasets._fetch import download, find, given
from scruot.datasets._registry import ENTRIES
from scruot.datasets._tables import read_table

logger = logging.getLogger(__name__)

_DAYS = ("0-3", "6-9", "12-15", "18-21", "24-27")
_EMBEDDINGS = {"pcs": "X_pca", "phate": "X_phate"}
_VELOCITIES = {"pcs_delta": "rna_velocity_pca", "delta_embedding": "rna_velocity_phate"}


def embryoid_body(*, path: str | PathLike[str] | None = None) -> AnnData:
    """Load human embryoid bodies over 27 days: 100 principal components and PHATE.

    16821 cells in five samples (days 0-3, 6-9, 12-15, 18-21, 24-27). Where only the prepared
    PHATE table is at hand (16825 cells, two dimensions), that is returned, with a warning in the
    log: its time labels were reconstructed from the order of the rows.

    Source: https://github.com/KrishnaswamyLab/TrajectoryNet, ``data/eb_velocity_v5.npz``; raw
    data: https://doi.org/10.17632/v6n743h5ng.1. Licence: see both.

    Parameters
    ----------
    path
        A local ``.npz`` (``pcs``, ``phate``, ``sample_labels``) or CSV (``time``, ``x1``,
        ``x2``), read without a check of its hash. ``None``: the archive in ``SCRUOT_DATA_DIR``
        or the cache, else the prepared table, else a download of the archive.

    Returns
    -------
    AnnData with ``obs["time"]`` (labels 0..4), ``obs["days"]``, ``obsm["X_pca"]`` (n, 100; not
    standardised), ``obsm["X_phate"]`` (n, 2), where the archive has them
    ``obsm["rna_velocity_pca"]`` and ``obsm["rna_velocity_phate"]``, and ``uns["dataset"]``. From
    the prepared table only ``time``, ``days`` and ``X_phate``.

    Raises
    ------
    ValueError
        If a file's hash is not the expected one, or the archive lacks an array.
    ConnectionError
        If the download failed.

    References
    ----------
    Moon et al. (2019), Nature Biotechnology 37:1482 :cite:p:`moon2019`. Tong et al. (2020), ICML
    (TrajectoryNet) :cite:p:`tong2020`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.embryoid_body()  # doctest: +SKIP
    >>> adata.obsm["X_pca"].shape  # doctest: +SKIP
    (16821, 100)
    """
    entry = ENTRIES["embryoid_body"]
    archive, prepared = entry.originals[0], entry.prepared
    found = given(path) if path is not None else find(archive)
    if found is None and prepared is not None:
        found = find(prepared)
    if found is None:
        found = download(archive)
    provenance = entry.provenance(found.name)
    if zipfile.is_zipfile(found):
        adata = _read_archive(found)
    else:
        adata = read_table(found, rep="X_phate")
        provenance["note"] = (
            "time labels reconstructed from the order of the rows: good for demonstrations, not "
            "for scores"
        )
        logger.warning("embryoid_body from %s: %s", found.name, provenance["note"])
    days = pd.Series(dict(enumerate(_DAYS))).reindex(adata.obs["time"]).to_numpy()
    adata.obs["days"] = pd.Categorical(days, categories=_DAYS, ordered=True)
    adata.uns["dataset"] = provenance
    return adata


def _read_archive(path: Path) -> AnnData:
    """Read the npz archive without unpickling anything."""
    wanted = {**_EMBEDDINGS, **_VELOCITIES}
    with np.load(path, allow_pickle=False) as arrays:
        lacking = [name for name in ("pcs", "sample_labels") if name not in arrays.files]
        if lacking:
            msg = (
                f"Found the arrays {arrays.files} in {path}, without {lacking}; expected the "
                "archive eb_velocity_v5.npz of TrajectoryNet. Delete the file and call again."
            )
            raise ValueError(msg)
        labels = np.asarray(arrays["sample_labels"]).ravel()
        found = {key: arrays[name] for name, key in wanted.items() if name in arrays.files}
    wrong = {key: value.shape for key, value in found.items() if len(value) != len(labels)}
    if wrong:
        msg = (
            f"Found arrays of shapes {wrong} with {len(labels)} labels in {path}; expected one "
            "row per label. Delete the file and call again."
        )
        raise ValueError(msg)
    index = [f"cell{i}" for i in range(len(labels))]
    obs = pd.DataFrame({"time": labels.astype(np.float64)}, index=index)
    obsm = {key: np.asarray(value, dtype=np.float32) for key, value in found.items()}
    return AnnData(obs=obs, obsm=obsm)
