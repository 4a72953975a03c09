"""Bridges between equal blobs against closed forms and their differential equation."""

import math

import numpy as np
import pytest
import torch

from scruot.geometry.blob_bridge import BlobBridge


def grid(duration, n=2001):
    return torch.linspace(0, duration, n, dtype=torch.float64)


@pytest.mark.parametrize(
    ("blur", "sigma", "duration"), [(0.03, 0.25, 1.0), (0.3, 0.1, 2.0), (1.0, 1.0, 0.5)]
)
def test_constant_noise_is_the_gaussian_schroedinger_bridge(blur, sigma, duration):
    # both ends N(0, h^2): covariance of the ends plus half the noise is sqrt(4 h^4 + k^2) / 2
    s = grid(1.0)
    noise = sigma**2 * duration
    expected = blur**2 * ((1 - s) ** 2 + s**2) + s * (1 - s) * math.sqrt(4 * blur**4 + noise**2)
    got = BlobBridge(blur, sigma**2, 0.0, duration).variance(duration * s)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_without_blur_it_is_the_brownian_bridge():
    s = grid(1.0)[1:-1]
    got = BlobBridge(1e-5, 0.49, 0.0, 3.0).variance(3 * s)
    np.testing.assert_allclose(got, 0.49 * 3 * s * (1 - s), rtol=1e-3)


def test_without_noise_nothing_moves():
    bridge = BlobBridge(0.2, 0.0, 0.0, 1.5)
    np.testing.assert_allclose(bridge.variance(grid(1.5)), 0.04, rtol=1e-12)
    np.testing.assert_allclose(bridge.drift_slope(grid(1.5)), 0.0)


@pytest.mark.parametrize(
    ("noise", "slope", "duration"), [(0.01, 0.05, 1.0), (0.3, -0.1, 2.0), (0.0, 0.2, 1.0)]
)
def test_variance_follows_its_equation_and_returns(noise, slope, duration):
    bridge = BlobBridge(0.1, noise, slope, duration)
    t = grid(duration)
    variance = bridge.variance(t)
    np.testing.assert_allclose(variance[[0, -1]], 0.01, rtol=1e-6)
    # S' = 2 K S + sigma^2, and K' = -K^2 makes the drift the least one
    inner = t[1:-1]
    change = (variance[2:] - variance[:-2]) / (t[2] - t[0])
    k = bridge.drift_slope(inner)
    expected = 2 * k * variance[1:-1] + noise + slope * inner
    scale = float(expected.abs().max())
    np.testing.assert_allclose(change, expected, atol=1e-3 * scale)
    h = 1e-5
    turned = (bridge.drift_slope(inner + h) - bridge.drift_slope(inner - h)) / (2 * h)
    np.testing.assert_allclose(turned, -(k**2), rtol=1e-5)
