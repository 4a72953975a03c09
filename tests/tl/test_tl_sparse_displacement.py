"""Displaced genes found again, slots, scanpy's readers, and what is refused."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.metrics import average_precision_score

import scruot


@pytest.fixture(scope="module")
def jumping():
    """Eight cell types that jump along ten own genes each."""
    adata = scruot.datasets.sparse_displacement("jumping", 320, n_genes=300, random_state=1)
    scruot.tl.sparse_displacement(adata)
    return adata


def test_displaced_genes_of_cell_types_are_found(jumping):
    truth = jumping.var["displaced_true"].to_numpy()
    called = jumping.var["displaced"].to_numpy()
    assert average_precision_score(truth, -np.log(jumping.var["displacement_qval"])) > 0.97
    assert called[truth].mean() > 0.9
    assert truth[called].mean() > 0.9


def test_each_cell_has_the_displacement_of_its_type(jumping):
    found = jumping.obsm["displacement"]
    true = jumping.layers["displacement_true"].toarray()
    assert sparse.isspmatrix_csr(found) or isinstance(found, sparse.csr_array)
    assert found.shape == jumping.shape
    early = (jumping.obs["time"] == 0).to_numpy()
    assert found[~early].nnz == 0
    moved = true[early] != 0
    size = np.abs(found.toarray()[early])
    assert average_precision_score(moved.ravel(), size.ravel()) > 0.85
    # signed and of the right size: 1 in the truth
    assert np.corrcoef(found.toarray()[early][moved], true[early][moved])[0, 1] > 0.9
    assert 8 < jumping.obs["n_displaced_genes"][early].mean() < 20
    assert (np.diff(found.indptr) == jumping.obs["n_displaced_genes"]).all()


def test_scanpy_reads_the_ranked_genes(jumping):
    table = sc.get.rank_genes_groups_df(jumping, group="0 to 1", key="displacement_genes")
    assert list(table.columns[:5]) == ["names", "scores", "logfoldchanges", "pvals", "pvals_adj"]
    assert set(table["names"]) == set(jumping.var_names)
    assert (np.diff(table["scores"]) <= 0).all()
    top = jumping.var.loc[table["names"][:50], "displaced_true"]
    assert top.mean() > 0.95


def test_result_survives_a_file(jumping, tmp_path):
    jumping.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert abs(again.obsm["displacement"] - jumping.obsm["displacement"]).nnz == 0
    table = sc.get.rank_genes_groups_df(again, group="0 to 1", key="displacement_genes")
    assert table["names"][0] in jumping.var_names


def test_sparse_genes_give_what_dense_genes_give(jumping):
    other = ad.AnnData(
        sparse.csr_matrix(jumping.X),
        obs=jumping.obs[["time"]],
        obsm={"X_pca": jumping.obsm["X_pca"]},
    )
    scruot.tl.sparse_displacement(other)
    assert abs(other.obsm["displacement"] - jumping.obsm["displacement"]).max() < 1e-5


def test_nothing_is_called_where_nothing_moves_but_composition():
    adata = scruot.datasets.sparse_displacement(
        "jumping", 320, n_genes=300, effect=0.0, composition=True, noise="counts", random_state=3
    )
    scruot.tl.sparse_displacement(adata)
    assert adata.var["displaced"].sum() <= 3
    assert adata.obsm["displacement"].nnz == 0 or adata.var["displaced"].any()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"method": "icn"}, ValueError, "Unknown method"),
        ({"penalty": "l2"}, ValueError, "Unknown penalty"),
        ({"penalty": "k_support"}, ValueError, "n_active"),
        ({"fdr": 0.0}, ValueError, "fdr"),
        ({"threshold": -1.0}, ValueError, "threshold"),
        ({"n_active": 0}, ValueError, "n_active"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors"),
        ({"source": 0.0}, ValueError, "two values"),
        ({"source": 0.0, "target": 0.0}, ValueError, "two values"),
        ({"source": 0.0, "target": 7.0}, ValueError, "'7'"),
        ({"coupling": "transports"}, ValueError, "Did you mean 'transport'"),
        ({"coupling": "transport"}, KeyError, "No transport"),
        ({"coupling": "dynamics"}, KeyError, "No fitted dynamics"),
        ({"layer": "log"}, KeyError, "layer"),
        ({"use_rep": "X_pc"}, KeyError, "Did you mean 'X_pca'"),
        ({"groupby": "celltype"}, KeyError, "cell_type"),
        ({"time_key": "day"}, KeyError, "time column"),
        ({"mass": "equal"}, ValueError, "mass"),
        ({"key_added": "a/b"}, ValueError, "a/b"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(jumping, arguments, error, said):
    adata = ad.AnnData(jumping.X, obs=jumping.obs[["time", "cell_type"]])
    adata.obsm["X_pca"] = jumping.obsm["X_pca"]
    with pytest.raises(error, match=said):
        scruot.tl.sparse_displacement(adata, **arguments)
    assert list(adata.obsm) == ["X_pca"]
    assert not adata.uns
    assert isinstance(adata.var, pd.DataFrame)
    assert adata.var.empty
