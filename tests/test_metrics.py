"""Distances between weighted clouds."""

import numpy as np
import pytest
import torch
from scipy.stats import energy_distance as energy_1d
from scipy.stats import wasserstein_distance

from scruot import metrics
from scruot.metrics import energy_distance, mass_error, mmd, w1, w2

DISTANCES = [w1, w2, energy_distance, mmd]


@pytest.fixture
def clouds(rng):
    x, y = rng.normal(size=(40, 3)), rng.normal(0.5, 1.3, size=(25, 3))
    return x, y, rng.uniform(0.2, 2.0, 40), rng.uniform(0.2, 2.0, 25)


@pytest.mark.parametrize("distance", [w1, w2])
def test_shifted_cloud_is_as_far_as_the_shift(distance, rng):
    x = rng.normal(size=(30, 4))
    shift = np.array([0.3, -0.4, 1.2, 0.0])
    assert distance(x, x + shift) == pytest.approx(1.3, rel=1e-9)


def test_one_dimension_agrees_with_scipy(rng):
    x, y = rng.normal(size=50), rng.exponential(size=35)
    a, b = rng.uniform(size=50), rng.uniform(size=35)
    assert w1(x[:, None], y[:, None], a, b) == pytest.approx(wasserstein_distance(x, y, a, b))
    assert energy_distance(x[:, None], y[:, None], a, b) == pytest.approx(energy_1d(x, y, a, b))


def test_w2_pairs_sorted_points_on_a_line(rng):
    x, y = rng.normal(size=(20, 1)), rng.normal(1, 2, size=(20, 1))
    best = np.sqrt(np.mean((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2))
    assert w2(x, y) == pytest.approx(best)


def test_energy_and_mmd_are_their_formulas(clouds):
    x, y, a, b = clouds
    p, q = a / a.sum(), b / b.sum()

    def mean(function, u, v, wu, wv):
        pairs = [(wu[i] * wv[j], u[i] - v[j]) for i in range(len(u)) for j in range(len(v))]
        return sum(weight * function(np.linalg.norm(gap)) for weight, gap in pairs)

    def all_three(function):
        return mean(function, x, y, p, q), mean(function, x, x, p, p), mean(function, y, y, q, q)

    cross, within_x, within_y = all_three(lambda r: r)
    energy = np.sqrt(2 * cross - within_x - within_y)
    assert energy_distance(x, y, a, b) == pytest.approx(energy)
    cross, within_x, within_y = all_three(lambda r: np.exp(-(r**2) / (2 * 0.7**2)))
    discrepancy = np.sqrt(within_x + within_y - 2 * cross)
    assert mmd(x, y, a, b, bandwidth=0.7) == pytest.approx(discrepancy)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_clouds_have_distance_zero(distance, clouds):
    x, _, a, _ = clouds
    order = np.random.default_rng(1).permutation(len(x))
    assert distance(x, x[order], a, a[order]) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_symmetric(distance, clouds):
    x, y, a, b = clouds
    options = {"bandwidth": 1.1} if distance is mmd else {}
    assert distance(x, y, a, b, **options) == pytest.approx(distance(y, x, b, a, **options))


def test_mmd_bandwidth_is_the_median_distance_in_the_second_cloud(clouds):
    x, y, _, _ = clouds
    gaps = [np.linalg.norm(y[i] - y[j]) for i in range(len(y)) for j in range(i)]
    assert mmd(x, y) == pytest.approx(mmd(x, y, bandwidth=np.median(gaps)), rel=1e-2)
    assert mmd(x, y) == pytest.approx(mmd(5 * x, 5 * y))


@pytest.mark.parametrize("distance", DISTANCES)
def test_weights_count_copies_and_only_their_ratios_matter(distance, clouds):
    x, y, _, _ = clouds
    copies = np.arange(len(y)) % 3
    options = {"bandwidth": 1.0} if distance is mmd else {}
    repeated = distance(x, np.repeat(y, copies, axis=0), **options)
    assert distance(x, y, None, copies, **options) == pytest.approx(repeated)
    assert distance(x, y, None, 7.0 * copies, **options) == pytest.approx(repeated)


@pytest.mark.parametrize("distance", DISTANCES)
def test_far_from_the_origin_nothing_changes(distance, clouds):
    x, y, a, b = clouds
    assert distance(x + 1e5, y + 1e5, a, b) == pytest.approx(distance(x, y, a, b), rel=1e-7)


@pytest.mark.parametrize("distance", DISTANCES)
def test_tensors_give_the_same_as_arrays(distance, clouds):
    x, y, a, b = clouds
    tensors = [torch.from_numpy(v) for v in (x, y, a, b)]
    tensors[0].requires_grad_()
    assert distance(*tensors) == distance(x, y, a, b)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0]], [[0.0, 1.0]]), "1 and 2 coordinates"),
        (([0.0, 1.0], [[0.0]]), r"x of shape \(2,\)"),
        (([[0.0]], np.empty((0, 1))), r"y of shape \(0, 1\)"),
        (([[np.nan]], [[0.0]]), "x holds NaN"),
        (([[0.0]], [[0.0]], [1.0, 1.0]), r"weights a of shape \(2,\)"),
        (([[0.0]], [[0.0]], [-1.0]), "Weights a"),
        (([[0.0]], [[0.0]], None, [0.0]), "Weights b"),
        (([[0.0]], [[0.0]], None, [np.inf]), "Weights b"),
    ],
)
def test_bad_clouds_are_refused(distance, arguments, message):
    with pytest.raises(ValueError, match=message):
        distance(*arguments)


def test_bad_bandwidth_is_refused():
    with pytest.raises(ValueError, match="bandwidth"):
        mmd([[0.0]], [[1.0]], bandwidth=0.0)


def test_unsolved_transport_is_an_error_and_no_warning(clouds, monkeypatch):
    monkeypatch.setattr(metrics, "_MAX_ITERATIONS", 1)
    with pytest.raises(RuntimeError, match="40 and 25 points"):
        w1(clouds[0], clouds[1])


def test_mass_error_is_relative_to_what_was_observed():
    assert mass_error(1.5, 2.0) == pytest.approx(0.25)
    assert mass_error(2.5, 2.0) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="population"):
        mass_error(1.0, 0.0)
