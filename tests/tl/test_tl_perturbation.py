"""Fates of perturbed cells beside those of the same cells unperturbed."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import stats

import scruot
from scruot._keys import fate_slots
from scruot.tl import perturbation
from scruot.tl._paired import paired_rows
from tests.tl._fields import store_field

TIMES = (0.0, 1.0, 2.0)
N = 1000
UP, DOWN = 0.5, -0.2
# the second coordinate is doubled away from the fork in every unit of time
STEEP = np.log(4)


def make_fork(seed=0):
    """Return cells that move on along the first axis and leave a fork along the second."""
    rng = np.random.default_rng(seed)
    x, side = [], []
    for t in TIMES:
        second = rng.normal(size=N) * np.exp(STEEP * t)
        x.append(np.column_stack([t + 0.1 * rng.normal(size=N), second]))
        side.append(np.where(second > 0, "up", "down"))
    x = np.concatenate(x)
    obs = pd.DataFrame({"time": np.repeat(TIMES, N), "side": pd.Categorical(np.concatenate(side))})
    obs.index = [f"cell{i}" for i in range(len(x))]
    return anndata.AnnData(obs=obs, obsm={"X_pca": x.astype(np.float32)})


def velocity(x):
    moved = x * 0
    moved[:, 0] = 1.0
    moved[:, 1] = STEEP * x[:, 1]
    return moved


def growth(x):
    up = (x[:, 1] > 0).to(x.dtype)
    return up * UP + (1 - up) * DOWN


@pytest.fixture
def fork(monkeypatch):
    return store_field(make_fork(), monkeypatch, velocity, growth)


def row(table, group, name="shift"):
    return table[(table["group"] == group) & (table["perturbation"] == name)].iloc[0]


def truth(adata, shift):
    """Return the masses of both groups at the last time: cells never cross the fork."""
    up = adata.obsm["X_pca"][(adata.obs["time"] == 0).to_numpy(), 1] + shift > 0
    return {"up": up.mean() * np.exp(2 * UP), "down": (~up).mean() * np.exp(2 * DOWN)}


@pytest.mark.parametrize("shift", [0.5, -0.7])
def test_a_push_across_the_fork_has_its_known_effect(fork, shift):
    table = perturbation(fork, np.array([0, shift]), groupby="side")
    before, after = truth(fork, 0), truth(fork, shift)
    for name in ("up", "down"):
        found = row(table, name)
        assert found["mass"] == pytest.approx(before[name], rel=0.02)
        assert found["mass_perturbed"] == pytest.approx(after[name], rel=0.02)
        change = after[name] / sum(after.values()) - before[name] / sum(before.values())
        assert found["share_change"] == pytest.approx(change, abs=0.01)
        assert found["mass_log2fc"] == pytest.approx(np.log2(after[name] / before[name]), abs=0.04)
        assert found["qval"] < 1e-6
        assert np.sign(found["share_change"]) == np.sign(shift if name == "up" else -shift)
    # what the law of normal start cells says: a share of Phi(shift) goes up
    expected = stats.norm.cdf(shift) * np.exp(2 * UP)
    error = np.exp(2 * UP) * 0.5 / np.sqrt(N)
    assert row(table, "up")["mass_perturbed"] == pytest.approx(expected, abs=4 * error)


def test_a_push_along_the_fork_changes_nothing(fork):
    table = perturbation(fork, np.array([0.1, 0.0]), groupby="side")
    assert np.abs(table["share_change"]).max() < 0.01
    assert (table["pval"] > 0.05).all()
    same = perturbation(fork, np.zeros(2), groupby="side")
    assert (same["share_change"] == 0).all()
    assert (same["pval"] == 1).all()
    assert (same["mass_pval"] == 1).all()


def test_noise_is_common_to_both(monkeypatch):
    adata = store_field(make_fork(), monkeypatch, velocity, growth, sigma=0.5)
    same = perturbation(adata, np.zeros(2), groupby="side", n_simulations=3)
    assert (same["share_change"] == 0).all()
    small = perturbation(adata, np.array([0, 0.05]), groupby="side", n_simulations=5)
    up = row(small, "up")
    # two runs with noise of their own would differ by as much as this for no reason
    alone = np.sqrt(2 * 0.25 / N)
    assert up["share_change_se"] < alone / 3
    assert up["share_change"] > 3 * up["share_change_se"]


def test_the_standard_error_is_the_spread_over_samples(fork):
    tables = [
        perturbation(fork, np.array([0, 0.4]), groupby="side", n_cells=80, step=0.5, random_state=s)
        for s in range(40)
    ]
    for column in ("share_change", "mass_log2fc"):
        values = np.array([row(t, "up")[column] for t in tables])
        stated = np.mean([row(t, "up")[f"{column}_se"] for t in tables])
        # 80 of 1000 without replacement
        assert values.std() == pytest.approx(stated * np.sqrt(0.92), rel=0.3)


def test_p_values_are_uniform_where_the_average_effect_is_none():
    rng = np.random.default_rng(1)
    pvals = []
    for _ in range(1000):
        before = rng.exponential(size=(50, 2)) / 50
        after = before.copy()
        moved = rng.normal(size=50) * before.min(axis=1) * 0.3
        after[:, 0] += moved
        after[:, 1] -= moved
        pvals.append(paired_rows(["a", "b"], before, after)[0]["pval"])
    rejected = np.mean(np.array(pvals) < 0.05)
    assert 0.03 < rejected < 0.075


def test_genes_act_through_loadings_and_several_at_once(monkeypatch):
    adata = make_fork()
    mixing = np.array([[1.0, 0, 0.3, 0], [0, 1.0, 0.3, 0]])
    cells = anndata.AnnData(
        (adata.obsm["X_pca"] @ mixing).astype(np.float32),
        adata.obs,
        pd.DataFrame(index=["along", "across", "both", "none"]),
    )
    sc.pp.pca(cells, n_comps=2)
    loadings = cells.varm["PCs"].copy()
    centre = cells.X.mean(axis=0)
    # from genes to the plane of the fork
    back = np.linalg.pinv(mixing)

    def to_plane(x):
        return (x @ x.new_tensor(loadings.T) + x.new_tensor(centre)) @ x.new_tensor(back)

    def pushed(x):
        plane = to_plane(x)
        return velocity(plane) @ x.new_tensor(mixing @ loadings)

    store_field(cells, monkeypatch, pushed, lambda x: growth(to_plane(x)))
    asked = {"push": {"across": 1.0}, "pull": {"across": -1.0}, "idle": {"along": 0.05}}
    table = perturbation(cells, asked, groupby="side")
    assert list(dict.fromkeys(table["perturbation"])) == ["push", "pull", "idle"]
    assert row(table, "up", "push")["share_change"] > 0.1
    assert row(table, "up", "pull")["share_change"] < -0.1
    assert abs(row(table, "up", "idle")["share_change"]) < 0.01
    alone = perturbation(cells, {"across": 1.0}, groupby="side")
    assert set(alone["perturbation"]) == {"across +1"}
    np.testing.assert_allclose(
        alone["share_change"], table.loc[table["perturbation"] == "push", "share_change"]
    )
    np.testing.assert_allclose(
        cells.uns["perturbation"]["shift"]["across +1"], loadings[1], atol=1e-6
    )


@pytest.fixture
def with_fates(fork):
    """Return the fork with the true fates of all cells."""
    names = fate_slots(None)
    up = (fork.obsm["X_pca"][:, 1] > 0).astype(float)
    rest = 2.0 - fork.obs["time"].to_numpy()
    fork.obsm[names.probabilities] = pd.DataFrame({"up": up, "down": 1 - up}, index=fork.obs_names)
    fork.obs[names.descendants] = np.exp(rest * np.where(up > 0, UP, DOWN))
    fork.obs[names.fate] = pd.Categorical(np.where(up > 0, "up", "down"), ["up", "down"])
    return fork


@pytest.mark.parametrize("time", [0, 1])
def test_stored_fates_are_read(with_fates, time):
    if time == 1:  # no cell of the start has a fate, so they are read one interval on
        first = with_fates.obs["time"].to_numpy() == 0
        with_fates.obsm[fate_slots(None).probabilities].loc[first] = np.nan
    table = perturbation(with_fates, np.array([0, 0.5]))
    assert with_fates.uns["perturbation"]["end_time"] == time
    before, after = truth(with_fates, 0), truth(with_fates, 0.5)
    for name in ("up", "down"):
        found = row(table, name)
        assert found["mass"] == pytest.approx(before[name], rel=0.03)
        assert found["mass_perturbed"] == pytest.approx(after[name], rel=0.03)
    ax = scruot.pl.perturbation(with_fates, show=False)
    assert ax.has_data()


def test_noise_is_simulated_to_where_fates_are_read(monkeypatch):
    # cells that forget a shift by half before the next time, though their noise hides that
    def forget(x):
        moved = x * 0
        moved[:, 1] = -np.log(2) * x[:, 1]
        return moved

    adata = store_field(make_fork(), monkeypatch, forget, lambda x: x[:, 0] * 0, sigma=0.2)
    p = np.clip(0.5 + 0.1 * adata.obsm["X_pca"][:, 1], 0, 1)
    names = fate_slots(None)
    adata.obsm[names.probabilities] = pd.DataFrame({"up": p, "down": 1 - p}, index=adata.obs_names)
    adata.obs[names.descendants] = 1.0
    there = perturbation(adata, np.array([0, 0.4]))
    assert adata.uns["perturbation"]["end_time"] == 1
    assert row(there, "up")["share_change"] == pytest.approx(0.02, abs=0.008)
    here = perturbation(adata, np.array([0, 0.4]), stochastic=False)
    assert adata.uns["perturbation"]["end_time"] == 0
    assert row(here, "up")["share_change"] == pytest.approx(0.04, abs=0.008)


def test_cells_without_a_fate_are_not_read(with_fates):
    names = fate_slots(None)
    time = with_fates.obs["time"].to_numpy()
    part = np.arange(len(time)) % 3 == 0
    with_fates.obsm[names.probabilities].loc[part] = np.nan
    table = perturbation(with_fates, np.array([0, 0.5]))
    assert np.isfinite(table["share_change"]).all()
    with_fates.obsm[names.probabilities].loc[time < 2] = np.nan
    with pytest.raises(ValueError, match="has a fate"):
        perturbation(with_fates, np.array([0, 0.5]))


def test_the_table_is_written_and_survives_a_file(fork, tmp_path):
    fork.uns["side_colors"] = ["#000000", "#ff0000"]
    table = perturbation(fork, {"a": np.array([0, 1.0]), "b": np.ones((N, 2))}, groupby="side")
    pd.testing.assert_frame_equal(fork.uns["perturbation"]["table"], table)
    fork.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert scruot.pl.perturbation(back, value="mass", show=False).has_data()
    np.testing.assert_allclose(back.uns["perturbation"]["shift"]["b"], [1, 1])
    copied = perturbation(fork, np.ones(2), groupby="side", key_added="mine", copy=True)
    assert "mine_perturbation" in copied.uns
    assert "mine_perturbation" not in fork.uns
    fork.uns["second"] = fork.uns["dynamics"]
    perturbation(fork, np.ones(2), groupby="side", key="second")
    assert list(fork.uns["perturbation"]["shift"]) == ["a", "b"]
    assert fork.uns["second_perturbation"]["key"] == "second"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"perturb": {"gene": 1.0}}, KeyError, "0 genes|loadings"),
        ({"perturb": np.zeros(3)}, ValueError, "expected"),
        ({"perturb": {"a": np.zeros(2), "b": 1.0}}, ValueError, "beside perturbations"),
        ({"perturb": {"a/b": np.zeros(2)}}, ValueError, "'/'"),
        ({"groupby": None}, KeyError, "fate_probabilities"),
        ({"groupby": "sid"}, KeyError, "Did you mean 'side'"),
        ({"start": ["cell2999"]}, ValueError, "last fitted one"),
        ({"n_simulations": 0}, ValueError, "n_simulations=0"),
        ({"key": "other"}, KeyError, "No fitted dynamics"),
        ({"stochastic": True}, ValueError, "deterministic"),
    ],
)
def test_what_cannot_be_compared_is_refused(fork, arguments, error, message):
    call = {"perturb": np.ones(2), "groupby": "side", **arguments}
    with pytest.raises(error, match=message):
        perturbation(fork, call.pop("perturb"), **call)
    assert "perturbation" not in fork.uns


def test_a_perturbation_beyond_the_data_is_told_of_by_name(fork, caplog):
    perturbation(fork, {"near": np.array([0.01, 0.0])}, groupby="side")
    assert "rests on no data" not in caplog.text
    perturbation(fork, {"far": np.array([50.0, 0.0])}, groupby="side")
    assert "far: 100 %" in caplog.text
    assert "rests on no data" in caplog.text
