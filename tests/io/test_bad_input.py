"""Bad input through the public functions: one clear message, and nothing is written."""

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

from scruot import get, tl
from tests.io._same import contents, same

QUICK = {"steps": 5, "batch_size": 32, "width": 16, "progress": False}


def no_time(adata):
    del adata.obs["time"]
    adata.obs["tmie"] = 0.0


def one_time(adata):
    adata.obs["time"] = 2.0


def missing_time(adata):
    adata.obs.loc["cell3", "time"] = np.nan


def words(adata):
    adata.obs["time"] = pd.Categorical(adata.obs["time"].map({0.0: "a", 1.0: "b", 3.0: "c"}))


def two_labels(adata):
    adata.obs["time"] = adata.obs["time"].map({0.0: "day 0", 1.0: "day 1", 3.0: "d1"})


def no_representation(adata):
    adata.obsm["X_pcs"] = adata.obsm.pop("X_pca")


def nan(adata):
    adata.obsm["X_pca"][5, 1] = np.nan


def infinity(adata):
    adata.obsm["X_pca"][5, 1] = np.inf


def constant(adata):
    adata.obsm["X_pca"][:] = 1.5


def no_columns(adata):
    adata.obsm["X_pca"] = np.zeros((75, 0), dtype=np.float32)


DATA = [
    (no_time, {}, KeyError, r"No time column 'time' in obs \(found .*Did you mean 'tmie'\?"),
    (one_time, {}, ValueError, r"Found 1 time point.*\[2.0\].*at least two"),
    (missing_time, {}, ValueError, r"missing for 1 of 75 cells .*give every cell a time"),
    (words, {}, ValueError, r"without exactly one number: \['a', 'b', 'c'\]; expected numbers"),
    (two_labels, {}, ValueError, r"two labels for time 1: 'd.*' and 'd.*'; merge them"),
    (no_representation, {}, KeyError, r"No representation 'X_pca'.*Did you mean 'X_pcs'\?.*pca"),
    (nan, {}, ValueError, r"holds NaN or infinity in 1 cells .*expected finite.*drop those cells"),
    (infinity, {}, ValueError, r"holds NaN or infinity in 1 cells"),
    (constant, {}, ValueError, r"All cells have the same coordinates in 'X_pca'; expected"),
    (no_columns, {}, ValueError, r"has shape \(75, 0\); expected \(cells, coordinates\)"),
]


def weights(value):
    def change(adata):
        adata.obs["w"] = 1.0
        adata.obs.loc["cell3", "w"] = value

    return change


def weightless(adata):
    adata.obs["w"] = np.where(adata.obs["time"] == 1.0, 0.0, 1.0)


def nothing(adata):
    pass


CALLS = [
    (
        weights(-1.0),
        {"mass": "w"},
        ValueError,
        r"obs\['w'\] holds 1 .*negative \(first: cell 'cell3'",
    ),
    (weights(np.nan), {"mass": "w"}, ValueError, r"holds 1 weights that are missing"),
    (weights(np.inf), {"mass": "w"}, ValueError, r"holds 1 weights that are missing, infinite"),
    (weightless, {"mass": "w"}, ValueError, r"total mass at time 1 is zero"),
    (nothing, {"mass": "equl"}, ValueError, r"Unknown mass 'equl'. Did you mean 'equal'\?"),
    (nothing, {"mass": {0: 1, 1: 2}}, ValueError, r"no population for time 3"),
    (nothing, {"method": "wfrfn"}, ValueError, r"Unknown method 'wfrfn'. Did you mean 'wfrfm'\?"),
    (nothing, {"detla": 1.0}, TypeError, r"parameter of 'wfrfm' 'detla'. Did you mean 'delta'\?"),
    (nothing, {"delta": -1.0}, ValueError, r"wfrfm: found delta=-1.0; expected a number > 0.0"),
    (nothing, {"steps": 0}, ValueError, r"wfrfm: found steps=0; expected a number >= 1"),
    (nothing, {"time_key": "tiem"}, KeyError, r"No time column 'tiem'.*Did you mean 'time'\?"),
    (nothing, {"use_rep": "X_PCA"}, KeyError, r"Did you mean 'X_pca'\?"),
    (nothing, {"n_dims": 9}, ValueError, r"n_dims=9; expected a whole number from 1 to 4"),
    (nothing, {"n_models": 0}, ValueError, r"n_models=0; expected a whole number >= 1"),
    (nothing, {"n_models": 1.5}, ValueError, r"n_models=1.5; expected a whole number"),
    (nothing, {"n_models": "2"}, ValueError, r"n_models='2'; expected a whole number"),
    (nothing, {"random_state": -1}, ValueError, r"random_state=-1; expected a whole number from 0"),
    (nothing, {"random_state": None}, ValueError, r"random_state=None; expected a whole number"),
    (nothing, {"holdout": 2.0}, ValueError, r"Cannot hold out time 2.0: observed times are \[0.0"),
    (nothing, {"holdout": [0, 1]}, ValueError, r"Found 1 time point.*at least two"),
    (nothing, {"holdout_cells": 1.0}, ValueError, r"holdout_cells=1.0; expected a share between"),
    (nothing, {"device": "gpu"}, ValueError, r"Unknown device 'gpu'; expected 'auto', 'cpu'"),
    (nothing, {"device": "meta"}, ValueError, r"device='meta' was asked for, but.*device='cpu'"),
]


