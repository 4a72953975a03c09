"""Descendants by fate of all cells, carried by a model or by couplings."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scruot.dynamics.model import Dynamics
from scruot.fates import (
    StateClassifier,
    Wrapper,
    absorb,
    flow_plan,
    for_times,
    simulated_fates,
)
from scruot.tl._fate_sources import Coupled
from scruot.tl._fate_states import States
from scruot.transport import AutoSettings, Chain

logger = logging.getLogger(__name__)

_NEIGHBORS = 15  # cells that speak for one that was not coupled


@dataclass(frozen=True, eq=False)
class Shared:
    """What parts of the cells take from the whole.

    Parameters
    ----------
    settings, times
        Metric and noise, and the times that they were found for.
    members
        Share of every cell of the part in every state.
    last
        Last time at which states end.
    """

    settings: AutoSettings
    times: NDArray[np.float64]
    members: NDArray[np.float64]
    last: float


@dataclass(frozen=True, eq=False)
class FateCells(Coupled):
    """Cells with their terminal states.

    Parameters
    ----------
    x, time, mass, used, stored
        As in :class:`Coupled`.
    states
        Terminal states of the cells.
    shared
        What they take from the whole that they are a part of.
    """

    states: States = field(kw_only=True)
    shared: Shared | None = field(kw_only=True, default=None)

    @property
    def last(self) -> float:
        """Last time at which states end."""
        return max(self.states.exit_times(self.time)) if self.shared is None else self.shared.last

    def settings(self, codes: NDArray[np.integer] | None) -> AutoSettings:
        """Return the metric and noise of the rule, or those of the whole."""
        if self.shared is None:
            return super().settings(codes)
        own = [float(t) for t in self.times]
        return for_times(self.shared.settings, self.shared.times.tolist(), own)

    def part(self, rows: NDArray[np.bool_], shared: Shared) -> FateCells:
        """Return some of the cells, without stored couplings."""
        states = replace(self.states, codes=self.states.codes[rows], known=self.states.known[rows])
        return FateCells(
            self.x[rows],
            self.time[rows],
            self.mass[rows],
            self.used[rows],
            states=states,
            shared=replace(shared, members=shared.members[rows]),
        )


@dataclass(frozen=True, eq=False)
class Carried:
    """What became of the cells.

    Parameters
    ----------
    mass
        Descendants by fate and in none over the cell's own mass (n, F + 1); NaN rows for cells
        that cannot have a fate.
    settings
        What the automatic rule found.
    errors
        Standard errors of the shares from finite simulations, where there were any.
    reference
        What couplings of the same model say, beside simulations.
    """

    mass: NDArray[np.float64]
    settings: AutoSettings | None
    errors: NDArray[np.float64] | None = None
    reference: NDArray[np.float64] | None = None


def members(cells: FateCells, metric: torch.Tensor | None) -> NDArray[np.float64]:
    """Return the share of every cell in every state; unlabelled cells by their neighbours."""
    if cells.shared is not None:
        return cells.shared.members
    found = cells.states.one_hot()
    for t in cells.states.exit_times(cells.time):
        asked = np.flatnonzero((cells.time == t) & ~cells.states.known)
        if len(asked) and cells.x.shape[1]:
            classifier = exit_classifier(cells, t, metric)
            found[asked] = classifier.predict(flat(cells.x[asked], metric))[:, :-1]
    return found


def exit_classifier(cells: FateCells, time: float, metric: torch.Tensor | None) -> StateClassifier:
    """Return the classifier of one time, from its cells with a label."""
    here = (cells.time == time) & cells.states.known & (cells.mass > 0)
    return StateClassifier.fit(
        flat(cells.x[here], metric), cells.states.one_hot()[here], cells.mass[here]
    )


def flat(x: NDArray[np.floating], metric: torch.Tensor | None) -> NDArray[np.float64]:
    """Return coordinates in which squared distances are those of the rule."""
    if metric is None:
        return np.asarray(x, dtype=np.float64)
    return np.asarray(x, dtype=np.float64) @ metric.cpu().numpy()


def by_chain(cells: FateCells, chain: Chain, settings: AutoSettings | None) -> Carried:
    """Follow the used cells through plans; others at the same times by their neighbours."""
    metric = None if settings is None else settings.metric
    shares = members(cells, metric)
    rows = cells.rows()
    masses = [m.numpy() for m in cells.snapshots()[1]]
    # a plan beyond the last state carries nothing
    kept = [k for k, t in enumerate(cells.times) if t <= cells.last]
    sub = Chain(list(chain.plans[: len(kept) - 1]))
    found = absorb(sub, [masses[k] for k in kept], [shares[rows[k]] for k in kept])
    mass = np.full((len(cells.x), shares.shape[1] + 1), np.nan)
    for k in kept:
        mass[rows[k]] = found.mass[k]
        others = np.flatnonzero(~cells.used & (cells.time == cells.times[k]))
        if len(others) and cells.x.shape[1]:
            mass[others] = nearest(cells, rows[k], found.mass[k], others, metric)
    return Carried(mass, settings)


def nearest(
    cells: FateCells,
    rows: NDArray[np.integer],
    values: NDArray[np.float64],
    others: NDArray[np.integer],
    metric: torch.Tensor | None,
    at: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Return the mean value over the nearest of some cells."""
    k = min(_NEIGHBORS, len(rows))
    points = flat(cells.x[others] if at is None else at, metric)
    index = cKDTree(flat(cells.x[rows], metric)).query(points, k=k)[1].reshape(len(others), k)
    return np.asarray(values[index].mean(1), dtype=np.float64)


