"""Mouse hematopoiesis with clonal barcodes (LARRY): matrices and tables of the authors' page."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from scipy.io import mmread
from scipy.sparse import csr_matrix

from scruot.datasets._fetch import download, find, given
from scruot.datasets._files import File
from scruot.datasets._registry import ENTRIES

_PARTS = ("normed_counts", "gene_names", "metadata", "clone_matrix")
# Our name of each column: how the source and its copies spell it, once punctuation is dropped.
_COLUMNS = {
    "time": ("timepoint", "time", "timeinfo"),
    "library": ("library",),
    "barcode": ("cellbarcode", "barcode"),
    "starting_population": ("startingpopulation",),
    "cell_type": ("celltypeannotation", "annotation", "celltype"),
    "well": ("well",),
    "spring_x": ("springx",),
    "spring_y": ("springy",),
}
_CATEGORIES = ("library", "starting_population", "cell_type", "well")


def hematopoiesis(*, path: str | PathLike[str] | None = None) -> AnnData:
    """Load mouse hematopoiesis in vitro with clonal barcodes (LARRY).

    130887 cells x 25289 genes at days 2, 4 and 6, of which about half carry a clonal barcode.
    The matrix is large (several GB in memory). No principal components are computed: see the
    example.

    Source: https://kleintools.hms.harvard.edu/paper_websites/state_fate2020/, files
    ``stateFate_inVitro_*``; GEO GSM4185642. Licence: GEO public, none stated on the page.

    Parameters
    ----------
    path
        A folder with the four files ``*stateFate_inVitro_{normed_counts.mtx, gene_names.txt,
        metadata.txt, clone_matrix.mtx}``, gzipped or not, read without a check of their hashes.
        ``None``: the files in ``SCRUOT_DATA_DIR`` or the cache, else a download into the cache.
        The source publishes no hashes.

    Returns
    -------
    AnnData with ``X`` (CSR: counts, normalised by cell, not logarithmic), ``obs["time"]``
    (days), ``obs["cell_type"]``, ``obs["starting_population"]``, ``obs["library"]``,
    ``obs["well"]``, ``obs["barcode"]``, ``obs["clone"]`` (column of the clone matrix, -1 without
    a clone, the first of several), ``obsm["X_clone"]`` (CSR, cells x clones), ``obsm["X_spring"]``
    (n, 2; for pictures) and ``uns["dataset"]``.

    Raises
    ------
    FileNotFoundError
        If ``path`` lacks one of the files.
    ValueError
        If the files do not fit together, or have no time column.
    ConnectionError
        If a download failed.

    References
    ----------
    Weinreb et al. (2020), Science 367:eaaw3381 :cite:p:`weinreb2020`.

    Examples
    --------
    >>> import scanpy as sc, scruot
    >>> adata = scruot.datasets.hematopoiesis()  # doctest: +SKIP
    >>> sc.pp.log1p(adata)  # doctest: +SKIP
    >>> sc.pp.highly_variable_genes(adata, n_top_genes=2000)  # doctest: +SKIP
    >>> sc.pp.pca(adata, n_comps=50)  # doctest: +SKIP
    """
    entry = ENTRIES["hematopoiesis"]
    if path is not None:
        folder = given(path, folder=True)
        files = {part: _in_folder(folder, part) for part in _PARTS}
    else:
        files = {part: _fetch(file) for part, file in zip(_PARTS, entry.originals, strict=True)}
    adata = _read(files)
    adata.uns["dataset"] = entry.provenance(files["normed_counts"].name)
    return adata


def _fetch(file: File) -> Path:
    """Return a file of the page, gzipped as published or unpacked by the user."""
    return find(file) or find(File(file.name.removesuffix(".gz"), None)) or download(file)


def _in_folder(folder: Path, part: str) -> Path:
    """Return the file of a part, whatever stands before or after its name."""
    found = sorted(folder.glob(f"*stateFate_inVitro_{part}*"))
    if not found:
        msg = (
            f"Found no file *stateFate_inVitro_{part}* in {folder}; expected the four files of "
            f"{ENTRIES['hematopoiesis'].source}. Put it there."
        )
        raise FileNotFoundError(msg)
    return found[0]


def _read(files: dict[str, Path]) -> AnnData:
    """Read the four files into one object."""
    obs = _read_metadata(files["metadata"])
    genes = pd.read_csv(files["gene_names"], header=None, sep="\t", dtype=str, na_filter=False)
    counts = _oriented(_read_matrix(files["normed_counts"]), len(obs), "counts", len(genes))
    clones = _oriented(_read_matrix(files["clone_matrix"]), len(obs), "clones")
    obsm: dict[str, object] = {"X_clone": clones}
    if {"spring_x", "spring_y"} <= set(obs):
        obsm["X_spring"] = obs[["spring_x", "spring_y"]].to_numpy(dtype=np.float32)
        obs = obs.drop(columns=["spring_x", "spring_y"])
    obs["clone"] = _first_clone(clones)
    names = make_index_unique(pd.Index(genes[0].str.strip().to_numpy(dtype=object)))
    return AnnData(X=counts, obs=obs, var=pd.DataFrame(index=names), obsm=obsm)


def _read_metadata(path: Path) -> pd.DataFrame:
    """Read the table of cells; unknown columns are kept as they are named."""
    table = pd.read_csv(path, sep="\t", na_filter=False)
    plain = {"".join(c for c in str(name).lower() if c.isalnum()): name for name in table.columns}
    renamed = {
        plain[spelling]: ours
        for ours, spellings in _COLUMNS.items()
        for spelling in [s for s in spellings if s in plain][:1]
    }
    table = table.rename(columns=renamed)
    time = pd.to_numeric(table["time"], errors="coerce") if "time" in table else None
    if time is None or bool(time.isna().any()):
        msg = (
            f"Found the columns {[str(name) for name in table.columns]} in {path}; expected a "
            "numeric 'Time point' among them. Use the metadata file of the authors' page."
        )
        raise ValueError(msg)
    table["time"] = time.to_numpy(dtype=np.float64)
    for name in _CATEGORIES:
        if name in table:
            table[name] = pd.Categorical(table[name].astype(str))
    named = [table[name].astype(str) for name in ("library", "barcode") if name in table]
    cells = ["_".join(parts) for parts in zip(*named, strict=True)]
    if not cells:
        cells = [f"cell{i}" for i in range(len(table))]
    table.index = make_index_unique(pd.Index(cells, dtype=object))
    return table


def _read_matrix(path: Path) -> csr_matrix:
    return csr_matrix(mmread(path), dtype=np.float32)


def _oriented(
    matrix: csr_matrix, n_cells: int, kind: str, n_columns: int | None = None
) -> csr_matrix:
    """Return the matrix with a row per cell, whichever way round it was written."""
    for candidate in (matrix, matrix.T):
        if candidate.shape[0] == n_cells and n_columns in (None, candidate.shape[1]):
            return csr_matrix(candidate)
    columns = "" if n_columns is None else f" and {n_columns} genes"
    msg = (
        f"Found a matrix of {kind} of shape {matrix.shape}; expected {n_cells} cells{columns}, as "
        "in the tables beside it. The files are of different data sets, or one is truncated."
    )
    raise ValueError(msg)


def _first_clone(clones: csr_matrix) -> np.ndarray:
    """Return each cell's first clone, -1 for none."""
    clones = csr_matrix(clones, copy=True)
    clones.eliminate_zeros()
    clones.sort_indices()
    first = np.full(clones.shape[0], -1, dtype=np.int64)
    has = np.diff(clones.indptr) > 0
    first[has] = clones.indices[clones.indptr[:-1][has]]
    return first
