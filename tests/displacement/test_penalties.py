"""Proximal operators against minimisation, gradients against differences, values by definition."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from scruot.displacement.penalties import PENALTIES, Sparsity

SEPARABLE = [
    Sparsity("l1", 0.7),
    Sparsity("stvs", 0.7),
    Sparsity("smoothed_l0", 0.2, width=0.6),
    Sparsity("smoothed_l0", 2.0, width=0.3),
    Sparsity("smoothed_l0", 40.0, width=1.0),
]
ENTRIES = torch.tensor([-6.0, -2.0, -1.3, -0.69, -0.2, 0.0, 0.05, 0.6, 0.9, 1.7, 3.1, 9.5, 14.0])


@pytest.mark.parametrize("penalty", SEPARABLE, ids=str)
def test_prox_of_an_entry_is_the_best_of_a_fine_grid(penalty):
    w = ENTRIES.double()
    grid = torch.linspace(-16, 16, 320_001, dtype=torch.float64)
    value = penalty.value(grid[:, None])
    for entry, found in zip(w, penalty.prox(w[:, None])[:, 0], strict=True):
        objective = 0.5 * (entry - grid) ** 2 + value
        best = int(objective.argmin())
        reached = 0.5 * (entry - found) ** 2 + penalty.value(found[None])
        assert float(reached) <= float(objective[best]) + 1e-9
        assert float(found) == pytest.approx(float(grid[best]), abs=2e-4)


def box_form(v, k, strength):
    """Minimise over the shares of the box form of the k-support norm, by a general solver."""
    found = minimize(
        lambda share: 0.5 * np.sum(v**2 * strength / (share + strength)),
        np.full(len(v), min(1.0, k / len(v))),
        jac=lambda share: -0.5 * v**2 * strength / (share + strength) ** 2,
        bounds=[(0.0, 1.0)] * len(v),
        constraints={"type": "ineq", "fun": lambda share: k - share.sum()},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.fun


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("strength", [0.1, 1.0, 4.0])
def test_prox_of_k_support_is_what_minimisation_finds(k, strength):
    rows = np.random.default_rng(k).normal(size=(4, 5)) * 2
    penalty = Sparsity("k_support", strength, k=k)
    for row, z in zip(rows, penalty.prox(torch.from_numpy(rows)), strict=True):
        reached = 0.5 * np.sum((row - z.numpy()) ** 2) + float(penalty.value(z))
        assert reached == pytest.approx(box_form(row, k, strength), rel=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_value_of_k_support_is_its_box_form(k):
    z = np.random.default_rng(0).normal(size=4)
    shares = np.maximum(np.indices((41,) * 4).reshape(4, -1).T / 40, 1e-12)
    shares = shares[shares.sum(axis=1) <= k + 1e-9]
    brute = float((0.5 * (z**2 / shares).sum(axis=1)).min())
    value = float(Sparsity("k_support", k=k).value(torch.from_numpy(z)))
    assert value <= brute + 1e-9
    assert value == pytest.approx(brute, rel=0.01)


def test_k_support_of_one_is_half_the_squared_l1_norm_and_of_all_half_the_squared_l2_norm():
    z = torch.tensor([[1.0, -2.0, 0.0, 3.0]], dtype=torch.float64)
    assert float(Sparsity("k_support", k=1).value(z)) == pytest.approx(18.0)
    assert float(Sparsity("k_support", k=4).value(z)) == pytest.approx(7.0)
    assert Sparsity("k_support", 1.0, k=4).prox(z).flatten().tolist() == pytest.approx(
        (z / 2).flatten().tolist()
    )


def test_smoothed_l0_counts_entries_as_its_width_vanishes():
    z = torch.tensor([[0.0, 0.3, -2.0, 1e-3], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    counts = Sparsity("smoothed_l0", 1.0, width=1e-5).value(z)
    assert counts.tolist() == pytest.approx([3.0, 0.0])


@pytest.mark.parametrize("kind", PENALTIES)
def test_gradient_is_that_of_the_value(kind):
    penalty = Sparsity(kind, 0.8, width=0.5, k=2)
    z = torch.tensor([[0.4, -1.2, 2.5, -0.1], [3.0, 0.2, 0.7, 1.1]], dtype=torch.float64)
    z.requires_grad_()
    (automatic,) = torch.autograd.grad(penalty.value(z).sum(), z)
    z = z.detach()
    h = 1e-6
    for i, j in np.ndindex(2, 4):
        step = torch.zeros_like(z)
        step[i, j] = h
        difference = (penalty.value(z + step) - penalty.value(z - step))[i] / (2 * h)
        assert float(penalty.gradient(z)[i, j]) == pytest.approx(
            float(difference), rel=1e-5, abs=1e-8
        )
        assert float(automatic[i, j]) == pytest.approx(float(difference), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("kind", PENALTIES)
def test_no_strength_is_the_identity_and_zero_stays_zero(kind):
    w = ENTRIES.double()[None]
    assert torch.equal(Sparsity(kind, 0.0, k=3).prox(w), w)
    zero = torch.zeros(2, 5)
    assert torch.equal(Sparsity(kind, 1.0, k=2).prox(zero), zero)
    assert torch.equal(Sparsity(kind, 1.0, k=2).gradient(zero), zero)
    assert float(Sparsity(kind, 1.0, k=2).value(zero).sum()) == 0.0


def test_stvs_zeroes_like_l1_and_keeps_large_entries():
    w = torch.tensor([[0.99, 1.5, 100.0]])
    soft, vanishing = Sparsity("l1", 1.0).prox(w), Sparsity("stvs", 1.0).prox(w)
    assert (soft == 0).tolist() == (vanishing == 0).tolist() == [[True, False, False]]
    assert float(vanishing[0, 2]) == pytest.approx(99.99)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "l2"}, "Unknown penalty 'l2'"),
        ({"kind": "l1", "strength": -1.0}, "strength=-1.0"),
        ({"kind": "l1", "strength": float("nan")}, "strength=nan"),
        ({"kind": "smoothed_l0", "width": 0.0}, "width=0.0"),
        ({"kind": "k_support", "k": 0}, "k=0"),
    ],
)
def test_bad_numbers_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Sparsity(**wrong)


def test_minimiser_of_a_wide_penalty_is_found_by_scipy_too():
    penalty = Sparsity("smoothed_l0", 0.5, width=1.0)  # convex with the quadratic: one minimum
    for w in (0.3, 1.1, 2.7):
        result = minimize_scalar(
            lambda z, w=w: (
                0.5 * (w - z) ** 2 + float(penalty.value(torch.tensor([z], dtype=torch.float64)))
            ),
            bounds=(0, w),
            method="bounded",
            options={"xatol": 1e-10},
        )
        found = float(penalty.prox(torch.tensor([[w]], dtype=torch.float64)))
        assert found == pytest.approx(result.x, abs=1e-6)
