"""Population of every group over time, observed and predicted."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._checks import check_seed, whole
from scruot._keys import LINEAGE_MASS, slots
from scruot.dynamics.passage import require_finite
from scruot.io.store import check_writable, writable
from scruot.io.time import read_moments
from scruot.tl._checks import check_step
from scruot.tl._classify import Classifier, classifier
from scruot.tl._fitted import FittedCells, read_fitted
from scruot.tl._groups import read_groups
from scruot.tl._simulate import time_grid
from scruot.tl._start import begin

# between two fitted times, where no times are asked for
_BETWEEN = 5


def lineage_mass(
    adata: AnnData,
    groupby: str,
    *,
    key: str | None = None,
    times: Iterable[float | str] | None = None,
    n_cells: int | None = 2000,
    step: float | Literal["adaptive"] | None = None,
    random_state: int = 0,
    device: str = "auto",
    key_added: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Follow the population of every group of cells, as predicted and as observed.

    The fitted cells of the first time are simulated once, with their weights. At each time a
    simulated cell is shared among the groups of its 15 nearest labelled cells of that time,
    weighed by one over the distance; between two observed times, the votes at both are mixed
    linearly in time. The sum of the weights of a group is its predicted population.

    Parameters
    ----------
    adata
        Cells with a fit, in memory or read back from a file.
    groupby
        Column of ``obs`` with groups. Cells may lack a label: they do not vote, and in the
        observed populations they count as the others of their time.
    key
        ``key_added`` of the fit.
    times
        Times, numbers in the unit of the fit or labels of the time column, observed or not; the
        first fitted time is added, as that is where the simulation begins. By default all times
        with cells from there on, and four times evenly between each two.
    n_cells
        Simulate a random sample of so many start cells; ``None`` takes all.
    step
        Largest time step in the unit of the fit, by default 4 % of the mean interval;
        ``"adaptive"`` halves it until that changes nothing (deterministic models only).
    random_state
        Seed of the sample and of the noise.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    key_added
        Prefix of the slot that is written; by default that of the fit.
    copy
        Whether to return a copy of ``adata`` with the result instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy. One row per time and group:

    ``time`` : float
    ``group`` : str
    ``mass``, ``mass_se`` : float
        Predicted population relative to the whole at the first fitted time, and its standard
        error from the sample of start cells; the model itself is taken as given.
    ``share`` : float
        Part of the predicted population at that time.
    ``mass_observed``, ``mass_observed_se`` : float
        The same by the mass rule of the fit, with the standard error of a sample of cells of a
        known population; NaN at times without labelled cells.
    ``share_observed`` : float
        Part of the observed population.

    Written as ``adata.uns["lineage_mass"]``, prefixed by ``key_added`` or as the fit is:

    ``"table"`` : DataFrame
        As returned.
    ``"groupby"``, ``"key"``, ``"time_key"``, ``"params"``
        How it was computed.

    Raises
    ------
    KeyError
        When there is no such fit or column.
    ValueError
        For times before the first fitted one, a parameter out of range, or when the
        representation has changed since the fit.
    RuntimeError
        When the model drives cells away to infinity, or ``step="adaptive"`` does not settle.

    See Also
    --------
    scruot.tl.evaluate : populations of groups beside other scores, at observed times.
    scruot.pl.lineage_mass : draw the table.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> table = scruot.tl.lineage_mass(adata, "lineage")
    >>> start = table[table["time"] == 0].set_index("group")
    >>> start[["mass", "mass_observed"]].sum().round(6).tolist()
    [1.0, 1.0]
    """
    random_state = check_seed(random_state)
    whole("n_cells", n_cells, optional=True)
    check_step(step)
    check_writable(adata, copy=copy)
    slot = slots(key if key_added is None else key_added).table(LINEAGE_MASS)
    cells = read_fitted(adata, key, device)
    groups = read_groups(adata, groupby)
    names = [str(name) for name in groups.categories]
    beginning = begin(adata, cells, None, backward=False)
    grid = _grid(times, cells)
    everyone = n_cells is None or n_cells >= len(beginning.x)
    start = beginning.drawn(None if everyone else n_cells, np.random.default_rng(random_state))
    run = cells.model.simulate(
        np.asarray(start.x), grid, weights=start.weights, step=step, random_state=random_state
    )
    require_finite(run)
    votes = classifier(groups, cells)
    rows = []
    for t, x, weight in zip(grid, run.x.numpy(), run.weights.double().numpy(), strict=True):
        predicted = _predicted(votes.at(t, x), weight, start.weights)
        rows += _rows(t, names, predicted, _observed(votes, cells, t))
    table = pd.DataFrame(rows)
    result: dict[str, Any] = {
        "table": table,
        "groupby": groupby,
        "key": slots(key).key,
        "time_key": str(cells.record["params"]["time_key"]),
        "params": {
            "n_cells": "all" if n_cells is None else n_cells,
            "random_state": random_state,
            "step": "default" if step is None else step,
        },
    }
    written = writable(adata, copy=copy)
    written.uns[slot] = result
    return written if copy else table.copy()


def _grid(times: Iterable[float | str] | None, cells: FittedCells) -> list[float]:
    first = cells.model.times[0]
    if times is not None:
        asked = read_moments(times, cells.labels)
        return time_grid([first, *asked], first, cells, backward=False)
    seen = np.unique(cells.time[cells.mass > 0])
    seen = np.unique(np.append(seen[seen > first], [first, *cells.model.times]))
    pieces = [np.linspace(a, b, _BETWEEN, endpoint=False) for a, b in pairwise(seen)]
    return [float(t) for t in np.concatenate([*pieces, seen[-1:]])]


def _predicted(
    votes: NDArray[np.float64], weight: NDArray[np.float64], start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the populations of the groups and their standard errors.

    The total is a mean over start cells with weights ``start``, so that cell ``i`` moves it by
    what it adds beyond its share of the whole.
    """
    each = votes * weight[:, None]
    mass = each.sum(axis=0)
    return mass, standard_error(each - start[:, None] * mass)


def standard_error(influence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of a sum over cells from the influence (n, k) of each."""
    n = len(influence)
    if n < 2:
        return np.full(influence.shape[1:], np.nan)
    return np.asarray(np.sqrt(n / (n - 1) * np.square(influence).sum(axis=0)))


def _observed(
    votes: Classifier, cells: FittedCells, t: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    here = votes.time == t
    if not here.any():
        unknown = np.full(votes.n_groups, np.nan)
        return unknown, unknown
    weight = votes.mass[here] / votes.mass[here].sum()
    member = (votes.codes[here][:, None] == np.arange(votes.n_groups)).astype(float)
    share = weight @ member
    population = cells.population(t)
    return population * share, population * standard_error(weight[:, None] * (member - share))


def _rows(
    t: float,
    names: list[str],
    predicted: tuple[NDArray[np.float64], NDArray[np.float64]],
    observed: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> list[dict[str, Any]]:
    total, seen = predicted[0].sum(), observed[0].sum()
    return [
        {
            "time": float(t),
            "group": name,
            "mass": float(predicted[0][j]),
            "mass_se": float(predicted[1][j]),
            "share": float(predicted[0][j] / total),
            "mass_observed": float(observed[0][j]),
            "mass_observed_se": float(observed[1][j]),
            "share_observed": float(observed[0][j] / seen),
        }
        for j, name in enumerate(names)
    ]
