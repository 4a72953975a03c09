"""The vote that decides where a simulated cell has ended."""

import numpy as np
import pytest

from scruot.fates import StateClassifier


def two_blobs(rng, n, overlap):
    state = rng.integers(0, 2, n)
    return rng.standard_normal((n, 2)) + np.array([overlap, 0.0]) * state[:, None], state


def test_it_is_calibrated_where_states_overlap():
    rng = np.random.default_rng(1)
    x, state = two_blobs(rng, 3000, 1.5)
    classifier = StateClassifier.fit(x, np.eye(2)[state], np.ones(len(x)))
    new, truth = two_blobs(rng, 4000, 1.5)
    p = classifier.predict(new)
    np.testing.assert_allclose(p.sum(1), 1.0)
    share = p[:, 1] / p[:, :2].sum(1)
    # Bayes: odds of the second are exp(1.5 x - 1.5^2 / 2)
    bayes = 1 / (1 + np.exp(-(1.5 * new[:, 0] - 1.125)))
    brier, best = np.mean((share - truth) ** 2), np.mean((bayes - truth) ** 2)
    assert brier < 1.05 * best
    for low in np.arange(0.0, 1.0, 0.2):
        here = (share >= low) & (share < low + 0.2)
        assert abs(share[here].mean() - truth[here].mean()) < 0.08


def test_far_from_all_cells_the_answer_is_none_of_these():
    rng = np.random.default_rng(2)
    x, state = two_blobs(rng, 500, 6.0)
    classifier = StateClassifier.fit(x, np.eye(2)[state], np.ones(len(x)))
    inside = classifier.predict(rng.standard_normal((500, 2)))
    # the share of cells that is doubted is the share that lies at the edge
    assert 0.0 < inside[:, 2].mean() < 0.06
    np.testing.assert_allclose(classifier.predict([[3.0, 20.0]]), [[0.0, 0.0, 1.0]])


def test_cells_in_no_state_vote_for_none_and_masses_count():
    x = np.repeat([[0.0], [10.0]], 50, axis=0) + np.linspace(0, 1, 100)[:, None]
    members = np.zeros((100, 2))
    members[:50, 0] = 1.0
    classifier = StateClassifier.fit(x, members, np.ones(100))
    p = classifier.predict([[0.25], [10.75]])
    assert p[0, 0] > 0.9
    assert p[1, 2] > 0.9
    # two states in the same place, one with three times the mass
    twice = np.tile([[1.0, 0.0], [0.0, 1.0]], (50, 1))
    heavy = StateClassifier.fit(x[:, :1] * 0 + np.arange(100)[:, None] % 7, twice, twice @ [3, 1])
    assert heavy.predict([[3.0]])[0, 0] == pytest.approx(0.75, abs=0.12)
