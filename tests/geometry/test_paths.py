"""The paths of flow matching: rates are derivatives, masses average as promised."""

import pytest
import torch

from scruot.geometry import Bridge, Geodesic, travelling_dirac

PATHS = [Geodesic(1.5), Bridge(), Bridge(0.7)]
DURATION = 2.0


@pytest.fixture
def ends():
    generator = torch.Generator().manual_seed(0)
    x0, x1 = (torch.randn(30, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    m0, m1 = (torch.rand(30, generator=generator, dtype=torch.float64) + 0.1 for _ in range(2))
    return x0, x1, m0, m1


def at(path, s, ends):
    n = len(ends[0])
    return path.at(
        torch.full((n,), s, dtype=torch.float64),
        *ends,
        torch.full((n,), DURATION, dtype=torch.float64),
    )


@pytest.mark.parametrize("path", PATHS)
def test_ends(path, ends):
    first, last = at(path, 0.0, ends), at(path, 1.0, ends)
    torch.testing.assert_close(first.mean, ends[0])
    torch.testing.assert_close(last.mean, ends[1])
    torch.testing.assert_close(first.mass, ends[2])
    torch.testing.assert_close(last.mass, ends[3])
    for point in (first, last):
        assert (point.variance == 0).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("s", [0.2, 0.5, 0.9])
def test_rates_are_derivatives(path, s, ends):
    h = 1e-6
    here, before, after = (at(path, v, ends) for v in (s, s - h, s + h))

    def rate(a, b):
        return (b - a) / (2 * h)

    torch.testing.assert_close(rate(before.mean, after.mean), here.velocity, rtol=1e-6, atol=1e-8)
    growth = rate(before.mass.log(), after.mass.log())
    torch.testing.assert_close(growth, here.growth, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        rate(before.variance, after.variance), here.spreading, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("path", PATHS)
def test_mean_mass(path, ends):
    nodes = (torch.arange(2000) + 0.5) / 2000
    total = torch.stack([at(path, float(s), ends).mass for s in nodes]).mean(0)
    distance = (ends[1] - ends[0]).norm(dim=1)
    torch.testing.assert_close(path.mean_mass(distance, *ends[2:]), total, rtol=1e-5, atol=0)


def test_bridge_has_the_variance_of_pinned_brownian_motion(ends):
    # of two independent increments, given their sum: sigma^2 t (D - t) / D
    for s in (0.25, 0.5):
        t = s * DURATION
        expected = 0.7**2 * t * (DURATION - t) / DURATION
        assert float(at(Bridge(0.7), s, ends).variance[0]) == pytest.approx(expected)


def test_geodesic_is_the_travelling_dirac(ends):
    s = torch.full((30,), 0.3, dtype=torch.float64)
    state, point = travelling_dirac(s, *ends, 1.5), at(Geodesic(1.5), 0.3, ends)
    assert torch.equal(point.mean, state.x)
    assert torch.equal(point.velocity, state.velocity)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deaths_and_births_stay_finite(dtype):
    x = torch.zeros(2, 3, dtype=dtype)
    m0, m1 = torch.tensor([1.0, 0.0], dtype=dtype), torch.tensor([0.0, 1.0], dtype=dtype)
    s = torch.tensor([0.5, 0.5], dtype=dtype)
    for path in PATHS:
        point = path.at(s, x, x, m0, m1, torch.ones_like(s))
        assert all(torch.isfinite(v).all() for v in point)
        assert (point.growth * torch.tensor([-1, 1], dtype=dtype) > 0).all()
        assert torch.isfinite(path.mean_mass(s * 0, m0, m1)).all()
    for s in (0.0, 1.0):
        point = Bridge().at(torch.full((2,), s, dtype=dtype), x, x, m0, m1, torch.ones(2))
        torch.testing.assert_close(
            point.mass, torch.tensor([1 - s, s], dtype=dtype), atol=2e-5, rtol=0
        )


def test_equal_masses_stay(ends):
    x0, x1, m, _ = ends
    point = at(Bridge(), 0.4, (x0, x1, m, m))
    torch.testing.assert_close(point.mass, m)
    assert (point.growth == 0).all()
    torch.testing.assert_close(Bridge().mean_mass(m, m, m), m)
