"""Couplings of all intervals from snapshots: the numbers behind ``tl.transport``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor
from tqdm.auto import tqdm

from scruot.dynamics.snapshots import Snapshots
from scruot.fates import automatic_plan
from scruot.tl._transport_auto import Settings, described_settings, resolve
from scruot.tl._transport_figures import figures
from scruot.tl._transport_params import TransportParams
from scruot.transport import Coupling, auto_delta, couple, wfr_coupling
from scruot.transport.batches import couple_each, share_masses

logger = logging.getLogger(__name__)

_NOTHING = 1e-9  # share of the mass that is rounding and not transport


@dataclass(frozen=True, eq=False)
class Couplings:
    """Couplings of consecutive snapshots.

    Parameters
    ----------
    matrices
        One sparse matrix per interval: mass at its end by ancestor and descendant.
    quality
        One row of figures per interval.
    resolved
        What was used for parameters that may be ``"auto"``.
    sources
        Masses at the start of each interval where batches share them, before any prior; empty
        without batches, where they are those of the cells.
    """

    matrices: list[csr_matrix]
    quality: list[dict[str, Any]]
    resolved: Mapping[str, Any]
    sources: tuple[NDArray[np.float64], ...] = ()


def couple_snapshots(
    snapshots: Snapshots,
    params: TransportParams,
    *,
    rates: Sequence[NDArray[np.float64]] | None = None,
    states: Sequence[NDArray[np.integer]] | None = None,
    random_state: int = 0,
    progress: bool = False,
) -> Couplings:
    """Couple every snapshot with the next, on the device of the snapshots.

    Parameters
    ----------
    snapshots
        The clouds with their masses.
    params
        Checked parameters.
    rates
        Growth prior of the cells of each time, per unit of time.
    states
        Terminal state of the cells of each time, -1 for none, for the method ``"fate"``.
    random_state
        Seed of the clusters of large problems.
    progress
        Whether to show a bar.
    """
    if params.method == "fate":
        return _for_fates(snapshots, params, states, random_state, progress=progress)
    setup = prepare(snapshots, params)
    matrices, quality, sources = [], [], []
    for k in tqdm(range(len(snapshots.times) - 1), disable=not progress, desc="transport"):
        solved = _solve(snapshots, params, setup, k, rates, random_state)
        plan = solved.plan
        moved = descendant_mass(plan) if params.method == "wfr" else plan.mass
        matrices.append(sparse(plan, moved))
        spans = snapshots.times[k], snapshots.times[k + 1]
        quality.append(figures(plan, matrices[-1], spans=spans, masses=solved.masses))
        if snapshots.batch:
            sources.append(solved.masses[0].double().cpu().numpy())
    return Couplings(matrices, quality, setup.described(), tuple(sources))


def _for_fates(
    snapshots: Snapshots,
    params: TransportParams,
    states: Sequence[NDArray[np.integer]] | None,
    random_state: int,
    *,
    progress: bool = False,
) -> Couplings:
    """Couple all intervals together, by the rule for fates."""
    found = automatic_plan(
        snapshots.x,
        snapshots.weights,
        snapshots.times,
        states=states,
        iterations=params.iterations,
        random_state=random_state,
        each=lambda steps: tqdm(steps, disable=not progress, desc="transport"),
    )
    matrices, quality = [], []
    for k, held in enumerate(found.plans):
        plan = held.coupling(kept_mass=params.kept_mass)
        matrices.append(sparse(plan, plan.mass))
        spans = snapshots.times[k], snapshots.times[k + 1]
        masses = snapshots.weights[k], snapshots.weights[k + 1]
        quality.append(figures(plan, matrices[-1], spans=spans, masses=masses))
    return Couplings(matrices, quality, described_settings(found.settings))


@dataclass(frozen=True, eq=False)
class Solved:
    """The plan of one interval.

    Parameters
    ----------
    plan
        The plan.
    masses
        Masses of the cells at both ends before any prior: theirs, or what batches share.
    delta
        Length scale of WFR; NaN for other methods.
    """

    plan: Coupling
    masses: tuple[Tensor, Tensor]
    delta: float


def couple_interval(
    snapshots: Snapshots,
    params: TransportParams,
    interval: int,
    *,
    rates: Sequence[NDArray[np.float64]] | None = None,
    random_state: int = 0,
) -> Solved:
    """Couple the snapshots of one interval, with the rules applied to all snapshots."""
    if params.method == "fate":
        plan = automatic_plan(
            snapshots.x,
            snapshots.weights,
            snapshots.times,
            iterations=params.iterations,
            random_state=random_state,
        )
        ends = snapshots.weights[interval], snapshots.weights[interval + 1]
        coupling = plan.plans[interval].coupling(kept_mass=params.kept_mass)
        return Solved(coupling, ends, np.nan)
    setup = prepare(snapshots, params)
    return _solve(snapshots, params, setup, interval, rates, random_state)


def _solve(
    snapshots: Snapshots,
    params: TransportParams,
    setup: Setup,
    interval: int,
    rates: Sequence[NDArray[np.float64]] | None,
    random_state: int,
) -> Solved:
    ends = snapshots.x[interval], snapshots.x[interval + 1]
    masses = snapshots.weights[interval], snapshots.weights[interval + 1]
    batches = snapshots.batch[interval : interval + 2]
    if batches:
        masses = share_masses(*masses, batch0=batches[0], batch1=batches[1])

    def solve(x0: Tensor, x1: Tensor, a: Tensor, b: Tensor) -> Coupling:
        if setup.settings is None:
            return _travelling(x0, x1, a, b, params, setup.delta, interval, random_state)
        return _penalised((x0, x1), a, b, params, setup.settings, interval, random_state)

    prior = masses[0]
    if rates is not None:
        prior = prior * grown(rates[interval], snapshots.durations[interval]).to(prior)
    if batches:
        plan = couple_each(
            *ends, prior, masses[1], batch0=batches[0], batch1=batches[1], solve=solve
        )
    else:
        plan = solve(*ends, prior, masses[1])
    return Solved(plan, masses, setup.delta)


def _travelling(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    params: TransportParams,
    delta: float,
    interval: int,
    random_state: int,
) -> Coupling:
    plan = wfr_coupling(x0, x1, a, b, delta, method=params.solver, random_state=random_state)
    if not len(plan.mass):
        msg = (
            f"Nothing moves in interval {interval}: with delta = {delta:.4g} no cell has a partner "
            "within pi * delta. Raise delta."
        )
        raise ValueError(msg)
    return plan


@dataclass(frozen=True)
class Setup:
    """What the rules give for all intervals: settings of penalised transport, or delta."""

    settings: Settings | None
    delta: float

    def described(self) -> dict[str, Any]:
        """Return what was used, for the record and the log."""
        return {"delta": self.delta} if self.settings is None else self.settings.described()


def prepare(snapshots: Snapshots, params: TransportParams) -> Setup:
    """Apply the rules for parameters that are ``"auto"``."""
    if params.method != "wfr":
        return Setup(resolve(snapshots, params), np.nan)
    delta = auto_delta(snapshots.x) if isinstance(params.delta, str) else float(params.delta)
    return Setup(None, delta)


def _penalised(
    ends: tuple[Tensor, Tensor],
    prior: Tensor,
    target: Tensor,
    params: TransportParams,
    settings: Settings,
    interval: int,
    random_state: int,
) -> Coupling:
    """Solve one interval, with the row masses as the next prior where iterations are asked for."""
    total = target.sum()
    source = prior * (total / prior.sum())
    for step in range(params.iterations):
        plan = couple(
            *ends,
            source,
            target,
            source=settings.source,
            target=settings.target,
            reg=settings.regs[interval],
            moved=None if params.moved is None else float(params.moved) * float(total),
            cost_scale=settings.cost_scale,
            method=params.solver,
            kept_mass=params.kept_mass,
            random_state=random_state,
        )
        leaving = plan.row_mass
        if float(leaving.sum()) <= _NOTHING * float(total):
            msg = (
                f"Nothing moves in interval {interval}: killing is cheaper than every move. Raise "
                "tau."
            )
            raise ValueError(msg)
        if step + 1 < params.iterations:
            source = leaving * (total / leaving.sum())
    return plan


def grown(rates: NDArray[np.float64], duration: float) -> Tensor:
    """Return growth factors over an interval, up to a common factor so that none overflows."""
    exponent = rates * duration
    return torch.from_numpy(np.exp(exponent - exponent.max()))


def descendant_mass(plan: Coupling) -> Tensor:
    """Return what each pair of a WFR plan weighs at its end, ``b_j G_ij / sum_i G_ij``."""
    return plan.b[plan.col] * plan.mass / plan.col_mass[plan.col]


def sparse(plan: Coupling, mass: Tensor) -> csr_matrix:
    """Return masses of the pairs of a plan as a matrix."""
    entries = mass.double().cpu().numpy(), (plan.row.cpu().numpy(), plan.col.cpu().numpy())
    return csr_matrix(entries, shape=plan.shape)
