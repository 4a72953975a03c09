"""The fitted object: units, kinds of arrays, what follows from what, and refusals."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from scruot.dynamics import Dynamics, model
from scruot.dynamics.fields import Ensemble

LENGTH, TIME = 4.0, 2.0
X = np.array([[1.0, -2.0], [3.0, 2.0], [-5.0, 0.0]])
Y = (X - [1.0, -2.0]) / LENGTH


def test_units_of_every_quantity(spiral):
    t = 13.0
    rotated = np.stack([-Y[:, 1], Y[:, 0]], axis=1)
    np.testing.assert_allclose(spiral.velocity(t, X), rotated * LENGTH / TIME, rtol=1e-6)
    np.testing.assert_allclose(spiral.drift(t, X), rotated * LENGTH / TIME, rtol=1e-6)
    np.testing.assert_allclose(spiral.growth(t, X), (Y[:, 0] + 1.5) / TIME, rtol=1e-6)
    squares = (Y**2).sum(1) * LENGTH**2 / TIME
    np.testing.assert_allclose(spiral.potential(t, X), squares, rtol=1e-6)


def test_velocity_is_drift_less_half_noise_times_score(ornstein):
    t = np.array([10.0, 11.0, 14.0])
    variance = ornstein.field.variance(torch.tensor((t - 10) / TIME)).numpy()
    score = -Y / variance[:, None]
    drift = -0.7 * Y
    sigma = 0.8 * LENGTH / math.sqrt(TIME)
    assert ornstein.sigma == pytest.approx(sigma)
    np.testing.assert_allclose(ornstein.drift(t, X), drift * LENGTH / TIME, rtol=1e-5)
    np.testing.assert_allclose(ornstein.score(t, X), score / LENGTH, rtol=1e-5)
    expected = drift * LENGTH / TIME - sigma**2 / 2 * score / LENGTH
    np.testing.assert_allclose(ornstein.velocity(t, X), expected, rtol=1e-5, atol=1e-6)


def test_noise_of_each_coordinate(scale, ornstein):
    uneven = Dynamics(
        ornstein.field,
        scale,
        method="hand",
        learns=ornstein.learns,
        times=(10.0, 14.0),
        masses=(1.0, 1.0),
        sigma=(0.8, 0.0),
    )
    assert uneven.stochastic
    np.testing.assert_allclose(uneven.sigma, [0.8 * LENGTH / math.sqrt(TIME), 0.0])
    given = ornstein.learns[0]
    same = "drift" if given == "velocity" else "velocity"
    changed = getattr(uneven, same)(12.0, X) - getattr(ornstein, given)(12.0, X)
    assert (changed[:, 1] == 0).all()
    assert (changed[1:, 0] != 0).all()


def test_no_growth_is_zero(scale):
    class Still(nn.Module):
        def forward(self, t, x):
            return {"velocity": 0 * x}

    still = Dynamics(
        Still(), scale, method="still", learns=("velocity",), times=(0.0, 1.0), masses=(1.0, 1.0)
    )
    assert still.growth(0.0, X).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="'still' learns velocity, and no score"):
        still.score(0.0, X)
    with pytest.raises(ValueError, match="no potential"):
        still.potential(0.0, X)


@pytest.mark.parametrize("quantity", ["velocity", "growth"])
def test_numpy_gives_numpy_and_torch_gives_torch(spiral, quantity):
    call = getattr(spiral, quantity)
    from_numpy, from_torch = call(12.0, X), call(12.0, torch.from_numpy(X))
    assert isinstance(from_numpy, np.ndarray)
    assert isinstance(from_torch, torch.Tensor)
    assert from_numpy.dtype == np.float32
    np.testing.assert_array_equal(from_numpy, from_torch.numpy())
    np.testing.assert_array_equal(from_numpy, call(12.0, X.astype(np.float32)))
    np.testing.assert_array_equal(from_numpy, call(12.0, X.astype(int)))


@pytest.mark.parametrize(
    "t",
    [12, np.float64(12.0), np.full(3, 12.0), [12.0] * 3, torch.tensor(12.0), torch.full((3,), 12)],
    ids=["int", "float64", "array", "list", "scalar tensor", "integer tensor"],
)
def test_times_are_one_number_or_one_each(spiral, t):
    np.testing.assert_array_equal(spiral.growth(t, X), spiral.growth(12.0, X))


def test_arrays_that_torch_would_not_share(spiral):
    expected = spiral.velocity(12.0, X)
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(spiral.velocity(12.0, frozen), expected)
    np.testing.assert_array_equal(spiral.velocity(12.0, X[::-1])[::-1], expected)
    np.testing.assert_array_equal(spiral.velocity(12.0, pd.DataFrame(X)), expected)
    np.testing.assert_array_equal(spiral.velocity(12.0, X.tolist()), expected)


def test_inputs_are_not_changed(spiral):
    x, t = torch.from_numpy(X.copy()), torch.full((3,), 12.0)
    spiral.velocity(t, x)
    spiral.simulate(x, [10.0, 12.0])
    np.testing.assert_array_equal(x.numpy(), X)
    assert (t == 12.0).all()


def test_no_cell_is_no_error(spiral):
    assert spiral.velocity(12.0, X[:0]).shape == (0, 2)
    assert spiral.growth(12.0, X[:0]).shape == (0,)


def test_times_far_from_zero_keep_their_spacing(scale):
    from dataclasses import replace

    from tests.dynamics.conftest import Spiral

    late = Dynamics(
        Spiral(),
        replace(scale, origin=2.0**30),
        method="hand",
        learns=("velocity", "growth"),
        times=(0.0, 1.0),
        masses=(1.0, 1.0),
    )
    # in single precision, 2^30 + 1 is 2^30
    step = late.growth(2.0**30 + 1.0, X) - late.growth(2.0**30, X)
    np.testing.assert_allclose(step, 1 / TIME / TIME, rtol=1e-5)


def test_blocks_of_rows_change_nothing(spiral, monkeypatch):
    t = np.array([10.0, 11.0, 12.0])
    expected = spiral.growth(t, X)
    monkeypatch.setattr(model, "_ROWS", 2)
    np.testing.assert_array_equal(spiral.growth(t, X), expected)


@pytest.mark.parametrize("x", [X[:, :1], X[0], X[None]], ids=["narrow", "vector", "stack"])
def test_wrong_states(spiral, x):
    with pytest.raises(ValueError, match=r"expected \(n, 2\) as in the representation"):
        spiral.velocity(12.0, x)
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        spiral.simulate(x, [10.0, 11.0])


@pytest.mark.parametrize("t", [np.zeros(2), np.zeros((3, 1))])
def test_wrong_times(spiral, t):
    with pytest.raises(ValueError, match=r"expected a number or \(3,\)"):
        spiral.velocity(t, X)


def test_ensemble_is_a_mean_with_a_spread(scale):
    class Constant(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, t, x):
            return {"velocity": torch.full_like(x, self.value), "growth": self.value * t}

    both = Dynamics(
        Ensemble([Constant(1.0), Constant(4.0)]),
        scale,
        method="hand",
        learns=("velocity", "growth"),
        times=(10.0, 12.0),
        masses=(1.0, 1.0),
    )
    assert both.n_models == 2
    np.testing.assert_allclose(both.velocity(12.0, X), 2.5 * LENGTH / TIME)
    np.testing.assert_allclose(both.spread("velocity", 12.0, X), math.sqrt(4.5) * LENGTH / TIME)
    np.testing.assert_allclose(both.spread("growth", 12.0, X), math.sqrt(4.5) / TIME)


def test_spread_of_the_velocity_of_stochastic_members(scale):
    class Constant(nn.Module):
        def __init__(self, drift, score):
            super().__init__()
            self.drift, self.score = drift, score

        def forward(self, t, x):
            return {
                "drift": torch.full_like(x, self.drift),
                "score": torch.full_like(x, self.score),
            }

    # velocities 1 - 0.5 * 2 = 0 and 4 - 0.5 * (-2) = 5: drift and score vary against each other
    both = Dynamics(
        Ensemble([Constant(1.0, 2.0), Constant(4.0, -2.0)]),
        scale,
        method="hand",
        learns=("drift", "score"),
        times=(10.0, 12.0),
        masses=(1.0, 1.0),
        sigma=1.0,
    )
    np.testing.assert_allclose(both.spread("velocity", 12.0, X), math.sqrt(12.5) * LENGTH / TIME)
    np.testing.assert_allclose(both.spread("drift", 12.0, X), math.sqrt(4.5) * LENGTH / TIME)
    np.testing.assert_array_equal(both.spread("growth", 12.0, X), 0.0)


def test_one_model_has_no_spread(spiral):
    assert spiral.n_models == 1
    with pytest.raises(ValueError, match="one member and no spread; fit with n_models >= 2"):
        spiral.spread("velocity", 12.0, X)


# simulation


def test_rotation_for_a_quarter_turn(spiral):
    # angular velocity 1 per unit of 2: a quarter turn takes pi; growth is integrated exactly
    run = spiral.simulate(X, [10.0, 10.0 + math.pi], weights=np.array([1.0, 2.0, 3.0]))
    turned = np.stack([-Y[:, 1], Y[:, 0]], axis=1) * LENGTH + [1.0, -2.0]
    np.testing.assert_allclose(run.x[-1], turned, atol=1e-5)
    grown = Y[:, 0] - Y[:, 1] + (math.pi / 2) ** 2 / 2
    np.testing.assert_allclose(run.weights[-1], [1, 2, 3] * np.exp(grown), rtol=1e-5)
    np.testing.assert_allclose(run.weights[0], [1, 2, 3], rtol=1e-6)
    assert run.times.tolist() == [10.0, 10.0 + math.pi]


def test_there_and_back(spiral):
    there = spiral.simulate(X, [10.0, 14.0])
    back = spiral.simulate(there.x[-1], [14.0, 12.0, 10.0], weights=there.weights[-1])
    np.testing.assert_allclose(back.x[-1], X, atol=1e-5)
    np.testing.assert_allclose(back.weights[-1], 1 / 3, rtol=1e-5)


def test_smaller_steps_change_little(spiral):
    default, fine = (spiral.simulate(X, [10.0, 14.0], step=s).x for s in (None, 0.01))
    np.testing.assert_allclose(default, fine, atol=1e-5)
    adaptive = spiral.simulate(X, [10.0, 14.0], step="adaptive").x
    np.testing.assert_allclose(adaptive, fine, atol=1e-2)


def test_flow_of_a_stochastic_model_has_the_law_of_the_noise(ornstein, rng):
    start = rng.normal(size=(4000, 2)) * 0.5 * LENGTH + [1.0, -2.0]
    noisy = ornstein.simulate(start, [10.0, 14.0], random_state=1)
    flow = ornstein.simulate(start, [10.0, 14.0], stochastic=False)
    variance = float(ornstein.field.variance(torch.tensor(2.0))) * LENGTH**2
    for run in (noisy, flow):
        # five standard errors of a variance, and Euler's bias
        np.testing.assert_allclose(run.x[-1].var(0), variance, rtol=5 * math.sqrt(2 / 4000) + 0.03)
    np.testing.assert_allclose(noisy.mass, [1.0, math.exp(0.6)], rtol=1e-4)


def test_noise_is_by_random_state(ornstein):
    first, same, other = (
        ornstein.simulate(X, [10.0, 12.0], random_state=seed).x[-1] for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.isclose(first, other).any()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([10.0, 10.0], "strictly increasing or strictly decreasing"),
        ([10.0, 12.0, 11.0], "strictly increasing or strictly decreasing"),
        ([], "at least one"),
        ([10.0, math.nan], "finite"),
    ],
)
def test_times_that_make_no_path(spiral, times, message):
    with pytest.raises(ValueError, match=message):
        spiral.simulate(X, times)


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan, "small"])
def test_steps_that_make_no_sense(spiral, step):
    with pytest.raises(ValueError, match="expected a positive duration"):
        spiral.simulate(X, [10.0, 11.0], step=step)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(2), r"expected \(3,\)"),
        (np.ones((3, 1)), r"expected \(3,\)"),
        (np.array([1.0, -1.0, 1.0]), "masses >= 0"),
        (np.array([1.0, math.nan, 1.0]), "masses >= 0"),
    ],
)
def test_wrong_weights(spiral, weights, message):
    with pytest.raises(ValueError, match=message):
        spiral.simulate(X, [10.0, 11.0], weights=weights)


def test_noise_is_refused_where_there_is_none(spiral, ornstein):
    with pytest.raises(ValueError, match="'hand' is deterministic"):
        spiral.simulate(X, [10.0, 11.0], stochastic=True)
    with pytest.raises(ValueError, match="Noise cannot be run backwards"):
        ornstein.simulate(X, [11.0, 10.0])
