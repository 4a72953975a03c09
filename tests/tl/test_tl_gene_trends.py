"""Genes along time, for each fate."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scruot
from scruot._keys import fate_slots
from scruot.tl import gene_trends, simulate
from scruot.tl._smooth import smooth

GENES = ["rises", "waves", "parts", "rests"]


def wave(t):
    return np.sin(2 * t) + 0.3 * t


def make_cells(n=800, seed=0):
    """Return cells of a continuous time with two fates that one gene tells apart."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 4, n)
    right = rng.random(n) < 0.4
    x = np.column_stack([0.5 * t, wave(t), np.where(right, 1.0, -1.0) * t, np.full(n, 2.0)])
    x[:, :3] += 0.3 * rng.normal(size=(n, 3))
    obs = pd.DataFrame({"clock": t}, index=[f"cell{i}" for i in range(n)])
    adata = anndata.AnnData(x.astype(np.float32), obs, pd.DataFrame(index=GENES))
    names = fate_slots(None)
    adata.obsm[names.probabilities] = pd.DataFrame(
        {"left": (~right).astype(float), "right": right.astype(float)}, index=adata.obs_names
    )
    adata.obs[names.fate] = pd.Categorical(np.where(right, "right", "left"))
    return adata


def curve(table, gene, lineage):
    return table[(table["gene"] == gene) & (table["lineage"] == lineage)]


def test_a_straight_line_is_returned_as_it_is():
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 1, 100)
    at = np.linspace(0.05, 0.95, 7)
    y = np.column_stack([2 + 3 * t, np.full(100, 4.0)])
    found = smooth(t, y, rng.uniform(0.1, 2, 100), at, n_knots=6)
    np.testing.assert_allclose(
        found.mean, np.column_stack([2 + 3 * at, np.full(7, 4.0)]), rtol=1e-6
    )
    assert found.se.max() < 1e-6


def test_weights_are_copies_of_cells():
    rng = np.random.default_rng(1)
    t = rng.uniform(0, 4, 300)
    y = wave(t)[:, None] + 0.3 * rng.normal(size=(300, 1))
    copies = rng.integers(1, 4, 300)
    at = np.linspace(0.3, 3.7, 9)
    weighted = smooth(t, y, copies.astype(float), at, n_knots=8)
    for_each = np.repeat(np.arange(300), copies)
    repeated = smooth(t[for_each], y[for_each], np.ones(len(for_each)), at, n_knots=8)
    np.testing.assert_allclose(weighted.mean, repeated.mean, atol=0.12)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(2)
    at = np.linspace(0.3, 3.7, 20)
    covered = []
    for _ in range(60):
        t = rng.uniform(0, 4, 300)
        # the noise grows along time, and counts have a noise of their own
        y = np.column_stack(
            [wave(t) + (0.2 + 0.2 * t) * rng.normal(size=300), rng.poisson(np.exp(wave(t)))]
        )
        weight = rng.beta(0.5, 0.5, 300) + 1e-3
        found = smooth(t, y, weight, at, n_knots=8)
        truth = np.column_stack([wave(at), np.exp(wave(at))])
        covered.append(np.abs(found.mean - truth) < 1.96 * found.se)
    share = np.mean(covered, axis=(0, 1))
    assert (share > 0.88).all()
    assert (share < 0.985).all()


@pytest.mark.parametrize("as_sparse", [False, True])
def test_each_fate_has_its_own_trend(as_sparse):
    adata = make_cells()
    if as_sparse:
        adata.X = sparse.csr_matrix(adata.X)
    table = gene_trends(adata, GENES, time="clock")
    for lineage, sign in (("left", -1), ("right", 1)):
        parts = curve(table, "parts", lineage)
        np.testing.assert_allclose(parts["mean"], sign * parts["time"], atol=0.2)
        waves = curve(table, "waves", lineage)
        assert np.abs(waves["mean"] - wave(waves["time"])).mean() < 0.1
        assert ((waves["lower"] < waves["mean"]) & (waves["mean"] < waves["upper"])).all()
        np.testing.assert_allclose(curve(table, "rests", lineage)["mean"], 2, atol=1e-4)
    share = adata.obsm["fate_probabilities"]["right"].sum()
    assert curve(table, "rises", "right")["n_effective"].iloc[0] == pytest.approx(share)


def test_probabilities_between_zero_and_one_are_weights():
    adata = make_cells()
    table = adata.obsm["fate_probabilities"]
    table["left"], table["right"] = 0.5, 0.5
    table.iloc[:50] = np.nan
    found = gene_trends(adata, ["parts"], time="clock")
    left, right = (curve(found, "parts", name)["mean"].to_numpy() for name in ("left", "right"))
    np.testing.assert_allclose(left, right)
    del adata.obsm["fate_probabilities"]
    whole = gene_trends(adata[50:].copy(), ["parts"], time="clock")
    assert set(whole["lineage"]) == {"all"}
    np.testing.assert_allclose(whole["mean"], left, atol=1e-6)


