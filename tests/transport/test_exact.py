"""The exact coupling against closed forms, brute force and invariances."""

import math

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import minimize

from scruot.transport import wfr_cost, wfr_coupling


def objective(plan, cost, a, b):
    """<G, c> + KL(G1|a) + KL(G'1|b), written once more, in numpy."""

    def kl(p, q):
        return np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / q), 0.0) - p + q)

    return np.sum(plan * cost) + kl(plan.sum(1), a) + kl(plan.sum(0), b)


@pytest.mark.parametrize("distance", [0.0, 0.3, 2.0, 6.0])
@pytest.mark.parametrize("masses", [(1.0, 1.0), (0.2, 3.0), (1.0, 1e6)])
def test_two_diracs_have_the_closed_form(distance, masses):
    delta = 2.0
    m0, m1 = (torch.tensor([m], dtype=torch.float64) for m in masses)
    x = torch.zeros(1, 3, dtype=torch.float64)
    plan = wfr_coupling(x, x + distance / math.sqrt(3), m0, m1, delta)
    cosine = math.cos(distance / (2 * delta))
    expected = masses[0] + masses[1] - 2 * math.sqrt(masses[0] * masses[1]) * cosine
    assert plan.primal == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert float(plan.mass) == pytest.approx(math.sqrt(masses[0] * masses[1]) * cosine, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_brute_force_agrees(seed):
    rng = np.random.default_rng(seed)
    x, y = torch.tensor(rng.normal(size=(4, 2))), torch.tensor(rng.normal(size=(5, 2)))
    a, b = rng.uniform(0.2, 2, 4), rng.uniform(0.2, 2, 5)
    cost = wfr_cost(x, y, 1.2).numpy()
    reach = np.isfinite(cost)

    def value(root):
        plan = np.zeros(cost.shape)
        plan[reach] = root**2
        return objective(plan, np.where(reach, cost, 0.0), a, b)

    start = np.sqrt(np.full(reach.sum(), 0.1))
    found = minimize(value, start, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14})
    plan = wfr_coupling(x, y, torch.tensor(a), torch.tensor(b), 1.2)
    assert plan.dual <= found.fun
    assert plan.primal == pytest.approx(found.fun, rel=1e-5)


def test_certificate_bounds_every_plan(small):
    x, y, a, b = small
    plan = wfr_coupling(x, y, a, b, 0.8)
    cost = wfr_cost(x, y, 0.8)
    recomputed = objective(
        plan.to_scipy().toarray(), np.where(cost.isfinite(), cost, 0.0), a.numpy(), b.numpy()
    )
    assert plan.primal == pytest.approx(recomputed, rel=1e-10)
    assert plan.dual <= plan.primal
    assert plan.gap < 1e-4
    assert plan.certified
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = plan.to_scipy().toarray() * rng.uniform(0.8, 1.2, size=plan.shape)
        value = objective(other, np.where(cost.isfinite(), cost, 0.0), a.numpy(), b.numpy())
        assert value >= plan.dual


def test_plan_is_homogeneous_in_the_masses(small):
    x, y, a, b = small
    one, many = wfr_coupling(x, y, a, b, 0.8), wfr_coupling(x, y, 1e4 * a, 1e4 * b, 0.8)
    np.testing.assert_allclose(1e4 * one.to_scipy().toarray(), many.to_scipy().toarray(), rtol=1e-6)


def test_units_of_length_do_not_matter(small):
    x, y, a, b = small
    one, other = wfr_coupling(x, y, a, b, 0.8), wfr_coupling(10 * x, 10 * y, a, b, 8.0)
    np.testing.assert_allclose(
        one.to_scipy().toarray(), other.to_scipy().toarray(), rtol=1e-6, atol=1e-9
    )


def test_order_of_cells_does_not_matter(small):
    x, y, a, b = small
    rng = torch.Generator().manual_seed(5)
    p, q = torch.randperm(40, generator=rng), torch.randperm(55, generator=rng)
    one, other = wfr_coupling(x, y, a, b, 0.8), wfr_coupling(x[p], y[q], a[p], b[q], 0.8)
    np.testing.assert_allclose(
        one.to_scipy().toarray()[p][:, q], other.to_scipy().toarray(), atol=1e-3
    )
    assert one.primal == pytest.approx(other.primal, rel=1e-5)


