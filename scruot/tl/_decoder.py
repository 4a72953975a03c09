"""Velocities pushed through a decoder, in closed form or by central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A decoder of tensors takes them, one of arrays takes those; both (n, d) to (n, genes).
Decoder = Callable[[Any], Any]

# Rows worked on at once.
_ROWS = 1024
# Length of a step in units of the spread: small beside the bends, large beside single precision.
_STEP = 1e-3


def decoded_velocity(
    decoder: Decoder, z: NDArray[np.float32], v: NDArray[np.float32], n_genes: int
) -> NDArray[np.float32]:
    """Return ``D decoder(z) v``, shape (n, n_genes).

    Parameters
    ----------
    decoder
        Function of (n, d) tensors that torch can differentiate, or of (n, d) arrays.
    z, v
        Coordinates and velocities (n, d).
    n_genes
        Number of columns that the decoder has to return.

    Raises
    ------
    ValueError
        When the decoder takes neither tensors nor arrays, or returns another shape.
    """
    probe, differentiable = _probe(decoder, z)
    if tuple(probe) != (min(2, len(z)), n_genes):
        msg = (
            f"The decoder returns shape {tuple(probe)} for {min(2, len(z))} cells; expected one "
            f"column for each of {n_genes} genes: name the genes that it decodes to with genes."
        )
        raise ValueError(msg)
    push = _by_torch if differentiable else _by_differences
    step = _STEP * float(z.std(axis=0).max()) / max(float(np.linalg.norm(v, axis=1).max()), 1e-30)
    parts = [
        push(decoder, z[i : i + _ROWS], v[i : i + _ROWS], step) for i in range(0, len(z), _ROWS)
    ]
    return np.concatenate(parts).astype(np.float32)


def _probe(decoder: Decoder, z: NDArray[np.float32]) -> tuple[tuple[int, ...], bool]:
    """Return the shape of the decoder's output for two cells, and whether torch follows it."""
    first = z[:2]
    failures = []
    try:
        with torch.enable_grad():
            out = decoder(torch.from_numpy(first.copy()).requires_grad_())
        if isinstance(out, Tensor) and out.requires_grad:
            return tuple(out.shape), True
    # whatever a decoder of arrays says to a tensor
    except Exception as error:
        failures.append(error)
    try:
        return np.asarray(decoder(first)).shape, False
    except Exception as error:
        failures.append(error)
        said = "; ".join(f"{type(e).__name__}: {e}" for e in failures)
        msg = (
            f"The decoder takes neither tensors nor arrays of shape {first.shape} ({said}); "
            "expected a function of cells times dimensions to cells times genes."
        )
        raise ValueError(msg) from error


def _by_torch(
    decoder: Decoder, z: NDArray[np.float32], v: NDArray[np.float32], _step: float
) -> NDArray[np.float32]:
    # forward mode compiles with a part of torch that warns; backwards twice is the same product
    with torch.enable_grad():
        state = torch.from_numpy(z.copy()).requires_grad_()
        out = decoder(state)
        weight = torch.zeros_like(out, requires_grad=True)
        (back,) = torch.autograd.grad(out, state, weight, create_graph=True)
        (pushed,) = torch.autograd.grad(back, weight, torch.from_numpy(v.copy()))
    return np.asarray(pushed.numpy())


def _by_differences(
    decoder: Decoder, z: NDArray[np.float32], v: NDArray[np.float32], step: float
) -> NDArray[np.float32]:
    z64, move = z.astype(np.float64), step * v.astype(np.float64)
    ahead, behind = np.asarray(decoder(z64 + move)), np.asarray(decoder(z64 - move))
    return (ahead - behind) / (2 * step)
