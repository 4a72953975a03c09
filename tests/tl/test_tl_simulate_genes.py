"""Simulated cells in genes, perturbed cells, and the groups of simulated cells."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import scruot
from scruot.tl import simulate

N_GENES = 8


@pytest.fixture
def with_genes(unfitted, fit_constant):
    """Return drifting cells of eight genes in two dimensions, their PCA, and a model in it."""
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(2, N_GENES))
    mixing[:, -1] = 0
    x = unfitted.obsm["X_pca"] @ mixing + rng.normal(3, 1, N_GENES)
    names = [f"gene{i}" for i in range(N_GENES)]
    adata = anndata.AnnData(x.astype(np.float32), unfitted.obs, pd.DataFrame(index=names))
    sc.pp.pca(adata, n_comps=2)
    return fit_constant(adata)


def at(simulated, time):
    return simulated[(simulated.obs["time"] == time).to_numpy()]


def first(adata):
    return adata[(adata.obs["time"] == 0).to_numpy()]


# --- perturbations --------------------------------------------------------------------------------


def test_a_perturbed_gene_moves_cells_as_its_projection_does(with_genes):
    simulated = simulate(with_genes, perturb={"gene1": 1.5, "gene4": -0.5})
    changed = first(with_genes).X.copy()
    changed[:, 1] += 1.5
    changed[:, 4] -= 0.5
    projected = (changed - with_genes.X.mean(axis=0)) @ with_genes.varm["PCs"]
    np.testing.assert_allclose(at(simulated, 0).obsm["X_pca"], projected, atol=1e-4)
    plain = simulate(with_genes)
    shift = 1.5 * with_genes.varm["PCs"][1] - 0.5 * with_genes.varm["PCs"][4]
    assert np.linalg.norm(shift) > 0.1
    moved = simulated.obsm["X_pca"] - plain.obsm["X_pca"]
    np.testing.assert_allclose(moved, np.tile(shift, (len(moved), 1)), atol=1e-4)
    record = simulated.uns["simulation"]
    assert record["perturb"] == '{"gene1": 1.5, "gene4": -0.5}'
    np.testing.assert_allclose(record["shift"], shift, atol=1e-6)
    assert "perturb" not in plain.uns["simulation"]


def test_loadings_that_are_not_orthonormal_are_weights_of_a_decoder(unfitted, fit_constant, rng):
    """As those of a factor model: expression = mean + weights @ coordinates, both ways."""
    weights = rng.normal(size=(N_GENES, 2)) * [3.0, 0.2]
    x = unfitted.obsm["X_pca"]
    names = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    adata = anndata.AnnData(x @ weights.T + 5, unfitted.obs, names, obsm={"X_factors": x})
    adata.varm["X_factors"] = weights
    fit_constant(adata, use_rep="X_factors")
    shift = np.array([0.3, -0.2])
    change = dict(zip(adata.var_names, weights @ shift, strict=True))
    moved = simulate(adata, perturb=change, genes=["gene2"])
    np.testing.assert_allclose(moved.uns["simulation"]["shift"], shift, atol=1e-6)
    assert moved.uns["simulation"]["genes_via"] == "loadings"
    plain = simulate(adata, genes=["gene2"])
    np.testing.assert_allclose(moved.X - plain.X, weights[2] @ shift, atol=1e-4)


def test_a_shift_of_the_representation_needs_no_genes(drifting):
    plain = simulate(drifting)
    moved = simulate(drifting, perturb=np.array([0.5, -1]))
    shift = np.tile([0.5, -1], (plain.n_obs, 1))
    np.testing.assert_allclose(moved.obsm["X_pca"] - plain.obsm["X_pca"], shift, atol=1e-5)
    each = np.random.default_rng(0).normal(size=(20, 2))
    moved = simulate(drifting, perturb=each)
    difference = at(moved, 3).obsm["X_pca"] - at(plain, 3).obsm["X_pca"]
    np.testing.assert_allclose(difference, each, atol=1e-5)
    np.testing.assert_allclose(moved.uns["simulation"]["shift"], each.mean(axis=0))


def test_a_draw_keeps_every_cell_its_own_shift(drifting):
    each = np.arange(40.0).reshape(20, 2) / 40
    drawn = at(simulate(drifting, perturb=each, n_cells=5, random_state=4), 0)
    rows = first(drifting).obs_names.get_indexer(drawn.obs["start_cell"])
    expected = first(drifting).obsm["X_pca"][rows] + each[rows]
    np.testing.assert_allclose(drawn.obsm["X_pca"], expected, atol=1e-6)


def test_a_fit_of_the_matrix_is_perturbed_gene_by_gene(unfitted, fit_constant):
    adata = anndata.AnnData(unfitted.obsm["X_pca"], obs=unfitted.obs)
    adata.var_names = ["first", "second"]
    fit_constant(adata, use_rep="X")
    moved = at(simulate(adata, perturb={"second": 2.0}), 0)
    np.testing.assert_allclose(moved.X, first(adata).X + np.array([0, 2.0]), atol=1e-6)


def test_perturbed_cells_beyond_the_data_are_told_of(drifting, caplog):
    near = simulate(drifting, perturb=np.array([0.01, 0.0]))
    assert near.uns["simulation"]["outside"] < 0.2
    assert "rests on no data" not in caplog.text
    far = simulate(drifting, perturb=np.array([50.0, 0.0]))
    assert far.uns["simulation"]["outside"] == 1
    assert "rests on no data" in caplog.text


@pytest.mark.parametrize(
    ("perturb", "error", "message"),
    [
        ({"gene99": 1.0}, KeyError, "gene99"),
        ({"gen1": 1.0}, KeyError, "Did you mean 'gene1'"),
        ({"gene1": np.nan}, ValueError, "finite number"),
        ({"gene1": "up"}, ValueError, "finite number"),
        ({}, ValueError, "at least one"),
        ({"gene7": 1.0}, ValueError, "no loading"),
        (np.zeros(3), ValueError, r"shape \(2,\), or \(20, 2\)"),
        (np.array([np.inf, 0]), ValueError, "finite shift"),
    ],
)
def test_what_is_no_perturbation_is_refused(with_genes, perturb, error, message):
    with_genes.varm["PCs"][7] = 0
    with pytest.raises(error, match=message):
        simulate(with_genes, perturb=perturb)


def test_genes_without_loadings_cannot_be_perturbed(with_genes):
    loadings = with_genes.varm.pop("PCs")
    with pytest.raises(KeyError, match="no loadings of 'X_pca'"):
        simulate(with_genes, perturb={"gene1": 1.0})
    with_genes.varm["mine"] = loadings
    moved = simulate(with_genes, perturb={"gene1": 1.0}, loadings="mine")
    np.testing.assert_allclose(moved.uns["simulation"]["shift"], loadings[1], atol=1e-6)
    with pytest.raises(KeyError, match="Did you mean 'mine'"):
        simulate(with_genes, perturb={"gene1": 1.0}, loadings="mien")
    with_genes.varm["mine"] = loadings[:, :1]
    with pytest.raises(ValueError, match="one column for each"):
        simulate(with_genes, perturb={"gene1": 1.0}, loadings="mine")


# --- genes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dense", "sparse", "layer"])
def test_loadings_lead_back_to_genes(with_genes, law, form):
    genes, layer = ["gene5", "gene0"], None
    x = with_genes.X.copy()
    if form == "sparse":
        with_genes.X = sparse.csr_matrix(x)
    elif form == "layer":
        layer, with_genes.layers["log"], with_genes.X = "log", x, x * 0
    simulated = simulate(with_genes, [0, 0.7], genes=genes, layer=layer)
    assert simulated.var_names.tolist() == genes
    assert simulated.X.dtype == np.float32
    assert simulated.uns["simulation"]["genes_via"] == "loadings"
    # two coordinates hold all that these genes do: the reconstruction is exact
    start = x[:20][:, [5, 0]]
    np.testing.assert_allclose(at(simulated, 0).X, start, atol=1e-3)
    rate = law.velocity @ with_genes.varm["PCs"][[5, 0]].T
    np.testing.assert_allclose(at(simulated, 0.7).X, start + 0.7 * rate, atol=1e-3)


def test_a_part_of_the_cells_leads_back_to_the_same_genes(with_genes):
    part = with_genes[with_genes.obs["time"] < 3].copy()
    part.obsm["X_pca"] = part.obsm["X_pca"].copy()
    whole = simulate(with_genes, [0, 1], genes=["gene2"])
    np.testing.assert_allclose(simulate(part, [0, 1], genes=["gene2"]).X, whole.X, atol=1e-3)


def test_perturbed_genes_come_back_perturbed(with_genes):
    plain = simulate(with_genes, genes=["gene1"])
    moved = simulate(with_genes, genes=["gene1"], perturb={"gene1": 1.0})
    seen = with_genes.varm["PCs"][1] @ with_genes.varm["PCs"][1]
    np.testing.assert_allclose(moved.X - plain.X, seen, atol=1e-4)


def test_neighbours_give_genes_where_there_are_no_loadings(with_genes):
    with_genes.X[:, 7] = 4
    del with_genes.varm["PCs"]
    simulated = simulate(with_genes, genes=["gene0", "gene7"])
    assert simulated.uns["simulation"]["genes_via"] == "neighbors"
    np.testing.assert_allclose(simulated.X[:, 1], 4, rtol=1e-6)
    column = with_genes.X[:, 0]
    assert simulated.X[:, 0].min() >= column.min()
    assert simulated.X[:, 0].max() <= column.max()
    with_genes.X = sparse.csr_matrix(with_genes.X)
    again = simulate(with_genes, genes=["gene0", "gene7"])
    np.testing.assert_allclose(again.X, simulated.X, atol=1e-5)


def test_neighbours_follow_a_smooth_gene(fit_constant):
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, (6000, 2)).astype(np.float32)
    gene = np.sin(2 * x[:, :1]) + x[:, 1:]
    obs = pd.DataFrame({"time": np.repeat([0.0, 1.0, 3.0], 2000)})
    obs.index = obs.index.astype(str)
    adata = anndata.AnnData(gene, obs, pd.DataFrame(index=["wave"]), obsm={"X_pca": x})
    fit_constant(adata, velocity=[0.0, 0.0], growth=0.0)
    inside = rng.uniform(-0.7, 0.7, (300, 2))
    simulated = at(simulate(adata, [0, 1], start=inside, genes=["wave"]), 0)
    truth = np.sin(2 * inside[:, 0]) + inside[:, 1]
    assert np.abs(simulated.X[:, 0] - truth).max() < 0.05


def test_loadings_of_another_matrix_are_not_used(with_genes, caplog):
    with_genes.X = np.expm1(with_genes.X)
    simulated = simulate(with_genes, genes=["gene0"])
    assert simulated.uns["simulation"]["genes_via"] == "neighbors"
    assert "other units" in caplog.text
    with pytest.raises(ValueError, match="does not turn"):
        simulate(with_genes, genes=["gene0"], genes_via="loadings")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"genes": ["gene77"]}, KeyError, "gene77"),
        ({"genes": []}, ValueError, "at least one"),
        ({"genes": ["gene1", "gene1"]}, ValueError, "each once"),
        ({"genes": ["gene1"], "genes_via": "neighbours"}, ValueError, "Did you mean 'neighbors'"),
        ({"genes": ["gene1"], "layer": "counts"}, KeyError, "layer"),
        ({"groupby": "sid"}, KeyError, "Did you mean 'side'"),
    ],
)
def test_genes_and_groups_that_are_not_there_are_refused(with_genes, arguments, error, message):
    with pytest.raises(error, match=message):
        simulate(with_genes, **arguments)


def test_gaps_in_the_expression_are_refused(with_genes):
    with_genes.X[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        simulate(with_genes, genes=["gene2"], genes_via="neighbors")


# --- groups ---------------------------------------------------------------------------------------


def test_simulated_cells_get_the_group_of_cells_of_their_time(drifting):
    drifting.uns["side_colors"] = ["#111111", "#222222"]
    simulated = simulate(drifting, [0, 0.5, 1, 3], groupby="side")
    truth = first(drifting).obs["side"].to_numpy()
    for time in (0, 0.5, 1, 3):
        agree = at(simulated, time).obs["side"].to_numpy() == truth
        assert agree.mean() >= 0.9
    end = at(simulated, 3).obs["side"].to_numpy()
    assert (at(simulated, 0).obs["fate"].to_numpy() == end).all()
    assert list(simulated.uns["fate_colors"]) == ["#111111", "#222222"]
    back = simulate(drifting, direction="backward", groupby="side")
    assert (at(back, 3).obs["origin"].to_numpy() == at(back, 0).obs["side"].to_numpy()).all()


def test_unlabelled_cells_do_not_vote(drifting):
    drifting.obs.loc[drifting.obs["side"] == "down", "side"] = np.nan
    assert set(simulate(drifting, groupby="side").obs["side"]) == {"up"}


def test_everything_survives_a_file(with_genes, tmp_path):
    arguments = {"genes": ["gene3"], "perturb": {"gene1": 1.0}, "groupby": "side"}
    with_genes.write_h5ad(tmp_path / "fitted.h5ad")
    simulated = simulate(with_genes, **arguments)
    again = simulate(anndata.read_h5ad(tmp_path / "fitted.h5ad"), **arguments)
    np.testing.assert_array_equal(again.X, simulated.X)
    simulated.write_h5ad(tmp_path / "simulated.h5ad")
    back = anndata.read_h5ad(tmp_path / "simulated.h5ad")
    pd.testing.assert_frame_equal(back.obs, simulated.obs, check_categorical=False)
    assert back.uns["simulation"]["perturb"] == simulated.uns["simulation"]["perturb"]


def test_a_trained_model_with_groups(trained):
    simulated = scruot.tl.simulate(trained, groupby="lineage", genes=list(trained.var_names))
    grown = simulated.obs.groupby(["time", "fate"], observed=True)["weight"].sum().unstack()
    assert grown["transition"].iloc[-1] > grown["quiescent"].iloc[-1]
    # the representation is a copy of the matrix: genes are coordinates
    assert simulated.uns["simulation"]["genes_via"] == "loadings"
    np.testing.assert_allclose(simulated.X, simulated.obsm["X_genes"], atol=1e-5)
    moved = scruot.tl.simulate(trained, perturb={trained.var_names[1]: 0.3})
    np.testing.assert_allclose(moved.uns["simulation"]["shift"], [0, 0.3])
