"""Fates within conditions: cells of each are coupled with their own, and what differs is tested."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot.fates import shares
from scruot.tl._conditions import (
    read_conditions,
    read_reference,
    read_units,
    shift_rows,
    shift_table,
    unit_means,
)
from scruot.tl._fate_carry import Carried, FateCells, Shared, members
from scruot.tl._fate_run import Run
from scruot.tl._permutation import Shift, judged, relabellings

Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions of cells and the units that are compared.

    Parameters
    ----------
    names
        Names of the conditions; the first is the reference.
    codes
        Condition of every cell, shape (n,), a position among the names.
    replicates
        Replicate of every cell, shape (n,); ``None`` where cells are the units.
    """

    names: list[str]
    codes: NDArray[np.int64]
    replicates: NDArray[np.int64] | None

    @classmethod
    def read(cls, adata: AnnData, name: str, replicate_key: str | None) -> Conditions:
        """Read conditions and replicates of all cells.

        Raises
        ------
        KeyError, ValueError
            For columns that are missing or do not fit.
        """
        labels = read_conditions(adata, name)
        read_reference(labels, name, None)
        units = None if replicate_key is None else read_units(adata, replicate_key, labels)
        return cls(
            [str(c) for c in labels.categories], np.asarray(labels.codes, dtype=np.int64), units
        )

    def check(self, cells: FateCells) -> None:
        """Refuse conditions that cannot be followed.

        Raises
        ------
        ValueError
            For a condition without cells at the last time of the states, or before it.
        """
        usable = cells.used & (cells.mass > 0)
        for c, name in enumerate(self.names):
            times = np.unique(cells.time[usable & (self.codes == c)])
            if cells.last not in times or not (times < cells.last).any():
                msg = (
                    f"Condition {name!r} has cells at times {times.tolist()}; expected some at "
                    f"{cells.last:g}, where terminal states end last, and some before it: leave "
                    "its cells out, or leave condition_key out and compare with "
                    "scruot.tl.fate_shift."
                )
                raise ValueError(msg)


def within(cells: FateCells, codes: NDArray[np.integer], run: Run) -> Carried:
    """Follow the cells of each condition by themselves.

    Metric, noise and the states that unlabelled cells are in are those of all cells, so that
    conditions differ only in who is coupled with whom.
    """
    settings = cells.settings(cells.states.codes)
    shared = Shared(settings, cells.times, members(cells, settings.metric), cells.last)
    mass = np.full((len(cells.x), len(cells.states.names) + 1), np.nan)
    for c in np.unique(codes):
        rows = codes == c
        mass[rows] = run(cells.part(rows, shared), None).mass
    return Carried(mass, settings)


def conditional_shift(
    cells: FateCells,
    conditions: Conditions,
    values: NDArray[np.float64],
    run: Run,
    *,
    n_permutations: int,
    random_state: int,
    progress: Progress,
) -> pd.DataFrame:
    """Test the shifts between conditions whose cells are coupled by themselves.

    Cells of one condition share what is observed of it later, so its replicates are no
    independent samples once they have been coupled. So couplings are repeated for every way
    to give the conditions to the replicates; those with cells at the same times are exchanged.

    Parameters
    ----------
    cells
        All cells.
    conditions
        Their conditions.
    values
        Probabilities of the fates as they were found, shape (n, F).
    run
        What carries cells of one condition.
    n_permutations
        Most ways.
    random_state
        Seed of the ways that are drawn.
    progress
        Wrapper of the loop over all ways.

    Returns
    -------
    The table of :func:`scruot.tl.fate_shift`; ``error`` is the standard deviation of the
    shift over the ways, that is if there were none.
    """
    rng = np.random.default_rng(random_state)
    settings = cells.settings(cells.states.codes)
    shared = Shared(settings, cells.times, members(cells, settings.metric), cells.last)
    rows: list[dict[str, Any]] = []
    for c in range(1, len(conditions.names)):
        pair = np.isin(conditions.codes, [0, c]) & np.isfinite(cells.time)
        part = cells.part(pair, shared)
        side = conditions.codes[pair] == c
        ids = np.arange(len(side))
        labels = ids if conditions.replicates is None else conditions.replicates[pair]
        unit = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        chosen = np.bincount(unit, side) > 0
        ways, exact = relabellings(
            chosen, _strata(part.time, unit), n_permutations=n_permutations, rng=rng
        )
        replicates = None if conditions.replicates is None else unit
        found = _differences(values[pair], part.time, side, replicates)
        others = []
        for mask in progress(ways):
            mixed = mask[unit]
            mass = within(part, mixed.astype(np.int64), run).mass[:, :-1]
            others.append(_differences(shares(mass), part.time, mixed, replicates))
        for t, difference in found.items():
            drawn = np.stack([other[t] for other in others if t in other])
            p, least = judged(difference, drawn, exact=exact)
            known = (part.time == t) & np.isfinite(values[pair]).all(1)
            units, above = unit_means(values[pair], side, replicates, known)
            compared = {"time": t, "condition": conditions.names[c]}
            compared["reference"] = conditions.names[0]
            shift = Shift(difference, _spread(drawn), p, least)
            rows += shift_rows(
                compared,
                cells.states.names,
                units,
                above,
                shift,
                unit="cells" if replicates is None else "replicates",
            )
    return shift_table(rows)


def _strata(time: NDArray[np.float64], unit: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return a number for each unit, the same for units with cells at the same times."""
    times, position = np.unique(time, return_inverse=True)
    present = np.zeros((int(unit.max()) + 1, len(times)), dtype=bool)
    present[unit, position] = True
    return np.asarray(np.unique(present, axis=0, return_inverse=True)[1].ravel(), dtype=np.int64)


def _differences(
    values: NDArray[np.float64],
    time: NDArray[np.float64],
    side: NDArray[np.bool_],
    replicates: NDArray[np.int64] | None,
) -> dict[float, NDArray[np.float64]]:
    """Return the difference of the means of units at every time that has both conditions."""
    known = np.isfinite(values).all(1)
    found = {}
    for t in np.unique(time):
        units, chosen = unit_means(values, side, replicates, known & (time == t))
        if chosen.any() and not chosen.all():
            found[float(t)] = units[chosen].mean(0) - units[~chosen].mean(0)
    return found


def _spread(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation about none; a way and its mirror image are as likely."""
    return np.asarray(np.sqrt((drawn**2).mean(0)), dtype=np.float64)
