"""Neural displacement-sparse maps: closed forms first, then what the penalty has to do."""

import io
import logging

import numpy as np
import pytest
import torch
from tqdm import tqdm

from scruot.displacement import strength as adapting
from scruot.displacement.convex import ConvexPotential
from scruot.displacement.icnn import fit_icnn
from scruot.displacement.penalties import Sparsity
from scruot.displacement.saddle import Game, level_within
from scruot.displacement.strength import adapt, make_schedule

CPU = torch.device("cpu")


def potential(dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = ConvexPotential(dim, width=16, depth=3, generator=generator, device=CPU).double()
    with torch.no_grad():
        for weight in made.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.add_(0.3 * noise)
    made.project()
    return made


@pytest.mark.parametrize("dim", [3, 70])
def test_gradient_is_that_of_the_value(dim):
    made = potential(dim)
    x = torch.randn(20, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x.requires_grad_()
    (expected,) = torch.autograd.grad(made(x).sum(), x)
    torch.testing.assert_close(made.gradient(x), expected)


def test_value_is_convex():
    made = potential(3)
    generator = torch.Generator().manual_seed(2)
    a, b = 3 * torch.randn(2, 500, 3, generator=generator, dtype=torch.float64)
    middle, ends = made((a + b) / 2), (made(a) + made(b)) / 2
    assert (middle <= ends + 1e-9).all()
    assert (middle < ends - 1e-3).any()


def test_a_translation_is_recovered(rng):
    cells = rng.normal(size=(200, 6))
    move = np.array([2.0, 0.0, 0.0, -1.0, 0.0, 0.0])
    found = fit_icnn(cells, cells + move, strength=0.01, rounds=20, learning_rate=1e-3)
    moved = found.displacement(cells)
    np.testing.assert_allclose(moved, np.tile(move, (200, 1)), atol=0.05)
    assert not moved[:, move == 0].any()
    assert found.n_active == pytest.approx(2.0)


def test_without_penalty_it_is_the_brenier_map_between_gaussians(rng):
    covariance = np.array([[2.0, 0.9], [0.9, 0.7]])
    value, vectors = np.linalg.eigh(covariance)
    brenier = (vectors * np.sqrt(value)) @ vectors.T
    shift = np.array([1.0, -1.0])
    source = rng.normal(size=(1500, 2))
    target = rng.normal(size=(1500, 2)) @ brenier + shift
    found = fit_icnn(source, target, strength=0.0, rounds=300, threshold=0.0)
    image, expected = source + found.displacement(source), source @ brenier + shift
    error, translated = (np.sqrt(np.mean((i - expected) ** 2)) for i in (image, source + shift))
    assert error < 0.25 * translated


def test_a_stronger_penalty_gives_a_smaller_penalty(rng):
    source = rng.normal(size=(400, 4))
    target = rng.normal(size=(400, 4)) * [1.5, 1.0, 1.0, 1.0] + [1.0, 0.3, 0.1, 0.0]
    penalties, dims = [], []
    for strength in (0.0, 0.5, 1.5):
        found = fit_icnn(source, target, strength=strength, penalty=Sparsity("l1").value, rounds=40)
        penalties.append(found.path[-1].penalty)
        dims.append(found.n_active)
    assert penalties[0] > penalties[1] > penalties[2]
    assert dims[0] > dims[2]


def test_weights_are_masses_of_cells(rng):
    source = rng.normal(size=(100, 3))
    near, far = source + np.array([1.0, 0, 0]), source + np.array([9.0, 0, 0])
    target = np.concatenate([near, far])
    weight = np.concatenate([np.ones(100), np.zeros(100)])
    found = fit_icnn(source, target, None, weight, strength=0.01, rounds=10)
    np.testing.assert_allclose(found.displacement(source)[:, 0], 1.0, atol=0.1)
    reversed_ = fit_icnn(near, source, np.arange(100.0), np.arange(100.0), strength=0.01, rounds=10)
    np.testing.assert_allclose(reversed_.displacement(near)[:, 0], -1.0, atol=0.1)


def test_same_seed_same_map_and_no_global_randomness(rng):
    source, target = rng.normal(size=(60, 5)), rng.normal(size=(70, 5)) + np.eye(5)[0]
    before = torch.random.get_rng_state()
    runs = [
        fit_icnn(source, target, n_active=1, rounds=5, block=3, trials=2, random_state=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    one, two, other = (found.displacement(source) for found in runs)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("wish", [{"n_active": 5}, {"tradeoff": 0.5}])
def test_path_ends_with_the_weights_that_are_left(rng, wish):
    source = rng.normal(size=(80, 8))
    target = rng.normal(size=(80, 8)) + np.array([2, 1, 0.5, 0.2, 0, 0, 0, 0])
    game = Game(source, target, None, None, device=CPU, random_state=0)
    game.start(Sparsity("smoothed_l0").value, 0.1, width=16, depth=2, learning_rate=3e-3)
    asked = {"strength": None, "n_active": None, "tradeoff": None} | wish
    schedule = make_schedule(**asked, rounds=10, block=20, trials=4)
    path = adapt(game, schedule, 0.1, inner=3, batch=32, progress=False)
    end = path[-1]
    assert game.measure() == (end.n_active, end.error, end.penalty)
    kept = [point for point in path if point.accepted]
    if "n_active" in wish:
        assert end in kept
    game.train(0.1, 3, inner=3, batch=32)
    assert game.measure() != (end.n_active, end.error, end.penalty)


def test_a_rejected_strength_leaves_no_trace(rng):
    game = Game(
        rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), None, None, device=CPU, random_state=0
    )
    game.start(Sparsity("l1").value, 0.1, width=8, depth=2, learning_rate=3e-3)
    game.train(0.1, 5, inner=2, batch=16)
    state, measured = game.state(), game.measure()
    game.train(5.0, 5, inner=2, batch=16)
    assert game.measure() != measured
    game.restore(state)
    assert game.measure() == measured
    game.train(5.0, 5, inner=2, batch=16)
    game.restore(state)  # the copy itself has not moved
    assert game.measure() == measured


@pytest.mark.parametrize("dim", [1000, 3000])
def test_stays_stable_and_meets_the_constraint_in_many_dimensions(rng, dim):
    """The authors' generator: a thirtieth of the genes moves by 50 on average."""
    source = rng.uniform(size=(100, dim))
    target = rng.permutation(source)
    k = dim // 30
    target[:, :k] += 100 * rng.uniform(size=(100, k))
    target[:, k : dim * 7 // 10] += rng.uniform(size=(100, dim * 7 // 10 - k))
    found = fit_icnn(source, target, n_active=k, threshold=1.0, rounds=4, block=2, trials=1)
    moved = found.displacement(source)
    assert np.isfinite(moved).all()
    assert (moved != 0).sum(axis=1).mean() <= k
    assert found.error < 1
    order = np.argsort(-np.abs(moved).mean(axis=0))
    assert set(order[:k]) == set(range(k))


def test_raising_the_strength_ends_where_it_changes_nothing(rng, caplog):
    """A smoothed l0 has no slope at large moves: five genes move, whatever the strength."""
    source = rng.normal(size=(60, 8))
    target = source + 200 * (np.arange(8) < 5)
    with caplog.at_level(logging.INFO, logger="scruot"):
        found = fit_icnn(source, target, n_active=3, rounds=5, block=2, trials=2)
    strengths = [point.strength for point in found.path]
    assert {round(point.n_active, 6) for point in found.path} == {5.0}
    # four strengths, three of them raised, and the last again for the weights that are left
    np.testing.assert_allclose(np.array(strengths[:4]) / strengths[0], 1.5 ** np.arange(4))
    assert len(strengths) == 5
    assert "no fewer genes than 5.0" in caplog.text
    assert found.n_active <= 3


@pytest.mark.parametrize("n", [11, 28, 44])
def test_as_many_genes_as_asked_for_are_not_too_many(rng, n):
    """The mean over n cells of exactly three genes may exceed three by rounding."""
    source = rng.normal(size=(n, 6))
    move = 200.0 * (np.arange(6) < 3)
    found = fit_icnn(source, source + move, n_active=3, rounds=3, block=2, trials=0)
    assert len({point.strength for point in found.path}) == 1
    assert (found.displacement(source) != 0).sum() == 3 * n


def test_level_leaves_the_wanted_number_by_mass():
    size = np.array([[5.0, 1.0, 4.0], [3.0, 2.0, 6.0]])
    even, uneven = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    assert level_within(size, even, 2.0) == 2.0  # 6, 5, 4 and 3 are above
    assert level_within(size, uneven, 1.0) == 4.0  # 6 weighs .1, 5 weighs .9
    assert level_within(size, even, 3.0) == 0.0


def test_a_strength_is_kept_for_the_distance_within_the_constraint(rng):
    source = rng.normal(size=(80, 8))
    target = rng.normal(size=(80, 8)) + np.array([2, 1, 0.5, 0.2, 0, 0, 0, 0])
    game = Game(source, target, None, None, device=CPU, random_state=0)
    game.start(Sparsity("smoothed_l0").value, 0.1, width=16, depth=2, learning_rate=3e-3)
    seen = []
    within = game.within
    game.within = lambda limit: seen.append(within(limit)) or seen[-1]
    schedule = make_schedule(
        strength=None, n_active=2, tradeoff=None, rounds=10, block=10, trials=3
    )
    path = adapt(game, schedule, 0.1, inner=3, batch=32, progress=False)
    kept = [point for point in path[:-1] if point.accepted]
    assert len(seen) == len(kept) > 2
    errors = [error for _, error in seen]
    assert path[-1] == kept[int(np.argmin(errors))]
    cut, error = within(2)
    assert error == pytest.approx(min(errors))
    with torch.no_grad():
        moved = game.move(game.y).abs() * game.spread
    assert (moved > cut).sum() <= 2 * 80 < (moved >= cut).sum()


def test_types_that_move_in_opposite_ways_are_told_from_idle_genes(rng):
    """A strong penalty would leave their common shift, which is none."""
    d, n = 60, 400
    side = np.where(rng.random((2, n)) < 0.5, -1.0, 1.0)
    source, target = 0.5 * rng.normal(size=(2, n, d)) + 1.5 * side[..., None] * (np.arange(d) < 6)
    target[:, 6:10] += 1.5 * side[1][:, None]
    found = fit_icnn(source, target, n_active=4, rounds=150, trials=1)
    moved = found.displacement(source)
    assert found.n_active == (moved != 0).sum() / n <= 4
    right = moved[:, 6:10] * side[0][:, None]
    assert (right > 0).sum() / (moved != 0).sum() > 0.95


def test_progress_counts_the_rounds(rng, monkeypatch):
    bars = []

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs, file=io.StringIO())
            bars.append(self)

    monkeypatch.setattr(adapting, "tqdm", Bar)
    source = rng.normal(size=(30, 3))
    asked = {"rounds": 23, "block": 4, "trials": 3}
    fit_icnn(source, source + 1.0, tradeoff=0.5, progress=True, **asked)
    assert (bars[0].n, bars[0].total) == (23 + 4 * 3, 23 + 4 * 3)
    fit_icnn(source, source + 1.0, tradeoff=0.5, **asked)
    assert bars[1].disable


def test_any_differentiable_penalty(rng):
    source = rng.normal(size=(50, 3))
    found = fit_icnn(
        source,
        source + np.array([1.0, 0, 0]),
        penalty=lambda z: torch.log1p(z.abs()).sum(1),
        rounds=5,
        block=2,
        trials=1,
    )
    assert found.displacement(source).shape == (50, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": np.zeros((5, 2))}, "shapes"),
        ({"source": np.full((5, 3), np.nan)}, "NaN"),
        ({"weights_source": np.ones(4)}, "Found weights"),
        ({"weights_target": -np.ones(5)}, "Found weights"),
        ({"strength": 1.0, "n_active": 2}, "strength and n_active"),
        ({"tradeoff": 2.0}, "from 0 to 1"),
        ({"rounds": 0}, "rounds=0"),
        ({"threshold": -1.0}, "threshold"),
    ],
)
def test_bad_input_is_named(rng, change, says):
    given = {"source": rng.normal(size=(5, 3)), "target": rng.normal(size=(5, 3))} | change
    with pytest.raises(ValueError, match=says):
        fit_icnn(given.pop("source"), given.pop("target"), **given)
