"""Pairs of travelling Diracs and their sampling."""

import pytest
import torch
from scipy.stats import chisquare

from scruot.transport import pairs, wfr_coupling


@pytest.fixture
def table(small):
    x, y, a, b = small
    x, y = x.clone(), y.clone()
    x[:3] += 100.0
    y[:2] -= 100.0
    a[5] = 0.0
    return pairs(wfr_coupling(x, y, a, b, 0.8)), a, b


def test_every_mass_is_used_once(table):
    found, a, b = table
    known = found.source >= 0
    out = torch.zeros_like(a).index_add_(0, found.source[known], found.m0[known])
    known = found.target >= 0
    into = torch.zeros_like(b).index_add_(0, found.target[known], found.m1[known])
    torch.testing.assert_close(out, a, rtol=1e-12, atol=0)
    torch.testing.assert_close(into, b, rtol=1e-12, atol=0)


def test_lonely_cells_die_or_are_born(table):
    found, a, b = table
    death, birth = found.target < 0, found.source < 0
    assert found.source[death].tolist() == [0, 1, 2]
    assert found.target[birth].tolist() == [0, 1]
    assert torch.equal(found.m0[death], a[:3])
    assert torch.equal(found.m1[birth], b[:2])
    assert float(found.m1[death].sum() + found.m0[birth].sum()) == 0.0
    assert not bool((found.source == 5).any())


def test_disjoint_clouds_are_all_deaths_and_births(small):
    x, y, a, b = small
    found = pairs(wfr_coupling(x, y + 1e3, a, b, 1.0))
    assert len(found) == 95
    assert float(found.m0.sum()) == pytest.approx(float(a.sum()), rel=1e-14)
    assert float(found.m1.sum()) == pytest.approx(float(b.sum()), rel=1e-14)


def test_draws_follow_the_masses(table):
    found, _, _ = table
    drawn = found.sample(200_000, torch.Generator().manual_seed(0))
    weight = (found.m0 + found.m1).numpy()
    kept = weight > 1e-3
    counts = torch.bincount(drawn, minlength=len(found)).numpy()[kept]
    expected = weight[kept] / weight[kept].sum() * counts.sum()
    assert chisquare(counts, expected).pvalue > 1e-3
    assert chisquare(counts, expected[::-1]).pvalue < 1e-6


def test_draws_repeat_with_the_seed(table):
    found, _, _ = table
    one, two = (found.sample(50, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two)
