"""``scruot genes``: the same as the function, a table on standard output, errors in one line."""

import anndata as ad
import numpy as np
import pytest

import scruot


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("genes") / "in.h5ad"
    adata = scruot.datasets.sparse_displacement("jumping", 160, n_genes=120, random_state=2)
    adata.obs["condition"] = np.where(adata.obs["time"] == 0, "control", "drug")
    adata.write_h5ad(path)
    return path


def test_genes_writes_what_the_function_writes(scr, file, tmp_path):
    out = tmp_path / "out.h5ad"
    result = scr("genes", file, "-o", out, "--groupby", "cell_type", "--n-top", "3", "-q")
    assert result.code == 0, result.err
    found, here = ad.read_h5ad(out), ad.read_h5ad(file)
    scruot.tl.sparse_displacement(here, groupby="cell_type")
    assert abs(found.obsm["displacement"] - here.obsm["displacement"]).nnz == 0
    assert "type1" in result.out
    assert len(result.out.splitlines()) == 1 + 8 * 3


def test_conditions_and_parameters(scr, file, tmp_path):
    out = tmp_path / "out.h5ad"
    result = scr(
        "genes",
        file,
        "-o",
        out,
        "--time-key",
        "condition",
        "--source",
        "control",
        "--target",
        "drug",
        "--set",
        "n_active=3",
        "--set",
        "fdr=1",
        "-q",
    )
    assert result.code == 0, result.err
    found = ad.read_h5ad(out)
    control = (found.obs["condition"] == "control").to_numpy()
    assert found.obs["n_displaced_genes"][control].mean() == pytest.approx(3, abs=0.1)
    assert found.obs["n_displaced_genes"][~control].max() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "locale"], "Did you mean 'local'"),
        (["--source", "0"], "two values"),
        (["--set", "lambda=3"], "lambda"),
        (["--set", "method=elastic"], "method"),
    ],
)
def test_errors_are_one_line_and_write_nothing(scr, file, tmp_path, arguments, said):
    out = tmp_path / "out.h5ad"
    result = scr("genes", file, "-o", out, *arguments)
    assert result.code != 0
    assert said in result.err
    assert not out.exists()