def test_the_continuous_time_of_the_model_is_the_default(drifting):
    x = drifting.obsm["X_pca"]
    var = pd.DataFrame(index=["first", "second"])
    drifting = anndata.AnnData(x.copy(), drifting.obs, var, drifting.uns, obsm={"X_pca": x})
    days = gene_trends(drifting, ["first"])
    assert drifting.uns["gene_trends"]["time"] == "time"
    assert days["time"].max() == 3
    scruot.tl.pseudotime_from_dynamics(drifting)
    gene_trends(drifting, ["first"], key_added="mine")
    assert drifting.uns["mine_gene_trends"]["time"] == "dynamics_pseudotime"
    drifting.uns["second"] = drifting.uns["dynamics"]
    gene_trends(drifting, ["second"], key="second")
    assert drifting.uns["second_gene_trends"]["table"]["gene"].unique().tolist() == ["second"]
    assert drifting.uns["gene_trends"]["table"]["gene"].unique().tolist() == ["first"]


@pytest.fixture
def simulated(unfitted, fit_constant):
    x = unfitted.obsm["X_pca"]
    adata = anndata.AnnData(
        x.copy(), unfitted.obs, pd.DataFrame(index=["first", "second"]), obsm={"X_pca": x}
    )
    fit_constant(adata)
    adata.varm["PCs"] = np.eye(2)
    return adata


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_simulated_trends_are_those_of_ancestors(simulated, law, direction):
    run = simulate(
        simulated,
        np.linspace(0, 3, 7),
        genes=["first", "second"],
        groupby="side",
        direction=direction,
    )
    table = gene_trends(simulated, ["second"], simulation=run)
    end = "fate" if direction == "forward" else "origin"
    for lineage in ("up", "down"):
        mine = run[(run.obs[end] == lineage).to_numpy()]
        expected = [
            mine.X[(mine.obs["time"] == t).to_numpy(), 1].mean() for t in np.linspace(0, 3, 7)
        ]
        found = curve(table, "second", lineage)
        np.testing.assert_allclose(found["time"], np.linspace(0, 3, 7), atol=1e-6)
        np.testing.assert_allclose(found["mean"], expected, atol=1e-5)
        slope = np.polyfit(found["time"], found["mean"], 1)[0]
        assert slope == pytest.approx(law.velocity[1], rel=1e-3)
        n = (mine.obs["time"] == 0).sum()
        spread = mine.X[(mine.obs["time"] == 0).to_numpy(), 1].std(ddof=1) / np.sqrt(n)
        assert found["se"].iloc[0] == pytest.approx(spread, rel=1e-4)


def test_simulated_trends_count_descendants(simulated):
    run = simulate(simulated, [0, 3], genes=["second"], n_cells=10)
    grown = run.obs["trajectory"].to_numpy() < 3
    run.obs.loc[grown & (run.obs["time"] == 3).to_numpy(), "weight"] *= 100
    table = gene_trends(simulated, ["second"], simulation=run)
    assert set(table["lineage"]) == {"all"}
    late = (run.obs["time"] == 3).to_numpy()
    weight = run.obs["weight"].to_numpy()[late]
    start = run.X[(run.obs["time"] == 0).to_numpy(), 0]
    assert table["mean"].iloc[0] == pytest.approx(np.average(start, weights=weight), rel=1e-5)


def test_the_table_is_written_and_survives_a_file(tmp_path):
    adata = make_cells()
    table = gene_trends(adata, ["waves", "parts"], time="clock", lineages=["right"])
    assert set(table["lineage"]) == {"right"}
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_allclose(back.uns["gene_trends"]["table"]["mean"], table["mean"])
    axes = scruot.pl.gene_trends(back, show=False)
    assert [ax.get_title() for ax in axes] == ["waves", "parts"]
    copied = gene_trends(adata, ["waves"], time="clock", key_added="mine", copy=True)
    assert "mine_gene_trends" in copied.uns
    assert "mine_gene_trends" not in adata.uns


def test_a_fate_of_few_cells_has_no_trend(caplog):
    adata = make_cells()
    adata.obsm["fate_probabilities"]["right"] = 1e-4
    table = gene_trends(adata, ["waves"], time="clock")
    assert set(table["lineage"]) == {"left"}
    assert "no trend" in caplog.text
    with pytest.raises(ValueError, match="expected more cells"):
        gene_trends(adata, ["waves"], time="clock", lineages=["right"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"genes": ["wave"]}, KeyError, "Did you mean 'waves'"),
        ({"time": "clok"}, KeyError, "Did you mean 'clock'"),
        ({"time": "fate"}, ValueError, "expected numbers"),
        ({"time": None}, KeyError, "No fitted dynamics"),
        ({"lineages": ["rigt"]}, ValueError, "Did you mean 'right'"),
        ({"fates_key": "other"}, KeyError, "fate_probabilities"),
        ({"layer": "log"}, KeyError, "layer"),
        ({"n_points": 1}, ValueError, "n_points=1"),
        ({"n_knots": 0}, ValueError, "n_knots=0"),
        ({"simulation": anndata.AnnData(np.zeros((2, 1)))}, KeyError, "without genes"),
    ],
)
def test_what_has_no_trend_is_refused(arguments, error, message):
    adata = make_cells(60)
    call = {"genes": ["waves"], "time": "clock", **arguments}
    with pytest.raises(error, match=message):
        gene_trends(adata, call.pop("genes"), **call)
    assert "gene_trends" not in adata.uns
