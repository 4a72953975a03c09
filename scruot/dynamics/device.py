"""Devices and generators: the one place where either is made."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    device
        ``"auto"`` takes the first of cuda, mps and cpu that is present; anything else is
        what :class:`torch.device` accepts.

    Returns
    -------
    The device.

    Raises
    ------
    ValueError
        When the device is unknown or absent.
    """
    if device == "auto":
        chosen = "cpu"
        if torch.cuda.is_available():
            chosen = "cuda"
        elif torch.backends.mps.is_available():
            chosen = "mps"
        logger.info("device='auto': computing on %s", chosen)
        return torch.device(chosen)
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        msg = f"Unknown device {device!r}; expected 'auto', 'cpu', 'cuda', 'cuda:0', 'mps', ..."
        raise ValueError(msg) from error
    try:
        torch.zeros(1, device=resolved).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        msg = (
            f"device={str(device)!r} was asked for, but this machine or this build of torch "
            f"{torch.__version__} has none; use device='auto' or device='cpu'."
        )
        raise ValueError(msg) from error
    return resolved


def make_generator(device: torch.device, seed: int) -> torch.Generator:
    """Return a generator that lives on ``device``, so that no random number crosses devices."""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    return generator
