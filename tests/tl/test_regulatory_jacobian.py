"""Derivatives of gene velocities by genes, against differences, and against a known network."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.linear_model import LinearRegression

import scruot
from scruot import get, tl


def differences(model, time, x, step=1e-2):
    return np.stack(
        [
            (model.velocity(time, x + step * e) - model.velocity(time, x - step * e)) / (2 * step)
            for e in np.eye(x.shape[1])
        ],
        axis=2,
    )


def test_mean_derivatives_per_time_are_those_of_the_model(trained):
    tl.regulatory_jacobian(trained)
    entry, model = trained.uns["regulatory_jacobian"], get.dynamics(trained)
    assert list(entry["groups"]) == ["0", "1", "2"]
    assert list(entry["genes"]) == ["x1", "x2"]
    for i, t in enumerate([0.0, 1.0, 2.0]):
        x = trained.obsm["X_genes"][(trained.obs["time"] == t).to_numpy()].astype(float)
        expected = differences(model, np.full(len(x), t), x).mean(0)
        found = entry["matrices"][str(i)].toarray()
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
        assert entry["n_cells"][i] == len(x)


def test_mass_weighs_the_mean_and_cells_without_mass_do_not_count(trained):
    weight = np.where(np.arange(trained.n_obs) % 3 == 0, 0.0, 1.0 + np.arange(trained.n_obs) % 5)
    trained.obs["weight"] = weight
    tl.fit_dynamics(trained, use_rep="X_genes", mass="weight", steps=10, progress=False)
    tl.regulatory_jacobian(trained)
    here = (trained.obs["time"] == 1).to_numpy()
    each = get.dynamics(trained).jacobian("velocity", 1.0, trained.obsm["X_genes"][here])
    expected = np.average(each, axis=0, weights=weight[here])
    entry = trained.uns["regulatory_jacobian"]
    np.testing.assert_allclose(entry["matrices"]["1"].toarray(), expected, rtol=1e-4, atol=1e-6)
    assert entry["n_cells"][1] == (weight[here] > 0).sum()


@pytest.fixture
def in_genes(trained, rng):
    """Return the same cells with 30 genes whose loadings lead to the two coordinates."""
    weights = np.linalg.qr(rng.normal(size=(30, 2)))[0]
    z = trained.obsm["X_genes"]
    return AnnData(
        (z @ weights.T).astype(np.float32),
        obs=trained.obs,
        var=pd.DataFrame(index=[f"g{i}" for i in range(30)]),
        obsm={"X_genes": z},
        uns=trained.uns,
        varm={"weights": weights},
    )


def test_chain_rule_through_loadings(in_genes):
    tl.regulatory_jacobian(in_genes, n_regulators=None, loadings="weights")
    entry, w = in_genes.uns["regulatory_jacobian"], in_genes.varm["weights"]
    for i in "012":
        np.testing.assert_allclose(
            entry["matrices"][i].toarray(), w @ entry["latent"][i] @ w.T, atol=1e-12
        )


def test_keeps_the_largest_regulators_of_every_gene(in_genes):
    tl.regulatory_jacobian(in_genes, n_regulators=None, loadings="weights")
    full = in_genes.uns["regulatory_jacobian"]["matrices"]["1"].toarray()
    tl.regulatory_jacobian(in_genes, n_regulators=4, loadings="weights")
    few = in_genes.uns["regulatory_jacobian"]["matrices"]["1"]
    assert (np.diff(few.indptr) == 4).all()
    for i in range(30):
        largest = np.sort(np.argsort(-np.abs(full[i]))[:4])
        np.testing.assert_array_equal(few[[i]].indices, largest)
        np.testing.assert_allclose(few[[i]].data, full[i, largest])


def test_groups_genes_table_and_file(in_genes, tmp_path):
    in_genes.obs["type"] = pd.Categorical(
        ["a/b", "c"] * (in_genes.n_obs // 2) + ["c"] * (in_genes.n_obs % 2)
    )
    tl.regulatory_jacobian(in_genes, "type", genes=["g3", "g1", "g7"], loadings="weights")
    in_genes.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    table = get.regulatory_jacobian_df(back, "a/b")
    assert len(table) == 9
    assert set(table["target"]) == {"g1", "g3", "g7"}
    assert table["derivative"].abs().is_monotonic_decreasing
    matrix = in_genes.uns["regulatory_jacobian"]["matrices"]["0"].toarray()
    one = table.set_index(["target", "regulator"])["derivative"]
    assert one["g3", "g1"] == pytest.approx(matrix[0, 1])
    both = get.regulatory_jacobian_df(back)
    assert list(both["group"].unique()) == ["a/b", "c"]
    with pytest.raises(KeyError, match="Unknown group"):
        get.regulatory_jacobian_df(back, "b")


@pytest.fixture(scope="module")
def ensemble():
    """Return a short fit of three models on cells drawn with replacement."""
    adata = scruot.datasets.three_gene(60, random_state=0)
    tl.fit_dynamics(adata, use_rep="X_genes", steps=10, n_models=3, progress=False)
    return adata


def test_errors_are_the_standard_deviations_over_the_members(ensemble):
    tl.regulatory_jacobian(ensemble, "lineage")
    entry, model = ensemble.uns["regulatory_jacobian"], get.dynamics(ensemble)
    assert entry["n_models"] == 3
    here = (ensemble.obs["lineage"] == "transition").to_numpy()
    index = str(list(entry["groups"]).index("transition"))
    t, x = ensemble.obs["time"].to_numpy()[here], ensemble.obsm["X_genes"][here]
    each = [member.jacobian("velocity", t, x).mean(0) for member in model.members()]
    np.testing.assert_allclose(entry["matrices"][index].toarray(), np.mean(each, 0), rtol=1e-4)
    errors = np.std(each, axis=0, ddof=1)
    np.testing.assert_allclose(entry["errors"][index].toarray(), errors, rtol=1e-3)
    np.testing.assert_allclose(
        model.jacobian("velocity", t, x).mean(0), np.mean(each, 0), rtol=1e-4
    )


def test_table_of_an_ensemble_tells_signs(ensemble, tmp_path):
    tl.regulatory_jacobian(ensemble, "lineage")
    entry = ensemble.uns["regulatory_jacobian"]
    entry["matrices"]["0"].data[:] = [-5.0, 0.1, 2.0, 3.0]
    entry["errors"]["0"].data[:] = [0.5, 0.2, 1.0, 0.1]
    ensemble.write_h5ad(tmp_path / "a.h5ad")
    table = get.regulatory_jacobian_df(anndata.read_h5ad(tmp_path / "a.h5ad"), entry["groups"][0])
    one = table.set_index(["target", "regulator"]).sort_index()
    np.testing.assert_allclose(one["std_error"], [0.5, 0.2, 1.0, 0.1])
    # Student's with two degrees of freedom: p = 1 - t / sqrt(2 + t^2)
    ratio = np.array([10.0, 0.5, 2.0, 30.0])
    expected = 1 - ratio / np.sqrt(2 + ratio**2)
    np.testing.assert_allclose(one["pval"], expected, rtol=1e-10)
    rates = [2 * expected[0], expected[1], 4 / 3 * expected[2], 4 * expected[3]]
    np.testing.assert_allclose(one["qval"], rates, rtol=1e-10)
    assert one["sign"].tolist() == [-1, 0, 0, 1]


def test_regression_gives_the_slopes_over_the_cells_of_a_group_by_their_mass(trained):
    weight = np.where(np.arange(trained.n_obs) % 3 == 0, 0.0, 1.0 + np.arange(trained.n_obs) % 5)
    trained.obs["weight"] = weight
    tl.fit_dynamics(trained, use_rep="X_genes", mass="weight", steps=10, progress=False)
    tl.regulatory_jacobian(trained, estimate="regression")
    entry, model = trained.uns["regulatory_jacobian"], get.dynamics(trained)
    assert entry["estimate"] == "regression"
    for i, t in enumerate([0.0, 1.0, 2.0]):
        here = (trained.obs["time"] == t).to_numpy()
        x = trained.obsm["X_genes"][here].astype(float)
        line = LinearRegression().fit(x, model.velocity(t, x), sample_weight=weight[here])
        np.testing.assert_allclose(
            entry["matrices"][str(i)].toarray(), line.coef_, rtol=1e-4, atol=1e-6
        )


def through_loadings(fitted, rng):
    """Return thirty genes of which the two of the fit are the coordinates."""
    weights = np.linalg.qr(rng.normal(size=(30, 2)))[0]
    z = fitted.obsm["X_genes"]
    genes = AnnData(
        (z @ weights.T).astype(np.float32), obs=fitted.obs, obsm={"X_genes": z}, uns=fitted.uns
    )
    genes.varm["weights"] = weights
    return genes


def test_regression_through_loadings_and_over_members(ensemble, rng):
    genes = through_loadings(ensemble, rng)
    weights, z = genes.varm["weights"], genes.obsm["X_genes"]
    tl.regulatory_jacobian(
        genes, "lineage", n_regulators=None, estimate="regression", loadings="weights"
    )
    entry, model = genes.uns["regulatory_jacobian"], get.dynamics(ensemble)
    time = ensemble.obs["time"].to_numpy()
    for i, group in enumerate(entry["groups"]):
        here = (ensemble.obs["lineage"] == group).to_numpy()
        each = [
            LinearRegression().fit(z[here], member.velocity(time[here], z[here])).coef_
            for member in model.members()
        ]
        through = np.stack([weights @ one @ weights.T for one in each])
        np.testing.assert_allclose(
            entry["matrices"][str(i)].toarray(), through.mean(0), rtol=1e-3, atol=1e-5
        )
        np.testing.assert_allclose(
            entry["errors"][str(i)].toarray(), through.std(0, ddof=1), rtol=1e-3, atol=1e-5
        )


def test_directions_in_which_no_cell_differs_have_no_slope(trained):
    x = np.column_stack([trained.obsm["X_genes"], np.full(trained.n_obs, 3.0)])
    flat = AnnData(x.astype(np.float32), obs=trained.obs[["time"]].copy())
    flat.obsm["X_flat"], flat.varm["X_flat"] = flat.X, np.eye(3)
    tl.fit_dynamics(flat, use_rep="X_flat", steps=10, progress=False)
    tl.regulatory_jacobian(flat, estimate="regression")
    for matrix in flat.uns["regulatory_jacobian"]["matrices"].values():
        assert np.abs(matrix.toarray()[:, 2]).max() < 1e-9


def test_regression_needs_more_cells_than_coordinates(trained):
    few = np.where(np.arange(trained.n_obs) < 3, "few", "many")
    trained.obs["part"] = pd.Categorical(few)
    with pytest.raises(ValueError, match="'few' has 3 cells with mass; expected at least 4"):
        tl.regulatory_jacobian(trained, "part", estimate="regression")
    assert "regulatory_jacobian" not in trained.uns


def test_a_single_fit_has_no_errors(trained):
    tl.regulatory_jacobian(trained)
    assert "errors" not in trained.uns["regulatory_jacobian"]
    assert "sign" not in get.regulatory_jacobian_df(trained)


def test_errors_through_loadings_keep_the_pattern(ensemble, rng):
    genes = through_loadings(ensemble, rng)
    weights, z = genes.varm["weights"], genes.obsm["X_genes"]
    tl.regulatory_jacobian(genes, n_regulators=4, loadings="weights")
    entry, model = genes.uns["regulatory_jacobian"], get.dynamics(ensemble)
    here = (ensemble.obs["time"] == 1).to_numpy()
    each = [
        weights @ member.jacobian("velocity", 1.0, z[here]).mean(0) @ weights.T
        for member in model.members()
    ]
    found, errors = entry["matrices"]["1"], entry["errors"]["1"]
    np.testing.assert_array_equal(found.indices, errors.indices)
    expected = np.std(each, axis=0, ddof=1)[errors.nonzero()]
    np.testing.assert_allclose(errors.data, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"quantity": "growth"}, ValueError, "Unknown quantity"),
        ({"estimate": "slope"}, ValueError, "Unknown estimate"),
        ({"n_regulators": 0}, ValueError, "n_regulators"),
        ({"genes": ["x9"]}, KeyError, "Unknown gene"),
        ({"groupby": "linage"}, KeyError, "Did you mean 'lineage'"),
        ({"groupby": "growth"}, ValueError, "different numbers in"),
        ({"key": "none"}, KeyError, "none"),
        ({"loadings": "PCs"}, KeyError, "No loadings 'PCs'"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(trained, arguments, error, says):
    with pytest.raises(error, match=says):
        tl.regulatory_jacobian(trained, **arguments)
    assert "regulatory_jacobian" not in trained.uns


def test_a_representation_without_weights_of_genes_is_refused(drifting):
    with pytest.raises(ValueError, match="linear representation"):
        tl.regulatory_jacobian(drifting)


def test_recovers_the_signs_of_the_two_gene_network():
    """Genes 1 and 2 repress each other and decay; a velocity without noise shows neither."""
    adata = scruot.datasets.three_gene(200, random_state=0)
    sigma = float(adata.uns["truth"]["sigma"][0])
    tl.fit_dynamics(
        adata, "crufm", use_rep="X_genes", sigma=sigma, steps=500, progress=False, random_state=0
    )
    tl.regulatory_jacobian(adata, "lineage")
    entry = adata.uns["regulatory_jacobian"]
    assert entry["quantity"] == "drift"
    found = entry["matrices"][str(list(entry["groups"]).index("transition"))].toarray()
    # true means over the cells: -2.5, -1.1 / -0.7, -2.1
    assert (found < -0.3).all()
    assert (np.diag(found) < -1.2).all()


def test_recovers_the_signs_of_the_three_gene_network():
    """Genes 1 and 2 repress each other, gene 3 both; nothing acts on gene 3 but itself."""
    adata = scruot.datasets.three_gene(200, n_genes=3, random_state=0)
    noise = adata.uns["truth"]["sigma"]
    adata.obsm["X_units"], adata.varm["X_units"] = adata.X / noise, np.diag(noise)
    tl.fit_dynamics(
        adata, "crufm", use_rep="X_units", sigma=1.0, steps=600, progress=False, random_state=0
    )
    tl.regulatory_jacobian(adata, "lineage")
    entry = adata.uns["regulatory_jacobian"]
    found = entry["matrices"][str(list(entry["groups"]).index("transition"))].toarray()
    # true means over the cells: -2.5, -1.1 / -0.7, -2.1, and 0, 0, -3.0 for gene 3
    assert (found[:2, :2] < -0.35).all()
    assert (np.diag(found) < -1.5).all()
    assert np.abs(found[2, :2]).max() < 0.1
    # gene 3 hardly varies among these cells: those that have it differ from those that do not
    tl.regulatory_jacobian(adata, estimate="regression")
    for time in "12":
        slopes = adata.uns["regulatory_jacobian"]["matrices"][time].toarray()
        # true slopes: -1.1 to -2.3 of gene 3, -0.9 to -1.6 of the others
        assert (slopes[:2] < -0.35).all()
        assert (slopes[:2, 2] < -0.55).all()
        assert np.abs(slopes[2]).max() < 0.2
