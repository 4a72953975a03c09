"""Velocities of genes, against maps whose derivative is known."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from anndata import AnnData
from scipy import sparse

from scruot import tl
from scruot.tl._local_regression import directional_derivative

N_GENES = 12


@pytest.fixture
def linear(rng, fit_constant):
    """Return cells whose 12 genes are linear in two moving coordinates, PCA and an exact fit."""
    n = 240
    time = np.repeat([0.0, 1.0, 2.0], n // 3)
    state = rng.normal(size=(n, 2)) * [2.0, 1.0] + time[:, None] * [1.0, -0.5]
    weights = rng.normal(size=(N_GENES, 2))
    x = (state @ weights.T + 3.0).astype(np.float32)
    adata = AnnData(
        x,
        obs=pd.DataFrame({"time": time}, index=[f"cell{i}" for i in range(n)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]),
    )
    sc.pp.pca(adata, n_comps=2)
    loadings = adata.varm["PCs"]
    fit_constant(adata, velocity=np.array([1.0, -0.5]) @ weights.T @ loadings)
    adata.obsm["velocity_pca"] = np.tile(
        np.array([1.0, -0.5]) @ weights.T @ loadings, (n, 1)
    ).astype(np.float32)
    adata.uns["truth"] = weights @ np.array([1.0, -0.5])
    return adata


def test_loadings_give_back_the_velocity_of_every_gene(linear):
    tl.gene_velocity(linear)
    velocity = linear.layers["velocity"]
    assert velocity.dtype == np.float32
    np.testing.assert_allclose(
        velocity.toarray() if sparse.issparse(velocity) else velocity,
        np.tile(linear.uns["truth"], (linear.n_obs, 1)),
        atol=1e-5,
    )
    assert linear.uns["dynamics"]["gene_velocity"] == {
        "layer": "velocity",
        "method": "loadings",
        "source": "varm['PCs']",
    }


def test_genes_without_loadings_are_left_out(linear):
    linear.varm["PCs"][3:5] = 0.0
    tl.gene_velocity(linear)
    assert isinstance(linear.layers["velocity"], sparse.csr_matrix)
    assert linear.layers["velocity"].nnz == linear.n_obs * 10
    assert list(linear.var_names[~linear.var["velocity_genes"]]) == ["g3", "g4"]


def test_chosen_genes_come_in_any_order(linear):
    tl.gene_velocity(linear)
    full = np.asarray(linear.layers["velocity"])
    tl.gene_velocity(linear, genes=["g7", "g0", "g2"], key_added="few")
    few = linear.layers["few"].toarray()
    np.testing.assert_array_equal(few[:, [0, 2, 7]], full[:, [0, 2, 7]])
    assert not few[:, [1, *range(3, 7), *range(8, 12)]].any()
    assert list(np.flatnonzero(linear.var["few_genes"])) == [0, 2, 7]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_regression_recovers_a_linear_map_without_loadings(linear, kind):
    linear.X = kind(linear.X)
    tl.gene_velocity(linear, method="regression")
    truth = np.tile(linear.uns["truth"], (linear.n_obs, 1))
    # the ridge of a thousandth of the mean variance is all that is missing
    np.testing.assert_allclose(linear.layers["velocity"], truth, atol=0.01 * np.abs(truth).max())
    assert linear.uns["dynamics"]["gene_velocity"]["source"] == "X"


def test_regression_follows_a_bent_map_better_than_one_plane(rng):
    x = rng.uniform(-1, 1, (1500, 2)).astype(np.float32)
    v = np.tile([1.0, 0.5], (len(x), 1)).astype(np.float32)
    f = np.sin(3 * x[:, 0]) * x[:, 1]
    truth = 3 * np.cos(3 * x[:, 0]) * x[:, 1] + 0.5 * np.sin(3 * x[:, 0])
    found = directional_derivative(x, v, 50) @ f
    whole = directional_derivative(x, v, len(x)) @ f
    inside = np.abs(x).max(axis=1) < 0.8
    error, of_plane = (np.std((g - truth)[inside]) / np.std(truth[inside]) for g in (found, whole))
    assert error < 0.12
    assert of_plane > 3 * error


def test_regression_is_zero_for_a_constant_and_where_all_cells_are_one_point():
    x = np.zeros((40, 2), dtype=np.float32)
    slope = directional_derivative(x, np.ones_like(x), 10)
    assert not (slope @ np.arange(40.0)).any()
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    slope = directional_derivative(x, np.ones_like(x), 10)
    np.testing.assert_allclose(slope @ np.full(40, 7.0), 0, atol=1e-12)
    assert slope.nnz == 400


def decoder_of(adata):
    weights = torch.from_numpy(adata.varm["PCs"].copy()).float()
    return lambda z: torch.tanh(z @ weights.T)


def test_a_torch_decoder_is_differentiated_exactly(linear):
    tl.gene_velocity(linear, decoder=decoder_of(linear))
    z, w = linear.obsm["X_pca"].astype(float), linear.varm["PCs"].astype(float)
    truth = (1 - np.tanh(z @ w.T) ** 2) * (linear.obsm["velocity_pca"] @ w.T)
    np.testing.assert_allclose(linear.layers["velocity"], truth, atol=1e-5)
    assert linear.uns["dynamics"]["gene_velocity"]["method"] == "decoder"


def test_a_numpy_decoder_is_differentiated_by_differences(linear):
    w = linear.varm["PCs"].astype(float)

    def decode(z):
        assert isinstance(z, np.ndarray)
        return np.tanh(z @ w.T)

    tl.gene_velocity(linear, decoder=decode)
    by_differences = np.asarray(linear.layers["velocity"])
    tl.gene_velocity(linear, decoder=decoder_of(linear))
    np.testing.assert_allclose(by_differences, linear.layers["velocity"], atol=2e-4)


def test_a_module_with_weights_of_its_own(linear):
    network = torch.nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    tl.gene_velocity(linear, decoder=network, genes=["g5", "g1", "g9"])
    v = linear.obsm["velocity_pca"]
    got = linear.layers["velocity"].toarray()
    np.testing.assert_allclose(got[:, 5], v[:, 0], rtol=1e-6)
    np.testing.assert_allclose(got[:, 1], 2 * v[:, 1], rtol=1e-6)
    np.testing.assert_allclose(got[:, 9], v.sum(1), rtol=1e-5)


def test_a_representation_that_is_the_expression_needs_no_loadings(trained):
    tl.gene_velocity(trained)
    np.testing.assert_allclose(
        trained.layers["velocity"], trained.obsm["velocity_genes"], rtol=1e-6
    )


def test_survives_a_file_and_copy_leaves_the_original(linear, tmp_path):
    copied = tl.gene_velocity(linear, genes=["g1"], copy=True)
    assert "velocity" not in linear.layers
    copied.uns.pop("truth")
    copied.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert (back.layers["velocity"] != copied.layers["velocity"]).nnz == 0
    tl.gene_velocity(back, genes=["g2"])  # its own layer is replaced
    assert list(np.flatnonzero(back.var["velocity_genes"])) == [2]


def test_a_new_fit_takes_the_layer_away(trained):
    tl.gene_velocity(trained)
    tl.fit_dynamics(trained, use_rep="X_genes", steps=5, progress=False)
    assert "velocity" not in trained.layers
    assert "velocity_genes" not in trained.var


def test_a_layer_of_somebody_else_is_not_overwritten(linear):
    linear.layers["velocity"] = np.ones(linear.shape, dtype=np.float32)
    with pytest.raises(ValueError, match="key_added"):
        tl.gene_velocity(linear)
    tl.gene_velocity(linear, key_added="scruot_velocity")
    assert linear.layers["velocity"].all()


def test_warns_where_loadings_and_expression_do_not_belong_together(linear, caplog):
    tl.gene_velocity(linear)
    assert "not what the loadings" not in caplog.text
    linear.X = linear.X[:, ::-1].copy()
    tl.gene_velocity(linear)
    assert "not what the loadings" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"method": "loading"}, ValueError, "Did you mean 'loadings'"),
        ({"genes": ["g1", "gg"]}, KeyError, "Unknown gene 'gg'"),
        ({"genes": ["g1", "g1"]}, ValueError, "each once"),
        ({"genes": []}, ValueError, "at least one gene"),
        ({"loadings": "PC"}, KeyError, "Did you mean 'PCs'"),
        ({"method": "decoder"}, ValueError, "no decoder"),
        ({"decoder": lambda z: z}, ValueError, "each of 12 genes"),
        ({"decoder": lambda z: "x" + z}, ValueError, "neither tensors nor arrays"),
        ({"method": "regression", "layer": "counts"}, KeyError, "Unknown layer 'counts'"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors"),
        ({"key": "other"}, KeyError, "other"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(linear, arguments, error, says):
    with pytest.raises(error, match=says):
        tl.gene_velocity(linear, **arguments)
    assert not linear.layers
    assert "gene_velocity" not in linear.uns["dynamics"]


def test_no_loadings_where_they_are_asked_for(drifting):
    drifting.obsm["velocity_pca"] = np.zeros_like(drifting.obsm["X_pca"])
    with pytest.raises(ValueError, match="method='regression'"):
        tl.gene_velocity(drifting, method="loadings")
