"""What a solver is given, what it returns, and how it is described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scruot.dynamics.snapshots import Scale, Snapshots


@dataclass(frozen=True)
class Problem:
    """One fit, in units of its own.

    Parameters
    ----------
    snapshots
        Standardised clouds on the device.
    scale
        Units of ``snapshots``: lengths and times given by the user pass through it.
    params
        The solver's parameters, as the user gave them.
    device, random_state
        Where to compute, and the seed of everything random.
    checkpoint
        File to resume training from and to save it to.
    fingerprint
        Identifies data and parameters in the checkpoint.
    progress
        Whether to show a bar.
    label
        Text of the bar.
    """

    snapshots: Snapshots
    scale: Scale
    params: Any
    device: torch.device
    random_state: int = 0
    checkpoint: Path | None = None
    fingerprint: str = ""
    progress: bool = False
    label: str = "fit"


@dataclass(frozen=True)
class Fit:
    """What a solver returns.

    Parameters
    ----------
    field
        The learned module, in scaled units. Its ``config`` (a mapping of plain values)
        and its state rebuild it.
    resolved
        What every ``"auto"`` became, in the user's units.
    history
        Loss terms per step.
    quality
        Figures of the fit, e.g. the static floor of the action.
    sigma
        Noise in scaled units.
    sigma_profile
        Factor on it at every observed time; empty for 1 at all times.
    learns
        What ``field`` returns, where that depends on the parameters; ``None`` for all that the
        method learns.
    """

    field: nn.Module
    resolved: Mapping[str, float | str] = field(default_factory=dict)
    history: Mapping[str, list[float]] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    sigma: float | tuple[float, ...] = 0.0
    sigma_profile: tuple[float, ...] = ()
    learns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Solver:
    """A registered method.

    Parameters
    ----------
    name, summary
        What it is called and what it is, in one line.
    learns
        Quantities that its field returns.
    stochastic
        Whether its model has noise.
    params
        Frozen dataclass of its parameters (see :mod:`scruot.solvers.params`).
    fit
        The method itself.
    build
        Makes an untrained field from its ``config``.
    reference, bibtex
        The paper, as one line and as BibTeX.
    trained
        Whether it has a loss that falls over steps, and so a history.
    seeded
        Whether its result depends on ``random_state``.
    coupled
        Whether all it learns comes from couplings of cells, which can stay within batches.
    """

    name: str
    summary: str
    learns: tuple[str, ...]
    stochastic: bool
    params: type
    fit: Callable[[Problem], Fit]
    build: Callable[[Mapping[str, Any]], nn.Module]
    reference: str
    bibtex: str
    trained: bool = True
    seeded: bool = True
    coupled: bool = False
