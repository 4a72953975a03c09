"""Displaced genes found again, slots, scanpy's readers, and what is refused."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.metrics import average_precision_score

import scruot
from scruot.tl._displacement_pairs import comparisons, stored_plans


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
    assert (np.diff(table["scores"].abs()) <= 0).all()
    signed = table[table["scores"] != 0]
    assert (np.sign(signed["scores"]) == np.sign(signed["logfoldchanges"])).all()
    assert {-1.0, 1.0} == set(np.sign(signed["scores"][:50]))
    strength = jumping.var.loc[table["names"], "displacement_score"].clip(lower=0)
    np.testing.assert_allclose(table["scores"].abs(), strength, rtol=1e-6)
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
        ({"method": "elastic", "penalty": "smoothed_l0"}, ValueError, "'l1', 'stvs' or"),
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
        ({"mass": {0: 1.0, 1: 2.0}}, TypeError, "mass of type dict"),
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


def test_genes_without_names_of_their_own_are_refused(jumping):
    adata = ad.AnnData(jumping.X, obs=jumping.obs[["time"]])
    adata.obsm["X_pca"] = jumping.obsm["X_pca"]
    adata.var_names = ["gene"] * adata.n_vars
    with pytest.raises(ValueError, match="var_names_make_unique"):
        scruot.tl.sparse_displacement(adata)


@pytest.mark.parametrize("strengths", [[], [-1.0], "high", [np.nan]])
def test_strengths_that_are_none_are_refused(jumping, strengths):
    with pytest.raises(ValueError, match="strengths"):
        scruot.tl.sparsity_path(jumping, strengths, source=0.0, target=1.0)


def test_the_representation_of_the_fit_is_the_one_recorded():
    adata = scruot.datasets.sparse_displacement("jumping", 100, n_genes=60)
    adata.obsm["X_other"] = adata.obsm.pop("X_pca")
    scruot.tl.fit_dynamics(adata, use_rep="X_other", steps=5, progress=False)
    scruot.tl.sparse_displacement(adata, coupling="dynamics")
    assert adata.uns["displacement_genes"]["params"]["use_rep"] == "X_other"


@pytest.fixture(scope="module")
def gradual():
    """Two lineages that separate along their own genes under strong idle variance."""
    adata = scruot.datasets.sparse_displacement(
        "gradual", 200, n_genes=400, n_times=4, random_state=5
    )
    scruot.tl.sparse_displacement(adata, groupby="lineage")
    return adata


def test_lineages_have_their_own_genes(gradual):
    for own, other in (("A", "B"), ("B", "A")):
        table = scruot.get.displacement_genes_df(gradual, own)
        score = table.groupby("gene")["scores"].mean().abs().reindex(gradual.var_names).to_numpy()
        assert average_precision_score((gradual.var["lineage"] == own).to_numpy(), score) > 0.95
        best = np.argsort(-score)[:30]
        assert (gradual.var["lineage"] == other).to_numpy()[best].mean() <= 0.1


def test_scanpy_draws_the_ranked_genes(gradual):
    axes = sc.pl.rank_genes_groups(gradual, key="displacement_genes", show=False)
    assert len(axes) == 6
    dots = sc.pl.rank_genes_groups_dotplot(
        gradual,
        key="displacement_genes",
        groups=["A, 0 to 1", "B, 0 to 1"],
        n_genes=3,
        dendrogram=False,
        show=False,
    )
    assert dots


def test_conditions_are_compared_like_times(jumping):
    adata = ad.AnnData(jumping.X, obs=jumping.obs[["time"]].copy())
    adata.obsm["X_pca"] = jumping.obsm["X_pca"]
    adata.obs["drug"] = pd.Categorical(np.where(adata.obs["time"] == 0, "control", "treated"))
    scruot.tl.sparse_displacement(adata, source="control", target="treated", time_key="drug")
    assert abs(adata.obsm["displacement"] - jumping.obsm["displacement"]).nnz == 0
    table = scruot.get.displacement_genes_df(adata)
    assert set(zip(table["source"], table["target"], strict=True)) == {("control", "treated")}
    with pytest.raises(ValueError, match="no times"):
        scruot.tl.sparse_displacement(
            adata, source="treated", target="control", time_key="drug", coupling="transport"
        )


@pytest.mark.parametrize("origin", ["transport", "dynamics"])
def test_couplings_of_the_object_are_taken(jumping, origin):
    adata = ad.AnnData(jumping.X, obs=jumping.obs[["time"]].copy())
    adata.obsm["X_pca"] = jumping.obsm["X_pca"]
    if origin == "transport":
        scruot.tl.transport(adata, progress=False)
    else:
        scruot.tl.fit_dynamics(adata, "wfr", progress=False)
    scruot.tl.sparse_displacement(adata)
    assert adata.uns["displacement_genes"]["params"]["coupling"] == origin
    truth = jumping.var["displaced_true"].to_numpy()
    assert average_precision_score(truth, adata.var["displacement_score"]) > 0.9


def test_couplings_are_matched_by_name(jumping):
    adata = ad.AnnData(jumping.X, obs=jumping.obs[["time"]].copy())
    adata.obsm["X_pca"] = jumping.obsm["X_pca"]
    scruot.tl.transport(adata, progress=False)
    order = np.random.default_rng(0).permutation(adata.n_obs)
    plans = []
    for cells in (adata, adata[order].copy()):
        pairs = comparisons(cells, "time", None, None, np.ones(cells.n_obs))
        plan = stored_plans(cells, None, pairs)[0].toarray()
        rows, columns = (cells.obs_names[r] for r in (pairs[0].source, pairs[0].target))
        plans.append(pd.DataFrame(plan, index=rows, columns=columns))
    pd.testing.assert_frame_equal(plans[0], plans[1].loc[plans[0].index, plans[0].columns])


def test_elastic_map_of_few_genes():
    rng = np.random.default_rng(0)
    x = np.zeros((120, 5)) + 0.02 * rng.normal(size=(120, 5))
    x[60:, 0] += 3.0
    adata = ad.AnnData(x.astype(np.float32))
    adata.obs["time"] = np.repeat([0, 1], 60)
    scruot.tl.sparse_displacement(adata, use_rep="X", method="elastic", n_active=1.5, tau=np.inf)
    moved = adata.obsm["displacement"].toarray()[:60]
    assert (np.abs(moved[:, 0] - 3.0) < 0.2).all()
    assert (moved != 0).sum(axis=1).mean() <= 1.5
    assert scruot.get.displacement_genes_df(adata)["gene"][0] == "0"
