"""From snapshots to a model and its arrays, for one model and for ensembles."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scruot.dynamics import Snapshots
from scruot.solvers import regression
from scruot.solvers.resample import bootstrap_cells
from scruot.solvers.run import _member_path, fit_snapshots, from_arrays, to_arrays
from scruot.solvers.validation import simulation_error, split_cells
from scruot.solvers.wfrfm import WFRFM, WFRFMParams

CPU = torch.device("cpu")
QUICK = WFRFMParams(steps=10, batch_size=32, width=8)


@pytest.fixture
def clouds():
    generator = torch.Generator().manual_seed(0)
    x = tuple(torch.randn(n, 2, generator=generator) for n in (30, 8, 40))
    weights = tuple(torch.rand(len(v), generator=generator).double() + 0.5 for v in x)
    return Snapshots((0.0, 1.0, 2.0), x, weights)


def test_bootstrap_draws_cells_and_keeps_populations(clouds):
    drawn, same, other = (bootstrap_cells(clouds, seed) for seed in (0, 0, 1))
    assert drawn.masses == pytest.approx(clouds.masses)
    for x, y in zip(drawn.x, clouds.x, strict=True):
        # about a third of the cells are left out
        assert len(x) < len(y)
        assert {tuple(row.tolist()) for row in x} < {tuple(row.tolist()) for row in y}
    for k in range(3):
        index = torch.stack([(clouds.x[k] == row).all(1).nonzero()[0, 0] for row in drawn.x[k]])
        times = drawn.weights[k] / clouds.weights[k][index]
        multiples = times / times.min()
        torch.testing.assert_close(multiples, multiples.round())
    assert all(torch.equal(a, b) for a, b in zip(drawn.x, same.x, strict=True))
    assert len(drawn.x[0]) != len(other.x[0]) or not torch.equal(drawn.x[0], other.x[0])


def test_members_differ_and_average(clouds):
    both = fit_snapshots(clouds, WFRFM, QUICK, device=CPU, n_models=2).dynamics
    x = clouds.x[0]
    first, second = (
        m(torch.zeros(30), both.scale.x_in(x))["velocity"] * both.scale.factor("velocity")
        for m in both.field.members
    )
    assert not torch.isclose(first, second).any()
    torch.testing.assert_close(both.velocity(0.0, x), (first + second).detach() / 2)
    spread = (first - second).abs().detach() / np.sqrt(2)
    torch.testing.assert_close(both.spread("velocity", 0.0, x), spread)


def test_a_member_does_not_depend_on_their_number(clouds):
    two, three = (
        fit_snapshots(clouds, WFRFM, QUICK, device=CPU, n_models=n).dynamics for n in (2, 3)
    )
    for a, b in zip(two.field.members, three.field.members, strict=False):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(p, q)


@pytest.mark.parametrize("n_models", [1, 2])
def test_arrays_rebuild_the_model(clouds, n_models):
    model = fit_snapshots(clouds, WFRFM, QUICK, device=CPU, n_models=n_models).dynamics
    spec, weights = to_arrays(model)
    assert all(isinstance(v, np.ndarray) and v.dtype.kind in "fi" for v in weights.values())
    assert isinstance(json.loads(spec), dict)
    again = from_arrays(WFRFM, spec, weights, CPU)
    x = clouds.x[1]
    for t in (0.0, 0.3, 2.0):
        assert torch.equal(model.velocity(t, x), again.velocity(t, x))
        assert torch.equal(model.growth(t, x), again.growth(t, x))
    assert (again.times, again.masses, again.sigma) == (model.times, model.masses, model.sigma)


def test_checkpoints_of_members():
    path = Path("folder") / "fit.npz"
    assert _member_path(None, 0, 3) is None
    assert _member_path(path, 0, 1) == path
    assert [_member_path(path, i, 2).name for i in range(2)] == ["fit.0.npz", "fit.1.npz"]
    assert _member_path(Path("plain"), 1, 2) == Path("plain.1")


# validation


def test_split(clouds):
    kept, aside = split_cells(clouds, 0.2, 0)
    assert [len(x) for x in kept.x] == [24, 8, 32]
    # a cloud of fewer than ten cells stays whole, and is compared with as a whole
    assert [len(x) for x in aside.x] == [6, 8, 8]
    for part in (kept, aside):
        assert part.masses == pytest.approx(clouds.masses)
    for k in (0, 2):
        both = {tuple(row.tolist()) for row in torch.cat([kept.x[k], aside.x[k]])}
        assert both == {tuple(row.tolist()) for row in clouds.x[k]}
    assert split_cells(clouds, 0.0, 0) == (clouds, None)
    assert not torch.equal(split_cells(clouds, 0.2, 1)[1].x[0], aside.x[0])


class Shift(torch.nn.Module):
    """Everything moves at unit speed along the first axis, and grows."""

    def forward(self, t, x):
        velocity = torch.zeros_like(x)
        velocity[:, 0] = 1.0
        return {"velocity": velocity, "growth": torch.ones_like(t)}


def test_error_is_the_mean_distance_of_later_clouds():
    x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    w = torch.ones(12, dtype=torch.float64)
    start = Snapshots((0.0, 1.0, 3.0), (x, x, x), (w, w, w))
    # carried along by 1 and by 3
    assert simulation_error(Shift(), start, start) == pytest.approx(2.0, rel=1e-5)
    ahead = (x, x + torch.tensor([1.0, 0.0]), x + torch.tensor([3.0, 0.0]))
    shifted = Snapshots(start.times, ahead, start.weights)
    assert simulation_error(Shift(), start, shifted) == pytest.approx(0.0, abs=1e-5)


def test_early_stopping_stops(clouds, monkeypatch):
    figures = iter([3.0, 1.0, 2.0, 0.5])
    monkeypatch.setattr(regression, "simulation_error", lambda *_: next(figures))
    params = WFRFMParams(steps=40, batch_size=32, width=8, validation=0.2, patience=1)
    history = fit_snapshots(clouds, WFRFM, params, device=CPU).history
    # every 5 % of the steps
    assert history["validation_step"] == [2.0, 4.0, 6.0]
    assert history["validation"] == [3.0, 1.0, 2.0]
    assert len(history["loss"]) == 6
