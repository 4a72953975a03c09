"""Cells that drift and multiply at constant rates, and a model that is exactly right about them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

import scruot
from scruot.dynamics.fields import Field
from scruot.dynamics.model import Dynamics
from scruot.io.read import read_cells
from scruot.io.store import model_record
from scruot.solvers.run import FittedModel
from scruot.solvers.wfrfm import WFRFMParams

TIMES = (0.0, 1.0, 3.0)
VELOCITY = np.array([1.0, -0.5])
# the population doubles per unit of time
GROWTH = np.log(2)
DELTA = 2.0


def make_drifting(n_start=20):
    """Return one cloud that moves, with 2^t times the cells, all exactly on their way."""
    rng = np.random.default_rng(7)
    base = rng.normal(size=(n_start, 2))
    copies = [int(2**t) for t in TIMES]
    time = np.repeat(TIMES, [n_start * k for k in copies])
    x = np.concatenate(
        [np.tile(base + VELOCITY * t, (k, 1)) for t, k in zip(TIMES, copies, strict=True)]
    )
    obs = pd.DataFrame(
        {"time": time, "side": pd.Categorical(np.where(x[:, 1] + 0.5 * time > 0, "up", "down"))},
        index=[f"cell{i}" for i in range(len(x))],
    )
    return AnnData(obs=obs, obsm={"X_pca": x.astype(np.float32)})


def store_constant(
    adata,
    *,
    velocity=VELOCITY,
    growth=GROWTH,
    sigma=0.0,
    key="dynamics",
    use_rep="X_pca",
    n_dims=None,
    mass="counts",
    holdout=None,
    holdout_cells=None,
):
    """Store a model with constant rates, as if it had been fitted."""
    call = {
        "time_key": "time",
        "use_rep": use_rep,
        "n_dims": n_dims,
        "mass": mass,
        "holdout": holdout,
        "holdout_cells": holdout_cells,
    }
    cells = read_cells(adata, **call)
    snapshots = cells.snapshots()
    scale = snapshots.standardised()[1]
    dim = snapshots.dim
    field = Field(dim, {"velocity": dim, "growth": 1, "score": dim}, width=2, depth=1)
    rates = {"velocity": np.asarray(velocity, dtype=float), "growth": np.array([growth])}
    for name, rate in rates.items():
        # without a generator all weights are zero: what is left is the mean of the targets
        mean = torch.from_numpy(rate / scale.factor(name)).float()
        field.set_output_scale(name, mean, torch.tensor(1.0))
    model = Dynamics(
        field,
        scale,
        method="wfrfm",
        learns=("velocity", "growth"),
        times=snapshots.times,
        masses=snapshots.masses,
        sigma=sigma / scale.sigma_out(1.0),
    )
    floors = {"action_floor_dual": 1.0, "action_floor_primal": 1.5}
    fitted = FittedModel(model, {"delta": DELTA}, {}, floors)
    adata.uns[key] = model_record(fitted, WFRFMParams(), call, cells, adata.obs_names)
    return adata


@pytest.fixture
def law():
    """Return the rates and times of the drifting cells."""
    return SimpleNamespace(times=TIMES, velocity=VELOCITY, growth=GROWTH, delta=DELTA)


@pytest.fixture
def unfitted():
    """Return drifting cells without a model."""
    return make_drifting()


@pytest.fixture
def fit_constant():
    """Return the function that stores a model with constant rates."""
    return store_constant


@pytest.fixture
def drifting(unfitted):
    """Return drifting cells with an exact model of them."""
    return store_constant(unfitted)


@pytest.fixture(scope="session")
def _trained():
    adata = scruot.datasets.three_gene(60, random_state=0, n_times=3)
    scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=30, batch_size=256, progress=False)
    return adata


@pytest.fixture
def trained(_trained):
    """Return cells with a model that was really fitted, if briefly."""
    return _trained.copy()