def by_coupling(cells: FateCells, *, random_state: int, each: Wrapper | None = None) -> Carried:
    """Follow cells through stored or automatic couplings."""
    return by_chain(cells, *cells.couple(cells.states.codes, random_state, each))


def by_flow(
    cells: FateCells, model: Dynamics, *, random_state: int, each: Wrapper | None = None
) -> Carried:
    """Follow cells with a deterministic model, through couplings of its end points."""
    settings = cells.settings(cells.states.codes)
    plan = flow_plan(
        model, *cells.snapshots(), settings=settings, random_state=random_state, each=each
    )
    found = by_chain(cells, plan.chain, plan.settings)
    _carry_strangers(cells, model, found)
    return found


def _carry_strangers(cells: FateCells, model: Dynamics, found: Carried) -> None:
    """Give cells of times that were left out the fates of the cells that they flow to."""
    known, last = cells.times, cells.last
    rows = dict(zip(known.tolist(), cells.rows(), strict=True))
    for t in np.unique(cells.time[~np.isin(cells.time, known) & (cells.time < last)]):
        later = known[known > t]
        if not len(later):
            continue
        here = np.flatnonzero(cells.time == t)
        run = model.simulate(
            np.asarray(cells.x[here], dtype=np.float32),
            [float(t), float(later[0])],
            weights=np.ones(len(here), dtype=np.float32),
            stochastic=False,
        )
        there = rows[float(later[0])]
        metric = None if found.settings is None else found.settings.metric
        value = nearest(cells, there, found.mass[there], here, metric, run.x[-1].numpy())
        found.mass[here] = value * run.weights[-1].double().numpy()[:, None]


def by_simulation(
    cells: FateCells, model: Dynamics, *, n_simulations: int, random_state: int
) -> Carried:
    """Follow cells with a stochastic model."""
    settings = cells.settings(cells.states.codes)
    exits = cells.states.exit_times(cells.time)
    classifiers = {t: exit_classifier(cells, t, settings.metric) for t in exits}
    shares = members(cells, settings.metric)
    inside = shares.sum(1)
    mass = np.full((len(cells.x), shares.shape[1] + 1), np.nan)
    errors = np.zeros_like(mass)
    for t in np.unique(cells.time[cells.time <= exits[-1]]):
        here = np.flatnonzero(cells.time == t)
        onward = {exit_: c for exit_, c in classifiers.items() if exit_ > t}
        if onward:
            carried, error = simulated_fates(
                model,
                cells.x[here],
                float(t),
                onward,
                metric=settings.metric,
                n_simulations=n_simulations,
                random_state=random_state,
            )
        else:
            carried = np.zeros((len(here), mass.shape[1]))
            carried[:, -1] = 1.0
            error = np.zeros_like(carried)
        left = np.clip(1.0 - inside[here], 0.0, None)[:, None]
        mass[here] = left * carried
        mass[here, :-1] += shares[here]
        errors[here] = left * error
    coupled = by_flow(cells, model, random_state=random_state)
    return Carried(mass, settings, errors, coupled.mass)