def test_large_delta_is_balanced_transport(small):
    x, y, _, _ = small
    a, b = (torch.full((n,), 1 / n, dtype=torch.float64) for n in (40, 55))
    delta = 300.0
    plan = wfr_coupling(x, y, a, b, delta)
    half = 0.5 * ot.emd2(a.numpy(), b.numpy(), ot.dist(x.numpy(), y.numpy()))
    assert 2 * delta**2 * plan.primal == pytest.approx(half, rel=1e-3)
    np.testing.assert_allclose(plan.row_mass, a, rtol=1e-2)


def test_identical_snapshots_stay(small):
    x, _, a, _ = small
    plan = wfr_coupling(x, x, a, a, 0.5)
    assert plan.primal == pytest.approx(0.0, abs=1e-9)
    assert plan.gap < 1e-4
    np.testing.assert_allclose(plan.row_mass, a, rtol=1e-5)


def test_disjoint_snapshots_have_an_empty_plan(small):
    x, y, a, b = small
    plan = wfr_coupling(x, y + 1e3, a, b, 1.0)
    assert plan.mass.numel() == 0
    assert plan.primal == plan.dual == pytest.approx(float(a.sum() + b.sum()))


def test_isolated_cells_and_cells_without_mass_take_no_part(small):
    x, y, a, b = small
    far = torch.full((1, 2), 50.0, dtype=torch.float64)
    weight = torch.tensor([0.7], dtype=torch.float64)
    plan = wfr_coupling(x, y, a, b, 0.8)
    none = torch.zeros(1, dtype=torch.float64)
    more = wfr_coupling(
        torch.cat([far, x[:1], x]), torch.cat([y, far + 50]), torch.cat([weight, none, a]),
        torch.cat([b, weight]), 0.8,
    )  # fmt: skip
    assert more.primal == pytest.approx(plan.primal + 1.4, rel=1e-12)
    np.testing.assert_allclose(more.row_mass[2:], plan.row_mass, rtol=1e-12)
    assert float(more.row_mass[:2].sum()) == 0.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 60)])
@pytest.mark.parametrize("dim", [1, 3, 2000])
@pytest.mark.parametrize("ratio", [1e-6, 1.0, 1e6])
def test_extreme_shapes_and_masses(shape, dim, ratio):
    rng = torch.Generator().manual_seed(3)
    x, y = (torch.randn(n, dim, generator=rng, dtype=torch.float64) for n in shape)
    a, b = torch.ones(shape[0]), torch.full((shape[1],), ratio)
    plan = wfr_coupling(x, y, a, b, 0.6 * math.sqrt(dim))
    assert plan.gap < 1e-4
    assert plan.row_mass.shape == (shape[0],)
    assert bool(torch.isfinite(plan.mass).all())


def test_masses_of_one_cloud_may_differ_by_orders(small):
    x, y, a, b = small
    a = a * 10.0 ** torch.linspace(-6, 0, 40, dtype=torch.float64)
    plan = wfr_coupling(x, y, a, b, 0.8)
    assert plan.gap < 1e-4


def test_row_blocks_give_the_same_plan(small):
    x, y, a, b = small
    whole = wfr_coupling(x, y, a, b, 0.8)
    blocks = wfr_coupling(x, y, a, b, 0.8, method="exact", max_bytes=8 * 55 * 7)
    assert blocks.method == whole.method == "exact"
    assert blocks.gap < 1e-4
    assert blocks.primal == pytest.approx(whole.primal, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "delta", "interval"),
    [*[("dyngen", 2.0, k) for k in range(4)], ("emt", 2.0, 0), ("three-gene", 1.5, 1)],
)
def test_published_data(published, name, delta, interval):
    x, y = published(name)[interval : interval + 2]
    plan = wfr_coupling(x, y, torch.ones(len(x)), torch.ones(len(y)), delta)
    assert plan.gap < 1e-4
    assert plan.row.numel() < 6 * len(x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": 0.0}, "positive length"),
        ({"blur": -1.0}, "blur"),
        ({"method": "exakt"}, "exact"),
        ({"a": -torch.ones(40)}, "negative"),
        ({"a": torch.ones(3)}, r"expected \(40,\)"),
        ({"x0": torch.full((40, 2), math.nan)}, "NaN"),
        ({"x1": torch.zeros(55, 3)}, "expected"),
        ({"kept_mass": 0.0}, "kept_mass"),
    ],
)
def test_bad_input_has_one_clear_message(small, change, message):
    x, y, a, b = small
    arguments = {"x0": x, "x1": y, "a": a, "b": b, "delta": 1.0} | change
    with pytest.raises(ValueError, match=message):
        wfr_coupling(**arguments)