@pytest.mark.parametrize(("change", "options", "error", "message"), DATA + CALLS)
def test_one_clear_message(adata, change, options, error, message):
    change(adata)
    before = contents(adata)
    with pytest.raises(error, match=message) as caught:
        tl.fit_dynamics(adata, **{**QUICK, **options})
    assert same(contents(adata), before)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_duplicate_names(adata):
    adata.obs_names = ["same", *adata.obs_names[1:-1], "same"]
    with pytest.raises(ValueError, match=r"not unique \(e.g. 'same'\).*obs_names_make_unique\(\)"):
        tl.fit_dynamics(adata, **QUICK)
    assert list(adata.obsm) == ["X_pca"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_device_that_is_not_there(adata):
    with pytest.raises(ValueError, match=r"device='cuda' was asked for, but this machine.*'cpu'"):
        tl.fit_dynamics(adata, **QUICK, device="cuda")
    assert list(adata.obsm) == ["X_pca"]


def test_checkpoints_need_a_folder(adata, tmp_path):
    for path in (tmp_path / "missing" / "state.npz", tmp_path):
        with pytest.raises(ValueError, match="expected a file in an existing folder"):
            tl.fit_dynamics(adata, **QUICK, checkpoint=path)
    assert list(adata.obsm) == ["X_pca"]
    assert not list(tmp_path.iterdir())


def test_no_cells(adata):
    with pytest.raises(ValueError, match=r"Found 0 time point\(s\)"):
        tl.fit_dynamics(adata[:0].copy(), **QUICK)


def test_what_fails_late_writes_nothing(adata, monkeypatch):
    before = contents(adata)

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("scruot.tl._fit_dynamics.evaluate_at_cells", fail)
    with pytest.raises(MemoryError):
        tl.fit_dynamics(adata, **QUICK)
    assert same(contents(adata), before)


@pytest.mark.parametrize("call", [get.dynamics, lambda a: tl.apply_dynamics(a, a)])
def test_no_fit(adata, call):
    with pytest.raises(KeyError, match=r"No fitted dynamics in uns\['dynamics'\] \(found no fit"):
        call(adata)


# what is odd, and simply works


def cells(clouds, times=(0.0, 1.0)):
    """Return an AnnData of a few clouds."""
    adata = AnnData(np.zeros((sum(map(len, clouds)), 1), dtype=np.float32))
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    adata.obs["time"] = np.repeat(times, [len(c) for c in clouds])
    adata.obsm["X_pca"] = np.concatenate(clouds).astype(np.float32)
    return adata


def works(adata, **options):
    tl.fit_dynamics(adata, **{**QUICK, **options})
    velocity, growth = adata.obsm["velocity_pca"], adata.obs["growth"].to_numpy()
    assert velocity.shape == adata.obsm["X_pca"].shape
    assert np.isfinite(velocity).all()
    assert np.isfinite(growth).all()
    run = get.dynamics(adata).simulate(adata.obsm["X_pca"], [0.0, 1.0])
    assert torch.isfinite(run.x).all()
    assert torch.isfinite(run.weights).all()
    return velocity, growth


@pytest.mark.parametrize("d", [1, 2000])
def test_any_number_of_dimensions(rng, d):
    works(cells([rng.normal(size=(30, d)), rng.normal(size=(40, d)) + 1]))


@pytest.mark.parametrize("sizes", [(1, 20), (20, 1), (1, 1), (5, 5), (2, 8)])
def test_few_cells(rng, sizes):
    works(cells([rng.normal(size=(n, 3)) + k for k, n in enumerate(sizes)]))


def test_few_cells_with_all_that_needs_cells(rng):
    adata = cells([rng.normal(size=(4, 3)), rng.normal(size=(6, 3))])
    works(adata, n_models=3, holdout_cells=0.3, validation=0.3)
    assert adata.obs["dynamics_holdout"].sum() == 3


def test_snapshots_out_of_reach(rng):
    adata = cells([rng.normal(size=(20, 2)), rng.normal(size=(40, 2)) + 100])
    velocity, growth = works(adata, delta=1.0, steps=60, learning_rate=0.02)
    # everything dies and is born: nothing moves, the last cells grow faster than the first
    assert np.abs(velocity).max() < 1
    first = (adata.obs["time"] == 0.0).to_numpy()
    assert growth[first].max() < growth[~first].min()


def test_identical_snapshots(rng):
    cloud = rng.normal(size=(30, 3))
    velocity, growth = works(cells([cloud, cloud, cloud], (0.0, 1.0, 2.0)), steps=60)
    # there is nothing to learn; what is left is the size of the output's unit
    assert np.abs(velocity).max() < 1e-3
    assert np.abs(growth).max() < 1e-3


def test_cells_on_top_of_each_other(rng):
    works(cells([np.repeat(rng.normal(size=(3, 2)), 10, axis=0), np.zeros((20, 2))]))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_any_unit(rng, scale):
    velocity, _ = works(cells([scale * rng.normal(size=(30, 3)), scale * rng.normal(size=(30, 3))]))
    assert scale / 100 < np.abs(velocity).max() < scale * 100


def test_far_from_zero(rng):
    works(cells([rng.normal(size=(30, 3)) + 1e4, rng.normal(size=(30, 3)) + 1e4]))


def test_constant_columns(rng):
    clouds = [np.c_[rng.normal(size=(30, 2)), np.ones(30)] for _ in range(2)]
    works(cells(clouds))


def test_unequal_masses(rng):
    adata = cells([rng.normal(size=(20, 2)), rng.normal(size=(30, 2))])
    works(adata, mass={0: 1e-6, 1: 1e6})
    assert get.dynamics(adata).masses == pytest.approx((1.0, 1e12))


def test_times_below_zero_and_far_apart(rng):
    clouds = [rng.normal(size=(20, 2)) for _ in range(3)]
    adata = cells(clouds, (-1e5, 0.0, 1.0))
    works(adata)
    assert get.dynamics(adata).times == (-1e5, 0.0, 1.0)
