"""A fit that is interrupted and called again ends with the same bits."""

import os
import signal

import numpy as np
import pytest

from scruot import tl
from scruot.solvers import regression
from tests.io.conftest import make_adata

QUICK = {"steps": 12, "batch_size": 32, "width": 16, "progress": False}


@pytest.fixture
def interrupt_at(monkeypatch):
    """Return a function that sends SIGINT during the n-th loss from now on."""
    whole = regression.regression_loss
    calls = {"left": 0}

    def loss(*args):
        calls["left"] -= 1
        if calls["left"] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(*args)

    monkeypatch.setattr(regression, "regression_loss", loss)
    return lambda n: calls.update(left=n)


def assert_same_fit(a, b):
    for key in ("velocity_pca", "velocity_std_pca"):
        if key in b.obsm:
            np.testing.assert_array_equal(a.obsm[key], b.obsm[key])
    np.testing.assert_array_equal(a.obs["growth"], b.obs["growth"])
    assert a.uns["dynamics"]["spec"] == b.uns["dynamics"]["spec"]
    for part in ("weights", "history"):
        assert a.uns["dynamics"][part].keys() == b.uns["dynamics"][part].keys()
        for name, array in a.uns["dynamics"][part].items():
            np.testing.assert_array_equal(array, b.uns["dynamics"][part][name])


@pytest.mark.parametrize(
    ("n_models", "at", "files"),
    [
        (1, 1, {"state.npz"}),
        (1, 7, {"state.npz"}),
        (2, 5, {"state.0.npz"}),
        (2, 17, {"state.0.npz", "state.1.npz"}),
    ],
)
def test_goes_on_to_the_same_bits(tmp_path, interrupt_at, n_models, at, files):
    options = {**QUICK, "n_models": n_models}
    uninterrupted, adata = make_adata(), make_adata()
    tl.fit_dynamics(uninterrupted, **options)
    interrupt_at(at)
    with pytest.raises(KeyboardInterrupt):
        tl.fit_dynamics(adata, **options, checkpoint=tmp_path / "state.npz")
    assert list(adata.obsm) == ["X_pca"]
    assert {p.name for p in tmp_path.iterdir()} == files
    tl.fit_dynamics(adata, **options, checkpoint=str(tmp_path / "state.npz"))
    assert_same_fit(adata, uninterrupted)


def test_goes_on_twice_with_validation(tmp_path, interrupt_at):
    options = {**QUICK, "validation": 0.2, "patience": 99, "optimizer": "adamw"}
    uninterrupted, adata = make_adata(), make_adata()
    tl.fit_dynamics(uninterrupted, **options)
    for at in (4, 3):
        interrupt_at(at)
        with pytest.raises(KeyboardInterrupt):
            tl.fit_dynamics(adata, **options, checkpoint=tmp_path / "state.npz")
    tl.fit_dynamics(adata, **options, checkpoint=tmp_path / "state.npz")
    assert_same_fit(adata, uninterrupted)


OTHERS = {
    "cells": {"adata": make_adata(seed=5)},
    "steps": {"steps": 13},
    "seed": {"random_state": 1},
    "populations": {"mass": "equal"},
    "dimensions": {"n_dims": 3},
    "cells held out": {"holdout_cells": 0.1},
}


@pytest.mark.parametrize("change", OTHERS)
def test_checkpoint_of_another_fit_is_refused(tmp_path, change):
    path = tmp_path / "state.npz"
    tl.fit_dynamics(make_adata(), **QUICK, checkpoint=path)
    changed = {"adata": make_adata(), **QUICK, **OTHERS[change]}
    with pytest.raises(ValueError, match="belongs to other data or other parameters; delete it"):
        tl.fit_dynamics(**changed, checkpoint=path)
    assert list(changed["adata"].obsm) == ["X_pca"]


def test_checkpoint_of_another_unit_is_refused(tmp_path):
    # twice the size is the same scaled cloud to the bit, but delta is half as long in it
    path = tmp_path / "state.npz"
    tl.fit_dynamics(make_adata(), **QUICK, delta=1.0, checkpoint=path)
    adata = make_adata()
    adata.obsm["X_pca"] *= 2
    with pytest.raises(ValueError, match="belongs to other data or other parameters"):
        tl.fit_dynamics(adata, **QUICK, delta=1.0, checkpoint=path)


def test_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    path.write_text("nonsense")
    with pytest.raises(ValueError, match=r"state\.npz is not a readable checkpoint .*delete it"):
        tl.fit_dynamics(make_adata(), **QUICK, checkpoint=path)
