"""Genes that go with a fate or with growth, against scipy and against known gradients."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse, stats

from scruot import datasets, get, tl
from scruot.tl import _genes

KINDS = ["corr", "pval", "qval", "ci_low", "ci_high"]


@pytest.fixture
def fated(rng):
    """Return 300 cells, 40 genes, two of which follow the fate; some cells have no fate."""
    n, p = 300, 40
    fate = rng.uniform(size=n)
    x = rng.poisson(1.0, (n, p)).astype(np.float32)
    x[:, 5] += (3 * fate).astype(np.float32)
    x[:, 9] += (3 * (1 - fate)).astype(np.float32)
    x[:, 20] = 2.0
    names = [f"cell{i}" for i in range(n)]
    adata = AnnData(
        x,
        obs=pd.DataFrame({"time": np.repeat([0.0, 1.0, 2.0], n // 3)}, index=names),
        var=pd.DataFrame(index=[f"g{i}" for i in range(p)]),
    )
    table = pd.DataFrame({"A": fate, "B": 1 - fate}, index=names)
    table.iloc[-30:] = np.nan
    adata.obsm["fate_probabilities"] = table
    return adata


def test_agrees_with_scipy_gene_by_gene(fated):
    tl.driver_genes(fated)
    table = fated.varm["driver_genes"]
    assert list(table.columns) == [f"{f}_{k}" for f in "AB" for k in KINDS]
    assert list(table.index) == list(fated.var_names)
    p = fated.obsm["fate_probabilities"]["A"].to_numpy()[:-30]
    for j in (0, 5, 9):
        found = table.iloc[j]
        expected = stats.pearsonr(fated.X[:-30, j].astype(float), p)
        interval = expected.confidence_interval(0.95)
        assert found["A_corr"] == pytest.approx(expected.statistic, abs=1e-10)
        assert found["A_ci_low"] == pytest.approx(interval.low, abs=1e-10)
        assert found["A_ci_high"] == pytest.approx(interval.high, abs=1e-10)
        z = np.arctanh(expected.statistic) * np.sqrt(270 - 3)
        assert found["A_pval"] == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-8)
    tested = table["A_pval"].dropna()
    np.testing.assert_allclose(table["A_qval"].dropna(), stats.false_discovery_control(tested))
    assert np.isnan(table.loc["g20"]).all()


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
def test_sparse_and_dense_give_the_same_and_sparse_stays_so(fated, kind, monkeypatch):
    tl.driver_genes(fated, within="time")
    dense = fated.varm["driver_genes"]
    fated.X = kind(fated.X)
    full = kind.toarray
    monkeypatch.setattr(kind, "toarray", lambda m, *a, **k: _narrow(m, full(m, *a, **k)))
    monkeypatch.setattr(kind, "todense", _narrow)
    monkeypatch.setattr(_genes, "_ROWS", 64)
    tl.driver_genes(fated, within="time")
    np.testing.assert_allclose(fated.varm["driver_genes"], dense, atol=1e-12)


def _narrow(matrix, dense=None):
    """Refuse to make anything as wide as all genes and long as a block of cells dense."""
    assert matrix.shape != (64, 40), "densified"
    assert matrix.shape != (300, 40), "densified"
    return dense


def test_null_p_values_are_uniform(rng):
    adata = AnnData(sparse.random(400, 1000, 0.1, "csr", np.float32, random_state=3))
    fate = pd.DataFrame({"A": rng.uniform(size=400)}, index=adata.obs_names)
    adata.obsm["fate_probabilities"] = fate
    tl.driver_genes(adata)
    table = get.driver_genes_df(adata, "A")
    assert stats.kstest(table["pval"], "uniform").pvalue > 0.01
    assert (table["qval"] < 0.05).sum() <= 1
    assert (table["pval"] < 0.05).mean() == pytest.approx(0.05, abs=0.02)


def test_the_table_of_all_fates_holds_that_of_each(fated):
    tl.driver_genes(fated)
    table = get.driver_genes_df(fated)
    assert table["fate"].unique().tolist() == list(fated.obsm["fate_probabilities"])
    for name, rows in table.groupby("fate"):
        pd.testing.assert_frame_equal(rows.drop(columns="fate"), get.driver_genes_df(fated, name))


def test_within_times_takes_out_what_time_alone_does(fated, rng):
    time = fated.obs["time"].to_numpy()
    late = fated.obsm["fate_probabilities"]
    late["A"], late["B"] = late["A"] / 2 + time / 4, late["B"] / 2 - time / 4
    fated.X[:, 7] = (time + 0.3 * rng.normal(size=len(time))).astype(np.float32)
    tl.driver_genes(fated)
    assert fated.varm["driver_genes"].loc["g7", "A_corr"] > 0.6
    tl.driver_genes(fated, within="time")
    table = fated.varm["driver_genes"]
    assert table.loc["g7", "A_qval"] > 0.05
    assert table["A_corr"].idxmax() == "g5"
    # the same as residuals of a regression on the times, with their degrees of freedom
    used = np.isfinite(late["A"].to_numpy())
    design = pd.get_dummies(time[used]).to_numpy(dtype=float)
    out = np.eye(used.sum()) - design @ np.linalg.pinv(design)
    r = np.corrcoef(out @ fated.X[used, 5], out @ late["A"].to_numpy()[used])[0, 1]
    assert table.loc["g5", "A_corr"] == pytest.approx(r, abs=1e-6)


def test_chosen_cells_genes_and_fates(fated):
    tl.driver_genes(fated, "B", groupby="time", groups=[0.0], genes=["g9", "g5"])
    table = fated.varm["driver_genes"]
    assert list(table.columns) == [f"B_{k}" for k in KINDS]
    assert list(table.index[table["B_corr"].notna()]) == ["g5", "g9"]
    p = fated.obsm["fate_probabilities"]["B"][:100]
    assert table.loc["g9", "B_corr"] == pytest.approx(np.corrcoef(fated.X[:100, 9], p)[0, 1])
    assert get.driver_genes_df(fated, "B").index[0] == "g9"


def test_survives_a_file(fated, tmp_path):
    tl.driver_genes(fated)
    fated.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(
        back.varm["driver_genes"], fated.varm["driver_genes"], check_names=False
    )
    tl.driver_genes(back)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"fates": "C"}, KeyError, "Unknown fate 'C'"),
        ({"fates": []}, ValueError, "at least one fate"),
        ({"key": "other"}, KeyError, "tl.fate_probabilities"),
        ({"layer": "log"}, KeyError, "Unknown layer"),
        ({"genes": ["xx"]}, KeyError, "Unknown gene"),
        ({"groupby": "time"}, ValueError, "both or neither"),
        ({"within": "day"}, KeyError, "day"),
        ({"confidence": 95}, ValueError, "between 0 and 1"),
        ({"genes": ["g20"]}, ValueError, "No correlation is defined"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(fated, arguments, error, says):
    with pytest.raises(error, match=says):
        tl.driver_genes(fated, **arguments)
    assert "driver_genes" not in fated.varm


def test_too_few_cells_and_missing_values_are_refused(fated):
    fated.obs["few"] = pd.Categorical(["in"] * 3 + ["out"] * 297)
    with pytest.raises(ValueError, match="Found 3 cells"):
        tl.driver_genes(fated, groupby="few", groups=["in"])
    fated.X[4, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        tl.driver_genes(fated)
    fated.obsm["fate_probabilities"] = fated.obsm["fate_probabilities"].to_numpy()
    with pytest.raises(ValueError, match="named column"):
        tl.driver_genes(fated)


def test_a_fate_that_does_not_vary_is_said(fated, caplog):
    fated.obsm["fate_probabilities"]["C"] = np.where(
        fated.obsm["fate_probabilities"]["A"].isna(), np.nan, 0.0
    )
    tl.driver_genes(fated)
    assert "C do not vary" in caplog.text
    assert fated.varm["driver_genes"]["C_corr"].isna().all()
    assert get.driver_genes_df(fated, "C").empty


# with the fates that the tool computes


@pytest.fixture(scope="module")
def branching():
    """Return cells of a branching process; genes mix its coordinates, a few are noise."""
    cells = datasets.branching(400, 5, n_continue=32, random_state=3)
    weights = np.random.default_rng(0).normal(size=(cells.n_vars, 30))
    genes = cells.X @ weights.astype(np.float32)
    genes[:, 25:] = np.random.default_rng(1).normal(size=(cells.n_obs, 5))
    population = cells.uns["truth"]["population"]
    adata = AnnData(
        genes,
        obs=cells.obs[["time", "cell_type"]],
        var=pd.DataFrame(index=[f"g{i}" for i in range(30)]),
        obsm={"X_sim": cells.obsm["X_sim"], "fate_true": cells.obsm["fate_true"]},
    )
    adata.uns["mass"] = dict(zip(population["time"], population["size"], strict=True))
    return adata


def fates_of(branching, **options):
    adata = branching.copy()
    mass = adata.uns.pop("mass")
    options = {"source": "transport", "use_rep": "X_sim", "mass": mass} | options
    tl.fate_probabilities(adata, "cell_type", **options)
    return adata


def test_genes_of_computed_fates_are_those_of_the_true_ones(branching):
    adata = fates_of(branching)
    where = {"groupby": "time", "groups": [0.0, 1.0], "within": "time"}
    tl.driver_genes(adata, **where)
    found = adata.varm["driver_genes"]
    assert list(found.columns) == [f"{f}_{k}" for f in "ABC" for k in KINDS]
    truth = pd.DataFrame(adata.obsm["fate_true"], index=adata.obs_names, columns=list("ABC"))
    adata.obsm["true_fate_probabilities"] = truth
    tl.driver_genes(adata, key="true", **where)
    expected = adata.varm["true_driver_genes"]
    for fate in "ABC":
        both = found[f"{fate}_corr"], expected[f"{fate}_corr"]
        assert np.corrcoef(*both)[0, 1] > 0.9
        # genes of noise are not called, and the best one is among the best in truth
        assert (found[f"{fate}_qval"][25:] > 0.01).all()
        assert both[0].idxmax() in both[1].nlargest(5).index


def by_scipy(adata, column, used, gene="g0"):
    values = adata.obsm["fate_probabilities"][column].to_numpy()[used]
    return stats.pearsonr(adata[used, gene].X.ravel().astype(float), values).statistic


def test_none_of_these_is_no_fate_unless_it_is_asked_for(branching):
    adata = fates_of(branching, terminal_states=["A", "B"], none=True)
    assert list(adata.obsm["fate_probabilities"]) == ["A", "B", "none of these"]
    tl.driver_genes(adata)
    assert list(adata.varm["driver_genes"]) == [f"{f}_{k}" for f in "AB" for k in KINDS]
    everyone = np.ones(adata.n_obs, dtype=bool)
    assert get.driver_genes_df(adata, "A").loc["g0", "corr"] == pytest.approx(
        by_scipy(adata, "A", everyone)
    )
    tl.driver_genes(adata, ["B", "none of these"])
    found = adata.varm["driver_genes"]
    assert list(found) == [f"{f}_{k}" for f in ("B", "none of these") for k in KINDS]
    none = found.loc["g0", "none of these_corr"]
    assert none == pytest.approx(by_scipy(adata, "none of these", everyone))
    assert get.driver_genes_df(adata, "none of these")["corr"].is_monotonic_decreasing


def test_cells_later_than_all_fates_are_left_out(branching):
    adata = branching.copy()
    adata.obs["kind"] = adata.obs["cell_type"].where(adata.obs["time"] == 3)
    mass = adata.uns.pop("mass")
    tl.fate_probabilities(
        adata,
        "kind",
        terminal_states=["A", "B"],
        none=True,
        source="transport",
        use_rep="X_sim",
        mass=mass,
    )
    known = adata.obsm["fate_probabilities"]["A"].notna().to_numpy()
    np.testing.assert_array_equal(known, adata.obs["time"] <= 3)
    tl.driver_genes(adata)
    assert adata.varm["driver_genes"].loc["g0", "A_corr"] == pytest.approx(
        by_scipy(adata, "A", known)
    )


# growth


def test_growth_gradient_is_that_of_the_model(trained):
    tl.growth_genes(trained)
    model = get.dynamics(trained)
    x, time = trained.obsm["X_genes"].astype(float), trained.obs["time"].to_numpy(dtype=float)
    step = 1e-2
    slopes = np.stack(
        [
            (model.growth(time, x + step * e) - model.growth(time, x - step * e)) / (2 * step)
            for e in np.eye(2)
        ],
        axis=1,
    )
    table = trained.varm["growth_genes"]
    scale = np.abs(slopes).max()
    np.testing.assert_allclose(table["gradient"], slopes.mean(0), atol=1e-3 * scale)
    np.testing.assert_allclose(table["gradient_std"], slopes.std(0), atol=1e-2 * scale)
    r = np.corrcoef(trained.X[:, 1], trained.obs["growth"])[0, 1]
    assert table.loc["x2", "corr"] == pytest.approx(r, abs=1e-5)


def test_growth_gradient_through_loadings(trained):
    tl.growth_genes(trained)
    direct = trained.varm["growth_genes"]["gradient"].to_numpy()
    # the same two coordinates as a representation of four genes, not orthonormal
    weights = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    genes = AnnData(
        trained.obsm["X_genes"] @ weights.T.astype(np.float32),
        obs=trained.obs,
        var=pd.DataFrame(index=list("abcd")),
        obsm={"X_genes": trained.obsm["X_genes"]},
        uns=trained.uns,
        varm={"weights": weights},
    )
    tl.growth_genes(genes, loadings="weights")
    got = genes.varm["growth_genes"]["gradient"]
    # the representation moves by 1/5 and 2/5 per unit of the two genes that share it
    np.testing.assert_allclose(
        got, [direct[0] / 5, 2 * direct[0] / 5, direct[1], 0.0], rtol=1e-5, atol=1e-9
    )
    assert np.isnan(genes.varm["growth_genes"].loc["d", "corr"])


def test_growth_without_loadings_or_without_growth(trained, caplog):
    trained.X[:, 0] += trained.X[:, 1]
    tl.growth_genes(trained)
    assert "no gradient" in caplog.text
    assert trained.varm["growth_genes"]["gradient"].isna().all()
    assert trained.varm["growth_genes"]["corr"].notna().all()
    tl.fit_dynamics(trained, "otcfm", use_rep="X_genes", steps=5, progress=False, key_added="ot")
    with pytest.raises(ValueError, match="learns no growth"):
        tl.growth_genes(trained, key="ot")
    assert "ot_growth_genes" not in trained.varm


def test_growth_genes_ranked(trained):
    with pytest.raises(KeyError, match="growth_genes"):
        get.growth_genes_df(trained)
    tl.growth_genes(trained, genes=["x2"])
    table = get.growth_genes_df(trained, by="gradient")
    assert list(table.index) == ["x2"]
    with pytest.raises(ValueError, match="Unknown by"):
        get.growth_genes_df(trained, by="pval")
