"""Noise that differs between coordinates and changes in time."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from scruot.dynamics import Dynamics, Scale
from scruot.dynamics.noise import Noise
from scruot.dynamics.simulate import integrate_sde

KNOTS = (0.0, 1.0, 3.0)
PROFILE = (1.0, 3.0, 0.0)


class Still(nn.Module):
    """No drift, the score of a standard Gaussian."""

    def forward(self, t, x):
        return {"drift": 0 * x, "growth": 0 * t, "score": -x}


def changing(sigma=0.5, profile=PROFILE):
    scale = Scale(shift=(0.0, 0.0), length=4.0, origin=10.0, time=2.0)
    return Dynamics(
        Still(),
        scale,
        method="hand",
        learns=("drift", "growth", "score"),
        times=tuple(10 + 2 * t for t in KNOTS),
        masses=(1.0, 1.0, 1.0),
        sigma=sigma,
        sigma_profile=profile,
    )


def test_profile_is_linear_between_observed_times_and_constant_outside():
    noise = Noise((0.5, 2.0), PROFILE, KNOTS)
    t = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 9.0])
    expected = torch.tensor([1.0, 1.0, 2.0, 3.0, 1.5, 0.0, 0.0])
    torch.testing.assert_close(noise.factor(t), expected)
    at = noise.at(t, torch.zeros(7, 2))
    torch.testing.assert_close(at, expected[:, None] * torch.tensor([0.5, 2.0]))


def test_accumulated_noise_is_the_integral_of_the_squared_profile():
    noise = Noise(1.0, PROFILE, KNOTS)
    for k, share in ((0, 0.3), (0, 1.0), (1, 0.6)):
        start, stop = KNOTS[k], KNOTS[k] + share * (KNOTS[k + 1] - KNOTS[k])
        t = torch.linspace(start, stop, 20_001, dtype=torch.float64)
        expected = torch.trapezoid(noise.factor(t) ** 2, t)
        found = noise.accumulated(torch.tensor([k]), torch.tensor([share], dtype=torch.float64))
        assert float(found) == pytest.approx(float(expected), rel=1e-6)
    even = Noise(1.0, (), KNOTS).accumulated(torch.tensor([1]), torch.tensor([0.25]))
    assert float(even) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("noise", "there"),
    [
        (Noise(0.0), False),
        (Noise((0.0, 0.1)), True),
        (Noise(1.0, (0.0, 0.0, 0.0), KNOTS), False),
        (Noise(1.0, (0.0, 0.2, 0.0), KNOTS), True),
    ],
)
def test_whether_there_is_noise(noise, there):
    assert bool(noise) is there


def test_simulated_variance_is_the_accumulated_noise():
    def still(t, x):
        return 0 * x, 0 * t

    noise = Noise((0.5, 1.0), PROFILE, KNOTS)
    x0 = torch.zeros(20_000, 2)
    x, _ = integrate_sde(still, x0, x0[:, 0], list(KNOTS), 0.02, noise.at, 0)
    # int f^2 = 13 / 3 over the first interval and 6 over the second
    for k, accumulated in ((1, 13 / 3), (2, 13 / 3 + 6)):
        variance = x[k].var(0).numpy()
        np.testing.assert_allclose(variance, accumulated * np.array([0.25, 1.0]), rtol=0.05)


def test_velocity_follows_the_noise_of_its_time():
    model = changing()
    x = np.array([[1.0, -2.0], [3.0, 0.5]])
    for t, factor in ((10.0, 1.0), (11.0, 2.0), (12.0, 3.0), (16.0, 0.0)):
        # -sigma^2 score / 2 with the score -x, in units of length per time
        expected = (0.5 * factor) ** 2 / 2 * x / 2
        np.testing.assert_allclose(model.velocity(t, x), expected, rtol=1e-6)
    mixed = model.velocity(np.array([10.0, 16.0]), x)
    np.testing.assert_allclose(mixed, [0.125 * x[0] / 2, 0 * x[1]], rtol=1e-6)


def test_a_profile_of_ones_changes_nothing():
    x = np.random.default_rng(0).normal(size=(30, 2))
    runs = [
        changing((0.5, 0.2), profile).simulate(x, [10.0, 13.0], random_state=1)
        for profile in ((), (1.0, 1.0, 1.0))
    ]
    assert torch.equal(runs[0].x, runs[1].x)


def test_model_with_a_profile_is_stored_and_rebuilt():
    from scruot.solvers import get
    from scruot.solvers.run import from_arrays, to_arrays

    solver = get("wfrfm")
    config = {"dim": 2, "heads": {"velocity": 2, "growth": 1, "score": 2}}
    model = Dynamics(
        solver.build(config),
        Scale(shift=(0.0, 0.0), length=1.0, origin=0.0, time=1.0),
        method="wfrfm",
        learns=("velocity", "growth", "score"),
        times=KNOTS,
        masses=(1.0, 1.0, 1.0),
        sigma=(0.1, 0.2),
        sigma_profile=PROFILE,
    )
    text, weights = to_arrays(model)
    again = from_arrays(solver, text, weights, torch.device("cpu"))
    assert again.sigma_profile == PROFILE
    assert again.scaled_sigma == (0.1, 0.2)
    assert again.learns == model.learns
    # what was written before these were stored
    spec = json.loads(text)
    del spec["sigma_profile"], spec["learns"]
    old = from_arrays(solver, json.dumps(spec), weights, torch.device("cpu"))
    assert old.sigma_profile == ()
    assert old.learns == solver.learns


def test_slope_is_the_derivative_of_the_profile():
    noise = Noise(0.1, (1.0, 3.0, 2.0), (0.0, 1.0, 3.0))
    t = torch.tensor([0.2, 0.9, 1.5, 2.9], dtype=torch.float64)
    h = 1e-4
    torch.testing.assert_close(
        noise.slope(t), (noise.factor(t + h) - noise.factor(t - h)) / (2 * h)
    )
    assert noise.slope(t).tolist() == pytest.approx([2.0, 2.0, -0.5, -0.5])
    assert float(Noise(0.1).slope(t).abs().max()) == 0
