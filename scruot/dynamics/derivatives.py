"""Exact derivatives of :class:`~scruot.dynamics.fields.Field`, layer by layer.

They are ordinary tensor expressions: they hold without gradients being recorded, and a loss
made of them is trained by one backward pass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scruot.dynamics.fields import Field, TimeFeatures


class ScalarJet(NamedTuple):
    """A scalar output (n,), its gradient (n, d) and its time derivative (n,)."""

    value: Tensor
    gradient: Tensor
    rate: Tensor


def scalar_jet(field: Field, t: Tensor, x: Tensor, name: str) -> ScalarJet:
    """Return one scalar output of ``field`` with its first derivatives.

    Parameters
    ----------
    field
        Network with an output ``name`` of size one.
    t, x
        Times (n,) and states (n, d).
    name
        Quantity.
    """
    hidden, slopes = _trunk(field, t, x)
    row = _rows(field, name)
    weight = field.head.weight[row]
    spread = field.get_buffer(f"{name}_spread")
    value = field.get_buffer(f"{name}_mean") + spread * (hidden @ weight.T + field.head.bias[row])
    back = spread * weight.expand(len(x), -1)
    for layer, slope in zip(reversed(_layers(field)), reversed(slopes), strict=True):
        back = (back * slope) @ layer.weight
    in_time, in_space = back.split([field.time.size, x.shape[1]], dim=1)
    rate = (in_time * time_rates(field.time, t)).sum(1)
    return ScalarJet(value[:, 0], in_space, rate)


def divergence(field: Field, t: Tensor, x: Tensor, probes: Tensor | None = None) -> Tensor:
    """Return the divergence of the velocity, exactly or by probes.

    Parameters
    ----------
    field
        Network with an output ``"velocity"``.
    t, x
        Times (n,) and states (n, d).
    probes
        Random vectors (k, n, d) of independent entries of mean 0 and variance 1, for
        Hutchinson's estimate; ``None`` takes the d coordinates and is exact.

    Returns
    -------
    Shape (n,), and (k, n) with probes: one estimate for each.
    """
    d = x.shape[1]
    directions = torch.eye(d, dtype=x.dtype, device=x.device)[:, None] if probes is None else probes
    _, slopes = _trunk(field, t, x)
    tangent = directions
    for i, (layer, slope) in enumerate(zip(_layers(field), slopes, strict=True)):
        # time is held fixed: only the columns of the state move
        weight = layer.weight[:, field.time.size :] if i == 0 else layer.weight
        tangent = (tangent @ weight.T) * slope
    weight = field.head.weight[_rows(field, "velocity")]
    moved = field.get_buffer("velocity_spread") * (tangent @ weight.T)
    estimates = (moved * directions).sum(-1)
    return estimates.sum(0) if probes is None else estimates


def time_rates(features: TimeFeatures, t: Tensor) -> Tensor:
    """Return the derivative in time of the time features, shape (n, size)."""
    frequencies = features.frequencies / features.span
    angle = t[:, None] * frequencies
    constant = torch.full_like(t, 1 / features.span)[:, None]
    return torch.cat([constant, frequencies * angle.cos(), -frequencies * angle.sin()], dim=1)


def _trunk(field: Field, t: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the last hidden layer and the slopes of the activation at every layer."""
    hidden = torch.cat([field.time(t), x], dim=1)
    slopes = []
    for layer in _layers(field):
        raw = layer(hidden)
        gate = raw.sigmoid()
        hidden = raw * gate
        slopes.append(gate + hidden * (1 - gate))
    return hidden, slopes


def _layers(field: Field) -> list[nn.Linear]:
    return [layer for layer in field.trunk if isinstance(layer, nn.Linear)]


def _rows(field: Field, name: str) -> slice:
    index = field.names.index(name)
    start = sum(field.sizes[:index])
    return slice(start, start + field.sizes[index])
