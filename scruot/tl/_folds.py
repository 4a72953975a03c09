"""One left-out time: what is fitted without it, and how well that predicts it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray

from scruot import solvers
from scruot._keys import TRANSPORT
from scruot._messages import unknown
from scruot.dynamics.passage import require_finite
from scruot.io.read import Cells
from scruot.io.store import plain
from scruot.io.time import as_time
from scruot.solvers.params import make_params
from scruot.solvers.problem import Solver
from scruot.solvers.run import fit_snapshots
from scruot.tl._checks import require_coupled
from scruot.tl._clouds import Cloud, at_random, halves, nulls, score
from scruot.tl._interpolate import read_transport_candidate

_FIGURES = ("w1", "w2", "mmd", "energy", "mass_error")


Params = Mapping[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]]


class Candidate(Protocol):
    """A way to predict a time from the others: its name, its parameters as JSON text."""

    @property
    def name(self) -> str:
        """Name of the method."""

    @property
    def text(self) -> str:
        """Parameters that differ from the defaults."""

    def require(self, cells: Cells, times: Sequence[float]) -> None:
        """Refuse times, or cells, for which there is no prediction."""

    def predict(self, cells: Cells, time: float, *, seed: int, device: torch.device) -> Cloud:
        """Return the predicted cells of a time that is not among the fitted ones."""


@dataclass(frozen=True)
class FitCandidate:
    """A solver with its parameters."""

    solver: Solver
    params: Any
    text: str

    @property
    def name(self) -> str:
        """Name of the solver."""
        return self.solver.name

    def require(self, cells: Cells, times: Sequence[float]) -> None:
        """Refuse batches where nothing is coupled; predict any time after the first.

        Raises
        ------
        ValueError
            For such batches.
        """
        if cells.batch is not None:
            require_coupled(self.solver, "batch_key")

    def predict(self, cells: Cells, time: float, *, seed: int, device: torch.device) -> Cloud:
        """Fit, and simulate all cells of the first time."""
        snapshots = cells.snapshots()
        dynamics = fit_snapshots(
            snapshots, self.solver, self.params, device=device, random_state=seed
        ).dynamics
        mass = snapshots.weights[0].numpy()
        run = dynamics.simulate(
            snapshots.x[0].numpy(),
            [snapshots.times[0], time],
            weights=mass / mass.sum(),
            random_state=seed,
        )
        require_finite(run)
        weights = run.weights[-1].double().numpy()
        return Cloud(run.x[-1].numpy(), weights, float(weights.sum()))


def read_candidates(
    adata: AnnData, methods: str | Sequence[str], params: Params | None
) -> list[Candidate]:
    """Return every method with every set of its parameters, all checked.

    Raises
    ------
    TypeError, ValueError
        For unknown methods and parameters.
    """
    names = [methods] if isinstance(methods, str) else list(methods)
    given = {} if params is None else params
    known = [*solvers.names(), TRANSPORT]
    if not names:
        msg = f"Found no method; expected one or several of {known}."
        raise ValueError(msg)
    if not isinstance(given, Mapping):
        msg = (
            f"Found params of type {type(given).__name__}; expected a mapping from method to dict."
        )
        raise TypeError(msg)
    for name in names:
        if name not in known:
            raise ValueError(unknown("method", str(name), known))
    for name in given:
        if name not in names:
            raise ValueError(unknown("method in params", str(name), names))
    candidates: list[Candidate] = []
    for name in names:
        sets = given.get(name, {})
        for one in [sets] if isinstance(sets, Mapping) else list(sets):
            if not isinstance(one, Mapping):
                msg = f"Found params[{name!r}] with {one!r}; expected a dict or a list of dicts."
                raise TypeError(msg)
            if name == TRANSPORT:
                candidates.append(read_transport_candidate(adata, one, plain(one)))
            else:
                solver = solvers.get(name)
                made: Any = make_params(solver.params, dict(one), name)
                candidates.append(FitCandidate(solver, made, plain(one)))
    return candidates


def read_left_out(
    times: float | str | Iterable[float | str] | None,
    observed: NDArray[np.float64],
    labels: Mapping[str, float],
) -> list[float]:
    """Return the times to leave out, checked.

    Raises
    ------
    ValueError
        When there is no middle time, or a time was not observed or is the first.
    """
    if times is None:
        wanted = [float(t) for t in observed[1:-1]]
    else:
        asked = times if isinstance(times, Iterable) and not isinstance(times, str) else [times]
        wanted = [as_time(t, labels) for t in asked]
        if np.isnan(wanted).any():
            known = [name for name, t in labels.items() if t > observed[0]]
            msg = f"Found times={times!r}; expected some of {known or observed[1:].tolist()}."
            raise ValueError(msg)
    if len(observed) < 3 or not wanted:
        msg = f"Found times {observed.tolist()}; leaving one out needs at least three."
        raise ValueError(msg)
    wrong = [t for t in wanted if t not in observed[1:]]
    if wrong:
        msg = (
            f"Cannot leave out times {wrong}; expected some of {observed[1:].tolist()} (the first "
            "time is where simulations begin)."
        )
        raise ValueError(msg)
    return wanted


@dataclass(frozen=True)
class Fold:
    """Cells with one time left out.

    Parameters
    ----------
    cells
        All cells; those of ``time`` are not among the fitted ones.
    time
        The time left out.
    n_cells
        Size of subsets.
    random_state
        Seed of subsets and halves.
    """

    cells: Cells
    time: float
    n_cells: int
    random_state: int

    def fitted_row(self, candidate: Candidate, seed: int, device: torch.device) -> dict[str, Any]:
        """Predict the time left out, and score."""
        predicted = candidate.predict(self.cells, self.time, seed=seed, device=device)
        rng = np.random.default_rng(self.random_state)
        target = self._cloud(self.time).thinned(self.n_cells, rng)
        figures = score(predicted.thinned(self.n_cells, rng), target)
        return self._row(candidate.name, candidate.text, seed, figures)

    def null_rows(self) -> Iterator[dict[str, Any]]:
        """Score what needs no model, against the same subset of the cells left out."""
        rng = np.random.default_rng(self.random_state)
        everything = self._cloud(self.time)
        target = everything.thinned(self.n_cells, rng)
        times = np.unique(self.cells.time[self.cells.fitted])
        others = {float(t): self._cloud(float(t)) for t in times}
        found = nulls(self.time, others, held_out=True, n_cells=self.n_cells, rng=rng)
        for name, cloud in found.items():
            yield self._row(f"null: {name}", "{}", self.random_state, score(cloud, target))
        ends = self._ends(others)
        if ends is not None:
            # with numbers of its own: the subsets of all else stay what they are in tl.evaluate
            own = np.random.default_rng([self.random_state, 1])
            cloud = at_random(*ends, n_cells=self.n_cells, rng=own)
            yield self._row("null: random", "{}", self.random_state, score(cloud, target))
        pair = halves(everything, rng)
        if pair is not None:
            first, second = (half.thinned(self.n_cells, rng) for half in pair)
            floor = score(first, second) | {"mass_error": np.nan}
            yield self._row("noise floor", "{}", self.random_state, floor)

    def _ends(self, others: Mapping[float, Cloud]) -> tuple[Cloud, Cloud, float] | None:
        """Return the neighbouring snapshots, and where between them the time lies."""
        before = [t for t in others if t < self.time]
        after = [t for t in others if t > self.time]
        if not (before and after):
            return None
        first, last = max(before), min(after)
        return others[first], others[last], (self.time - first) / (last - first)

    def _cloud(self, time: float) -> Cloud:
        cells = self.cells
        here = (cells.time == time) & (cells.mass > 0)
        first = cells.mass[cells.time == cells.time.min()].sum()
        return Cloud(cells.x[here], cells.mass[here], float(cells.mass[here].sum() / first))

    def _row(
        self, method: str, parameters: str, seed: int, figures: Mapping[str, float]
    ) -> dict[str, Any]:
        return {
            "method": method,
            "parameters": parameters,
            "time": self.time,
            "seed": seed,
            **{name: figures[name] for name in _FIGURES},
        }
