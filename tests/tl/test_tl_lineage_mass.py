"""Populations of groups over time."""

import anndata
import numpy as np
import pandas as pd
import pytest

import scruot
from scruot.tl import lineage_mass
from tests.tl._fields import store_field

TIMES = (0.0, 1.0, 3.0)
RATES = {"left": 0.5, "right": -0.3}


def make_islands(n_left=60, n_right=100):
    """Return two islands that stay in place; their populations are given, not their counts."""
    rng = np.random.default_rng(5)
    x, time, island, mass = [], [], [], []
    for t in TIMES:
        for name, n, centre in (("left", n_left, -5.0), ("right", n_right, 5.0)):
            x.append(rng.normal(size=(n, 2)) * 0.5 + [centre, 0])
            time += [t] * n
            island += [name] * n
            mass += [np.exp(RATES[name] * t)] * n
    obs = pd.DataFrame({"time": time, "island": pd.Categorical(island), "size": mass})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return anndata.AnnData(obs=obs, obsm={"X_pca": np.concatenate(x).astype(np.float32)})


def rates(x):
    left = (x[:, 0] < 0).to(x.dtype)
    return left * RATES["left"] + (1 - left) * RATES["right"]


@pytest.fixture
def islands(monkeypatch):
    """Return the islands with a model whose rates are those of the islands."""
    return store_field(make_islands(), monkeypatch, lambda x: x * 0, rates, mass="size")


def curve(table, group, column="mass"):
    rows = table[table["group"] == group].set_index("time")
    return rows[column]


def test_islands_grow_at_their_own_rates(islands):
    table = lineage_mass(islands, "island")
    times = curve(table, "left").index.to_numpy()
    np.testing.assert_allclose(times, [*np.arange(0, 1, 0.2), *np.arange(1, 3.1, 0.4)], atol=1e-9)
    for name, part in (("left", 60 / 160), ("right", 100 / 160)):
        expected = part * np.exp(RATES[name] * times)
        np.testing.assert_allclose(curve(table, name), expected, rtol=1e-4)
        observed = curve(table, name, "mass_observed")
        assert observed.dropna().index.tolist() == list(TIMES)
        np.testing.assert_allclose(
            observed.dropna(), part * np.exp(RATES[name] * np.array(TIMES)), rtol=1e-6
        )
    total = table.groupby("time")["share"].sum()
    np.testing.assert_allclose(total, 1)


def test_the_standard_error_is_that_of_the_share_of_start_cells(islands):
    table = lineage_mass(islands, "island", times=[2.0])
    p, n = 60 / 160, 160
    binomial = np.sqrt(p * (1 - p) / (n - 1))
    # left mass is share times e^(2 r), so that is its error, too
    expected = binomial * np.exp(2 * RATES["left"])
    assert curve(table, "left", "mass_se").loc[2] == pytest.approx(expected, rel=1e-3)
    assert np.isnan(curve(table, "left", "mass_observed").loc[2])
    seen = lineage_mass(islands, "island", times=[0.0, 1.0])
    assert curve(seen, "left", "mass_observed_se").loc[0] == pytest.approx(binomial, rel=1e-6)


def test_the_standard_error_covers(islands):
    whole = curve(lineage_mass(islands, "island", times=[1.0]), "left").loc[1]
    tables = [
        lineage_mass(islands, "island", times=[1.0], n_cells=40, random_state=s) for s in range(40)
    ]
    spread = np.std([curve(t, "left").loc[1] for t in tables])
    stated = np.mean([curve(t, "left", "mass_se").loc[1] for t in tables])
    # 40 of 160 cells, without replacement: sqrt(3/4) of the stated error
    assert spread == pytest.approx(stated * np.sqrt(0.75), rel=0.3)
    assert np.mean([curve(t, "left").loc[1] for t in tables]) == pytest.approx(whole, rel=0.1)


def test_moving_cells_keep_their_group(drifting, law):
    table = lineage_mass(drifting, "side", times=[0, 0.5, 1, 2, 3])
    for name in ("up", "down"):
        part = (drifting.obs["side"] == name)[drifting.obs["time"] == 0].mean()
        mass = curve(table, name)
        np.testing.assert_allclose(mass, part * np.exp(law.growth * mass.index), rtol=0.12)
    total = table.groupby("time")["mass"].sum()
    np.testing.assert_allclose(total, np.exp(law.growth * total.index), rtol=1e-4)


def test_unlabelled_cells_count_as_the_others(islands):
    rng = np.random.default_rng(0)
    whole = lineage_mass(islands, "island")
    islands.obs["island"] = islands.obs["island"].where(rng.random(islands.n_obs) < 0.6)
    table = lineage_mass(islands, "island")
    np.testing.assert_allclose(table["mass"], whole["mass"], rtol=1e-5)
    seen = table.dropna().groupby("time")["mass_observed"].sum()
    np.testing.assert_allclose(seen, whole.dropna().groupby("time")["mass_observed"].sum())


def test_the_table_has_the_name_of_its_fit(islands):
    lineage_mass(islands, "island", n_cells=40)
    first = islands.uns["lineage_mass"]
    islands.uns["second"] = islands.uns["dynamics"]
    lineage_mass(islands, "island", key="second", n_cells=30)
    assert islands.uns["lineage_mass"] is first
    assert islands.uns["second_lineage_mass"]["key"] == "second"
    assert scruot.pl.lineage_mass(islands, key="second", show=False).has_data()


def test_the_table_is_written_and_survives_a_file(islands, tmp_path):
    islands.uns["island_colors"] = ["#000000", "#ffffff"]
    table = lineage_mass(islands, "island", key_added="mine", n_cells=40)
    stored = islands.uns["mine_lineage_mass"]
    pd.testing.assert_frame_equal(stored["table"], table)
    assert stored["groupby"] == "island"
    islands.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    again = back.uns["mine_lineage_mass"]["table"]
    pd.testing.assert_frame_equal(
        again.astype({"group": object}).reset_index(drop=True), table, check_dtype=False
    )
    ax = scruot.pl.lineage_mass(back, key="mine", show=False)
    assert len(ax.lines) > 0
    copied = lineage_mass(islands, "island", copy=True)
    assert "lineage_mass" in copied.uns
    assert "lineage_mass" not in islands.uns


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"groupby": "iland"}, KeyError, "Did you mean 'island'"),
        ({"groupby": "size"}, ValueError, "expected groups"),
        ({"key": "other"}, KeyError, "No fitted dynamics"),
        ({"times": [-1.0, 2.0]}, ValueError, "start cells are at time 0"),
        ({"n_cells": 0}, ValueError, "n_cells=0"),
        ({"key_added": "a/b"}, ValueError, "without '/'"),
        ({"step": -1}, ValueError, "step=-1"),
    ],
)
def test_what_cannot_be_followed_is_refused(islands, arguments, error, message):
    before = set(islands.uns)
    with pytest.raises(error, match=message):
        lineage_mass(islands, **{"groupby": "island", **arguments})
    assert set(islands.uns) == before
