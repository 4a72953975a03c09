"""A small file, a fitted one, and the command line as a function."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy import sparse

import scruot
from scruot.cli import app


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def scr(capsys) -> Callable[..., Result]:
    """Run the command line and return its exit code and what it wrote."""

    def run(*args: object) -> Result:
        with pytest.raises(SystemExit) as end:
            app([str(arg) for arg in args], prog_name="scruot")
        found = capsys.readouterr()
        return Result(end.value.code or 0, found.out, found.err)

    return run


@pytest.fixture(scope="session")
def small() -> anndata.AnnData:
    """About 150 cells with everything that an output has to keep."""
    adata = scruot.datasets.three_gene(30, n_times=3, random_state=1)
    adata.raw = adata.copy()
    adata.X = sparse.random(*adata.shape, density=0.5, format="csr", random_state=0)
    adata.layers["counts"] = sparse.csc_matrix(adata.X)
    adata.layers["dense"] = adata.X.toarray()
    adata.obsp["graph"] = sparse.identity(adata.n_obs, format="csr")
    adata.obsm["X_umap"] = np.tanh(adata.obsm["X_genes"])
    adata.obs["day"] = [f"day {t:g}" for t in adata.obs["time"]]
    return adata


@pytest.fixture(scope="session")
def source(small, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.h5ad"
    small.write_h5ad(path, compression="gzip")
    return path


@pytest.fixture
def cells(source, tmp_path) -> Path:
    """A file that a test may change."""
    return Path(shutil.copy(source, tmp_path / "in.h5ad"))


@pytest.fixture(scope="session")
def fitted_source(small, tmp_path_factory) -> Path:
    adata = small.copy()
    scruot.tl.fit_dynamics(
        adata, use_rep="X_genes", device="cpu", steps=20, width=16, progress=False
    )
    path = tmp_path_factory.mktemp("fitted") / "fitted.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture
def fitted(fitted_source, tmp_path) -> Path:
    """A file with a fit that a test may change."""
    return Path(shutil.copy(fitted_source, tmp_path / "fitted.h5ad"))
