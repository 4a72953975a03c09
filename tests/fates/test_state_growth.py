"""Growth as a function of the state: closed forms, and pooling over times."""

import numpy as np
import torch

from scruot.fates import automatic_plan
from scruot.fates.growth import extrapolated
from scruot.fates.state_growth import StateGrowth


def test_growth_along_the_way_is_the_mean_of_both_ends():
    clouds = [torch.tensor([[0.0], [50.0]]), torch.tensor([[0.0], [50.0]])]
    growth = StateGrowth(clouds, [np.array([0.2, 0.6])])
    # the last cells begin as their like
    np.testing.assert_allclose(growth.value, [0.2, 0.6, 0.2, 0.6], atol=1e-6)
    shares = [np.array([[0.5, 0.5], [0.0, 0.0]])]
    np.testing.assert_allclose(growth.along(shares)[0], [0.3, 0.6], atol=1e-6)


def test_residuals_are_told_to_like_states_of_all_times():
    clouds = [torch.tensor([[0.0], [50.0]])] * 3
    growth = StateGrowth(clouds, [np.zeros(2), np.zeros(2)])
    residuals = [np.array([0.1, -0.4]), np.array([0.3, 0.0])]
    growth.tell(residuals, [np.eye(2)] * 2, [np.ones(2)] * 3)
    np.testing.assert_allclose(growth.value, [0.2, -0.2] * 3, atol=1e-6)


def test_rounds_that_end_early_are_extrapolated(rng):
    sizes = (30, 50)
    masses = [rng.random(n) + 0.5 for n in sizes]
    true = [rng.standard_normal(n) for n in sizes]
    means = [np.average(g, weights=m) for g, m in zip(true, masses, strict=True)]

    def after(n_rounds, constant):
        reached = 1 - constant / np.sqrt(n_rounds)
        return [mean + reached * (g - mean) for g, mean in zip(true, means, strict=True)]

    found = extrapolated(after(5, 0.9), after(10, 0.9), masses)
    for got, wanted in zip(found, true, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-12)
    # what has settled, or went too far before, stays
    for early in (true, [2 * g for g in true], [np.zeros(n) for n in sizes]):
        late = [np.zeros(n) for n in sizes] if not early[0].any() else true
        for got, wanted in zip(extrapolated(early, late, masses), late, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-12)
    # and what has hardly begun is doubled, not more
    hasty = extrapolated([np.zeros(n) for n in sizes], true, masses)
    for got, g, mean in zip(hasty, true, means, strict=True):
        np.testing.assert_allclose(got, mean + 2 * (g - mean), atol=1e-12)


def test_two_populations_that_stay_tell_their_growth_over_all_times():
    shares = [0.5, 0.62, 0.73]
    n, totals = 200, [1.0, 1.0, 1.0]
    rng = np.random.default_rng(0)
    xs, states = [], []
    for share in shares:
        kind = np.arange(n) >= share * n
        xs.append(
            torch.from_numpy(rng.standard_normal((n, 3)) + 8.0 * np.eye(3)[0] * kind[:, None])
        )
        states.append(np.where(kind, 1, 0))
    masses = [torch.full((n,), total / n, dtype=torch.float64) for total in totals]
    known = [np.full(n, -1)] * 2 + [states[-1]]
    plan = automatic_plan(xs, masses, [0.0, 1.0, 2.0], states=known)
    odds = [np.log(s / (1 - s)) for s in shares]
    for rate, state in zip(plan.rates, states[:-1], strict=True):
        found = rate[state == 0].mean() - rate[state == 1].mean()
        np.testing.assert_allclose(found, (odds[-1] - odds[0]) / 2, atol=0.05)
