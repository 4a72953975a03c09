"""A continuous time of cells that run ahead of or behind their day."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import scruot
from scruot.tl import pseudotime_from_dynamics as pseudotime
from tests.tl._fields import store_field

TIMES = (0.0, 1.0, 2.0, 3.0)
AHEAD = 0.3


def make_asynchronous(path, *, n=300, d=2, noise=0.02, times=TIMES, lead=0.0, seed=0):
    """Return cells on a path, each at a time of its own around the day of its snapshot."""
    rng = np.random.default_rng(seed)
    day = np.repeat(times, n)
    own = day + lead + AHEAD * rng.normal(size=len(day))
    x = np.zeros((len(day), d))
    x[:, :2] = path(own)
    x += noise * rng.normal(size=x.shape)
    obs = pd.DataFrame({"time": day, "own": own}, index=[f"cell{i}" for i in range(len(day))])
    return anndata.AnnData(obs=obs, obsm={"X_pca": x.astype(np.float32)})


def line(t):
    return np.column_stack([2 * t, 0 * t])


def quickening(t):
    return np.column_stack([np.exp(0.5 * t), 0 * t])


def bend(t):
    return 2.5 * np.column_stack([np.cos(0.7 * t), np.sin(0.7 * t)])


def along_line(x):
    moved = x * 0
    moved[:, 0] = 2.0
    return moved


def along_quickening(x):
    moved = x * 0
    moved[:, 0] = 0.5 * x[:, 0]
    return moved


def along_bend(x):
    moved = x * 0
    moved[:, 0], moved[:, 1] = -0.7 * x[:, 1], 0.7 * x[:, 0]
    return moved


LAWS = {
    "line": (line, along_line),
    "quickening": (quickening, along_quickening),
    "bend": (bend, along_bend),
}


def none(x):
    return x[:, 0] * 0


def judged(adata):
    own, day = adata.obs["own"].to_numpy(), adata.obs["time"].to_numpy()
    found = adata.obs["dynamics_pseudotime"].to_numpy()
    return own, day, found


@pytest.mark.parametrize("name", LAWS)
def test_the_time_of_asynchronous_cells_is_found_without_bias(name, monkeypatch):
    path, velocity = LAWS[name]
    adata = store_field(make_asynchronous(path), monkeypatch, velocity, none)
    pseudotime(adata)
    own, day, found = judged(adata)
    for t in TIMES:
        here = day == t
        assert abs(np.mean((found - own)[here])) < 0.06
        assert spearmanr(own[here], found[here]).statistic > 0.97
    # no shrinkage towards the day
    assert np.polyfit(own - day, found - day, 1)[0] == pytest.approx(1, abs=0.07)
    assert np.sqrt(np.mean((found - own) ** 2)) < AHEAD / 4
    # the same state is passed by cells that are ahead and by others that are behind
    assert np.median(adata.obs["dynamics_pseudotime_std"]) == pytest.approx(AHEAD, rel=0.15)


def test_unequal_intervals_and_other_units(monkeypatch):
    times = (0.0, 10.0, 25.0, 35.0)

    def slow(t):
        return line(t / 10)

    rng = np.random.default_rng(0)
    adata = make_asynchronous(slow, times=times)
    adata.obs["own"] = adata.obs["time"] + 3 * rng.normal(size=adata.n_obs)
    adata.obsm["X_pca"] = slow(adata.obs["own"].to_numpy()).astype(np.float32)
    store_field(adata, monkeypatch, lambda x: along_line(x) / 10, none)
    pseudotime(adata)
    own, day, found = judged(adata)
    assert np.polyfit(own - day, found - day, 1)[0] == pytest.approx(1, abs=0.1)
    assert np.abs([np.mean((found - own)[day == t]) for t in times]).max() < 0.8
    assert np.sqrt(np.mean((found - own) ** 2)) < 1.2


def test_a_fitted_model_orders_cells_within_their_day():
    adata = make_asynchronous(bend, d=5, noise=0.1, n=200)
    scruot.tl.fit_dynamics(adata, "wfr", progress=False)
    assert pseudotime(adata) is None
    own, day, found = judged(adata)
    assert np.corrcoef(own - day, found - day)[0, 1] > 0.85
    assert np.sqrt(np.mean((found - own) ** 2)) < 0.6 * np.sqrt(np.mean((day - own) ** 2))
    assert 0.8 < np.polyfit(own, found, 1)[0] < 1.1


def test_growth_shifts_all_times_alike(monkeypatch):
    rate = 0.8
    # cells that are ahead have grown more: growth tilts the normal law of each snapshot
    adata = make_asynchronous(line, lead=rate * AHEAD**2)
    store_field(adata, monkeypatch, along_line, lambda x: none(x) + rate)
    pseudotime(adata)
    own, day, found = judged(adata)
    late = np.array([np.mean((found - own)[day == t]) for t in TIMES])
    assert np.abs(late + rate * AHEAD**2).max() < 0.06


def test_held_out_cells_get_a_time_and_others_do_not_matter(drifting):
    first = pseudotime(drifting, copy=True)
    assert "dynamics_pseudotime" not in drifting.obs
    again = pseudotime(drifting, copy=True)
    column = first.obs["dynamics_pseudotime"]
    pd.testing.assert_series_equal(column, again.obs["dynamics_pseudotime"])
    assert np.isfinite(column).all()
    assert column.groupby(drifting.obs["time"]).mean().is_monotonic_increasing


def test_the_key_of_the_fit_names_the_column(unfitted, fit_constant, tmp_path):
    fit_constant(unfitted, key="alt")
    pseudotime(unfitted, key="alt")
    unfitted.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert np.isfinite(back.obs["alt_dynamics_pseudotime"]).all()
    assert (back.obs["alt_dynamics_pseudotime_std"] >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"window": 0}, ValueError, "window=0"),
        ({"window": "wide"}, ValueError, "positive duration"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors=0"),
        ({"n_cells": 1.5}, ValueError, "n_cells=1.5"),
        ({"key": "other"}, KeyError, "No fitted dynamics"),
    ],
)
def test_what_has_no_time_is_refused(drifting, arguments, error, message):
    with pytest.raises(error, match=message):
        pseudotime(drifting, **arguments)
    assert "dynamics_pseudotime" not in drifting.obs


def test_a_fitted_time_without_cells_is_refused(drifting):
    with pytest.raises(ValueError, match="no cells at the fitted time 1"):
        pseudotime(drifting[drifting.obs["time"] != 1].copy())
