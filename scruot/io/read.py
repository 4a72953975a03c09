"""AnnData to snapshots."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray

from scruot._messages import did_you_mean
from scruot.dynamics.snapshots import Snapshots
from scruot.io.mass import Mass, read_mass
from scruot.io.representation import read_representation, require_variation
from scruot.io.samples import read_batches, read_replicates
from scruot.io.time import as_time, label_ranks, label_times, read_times

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cells:
    """What is read of an AnnData: one row per cell.

    Parameters
    ----------
    x
        Coordinates (n, d).
    time
        Times (n,).
    mass
        Absolute masses (n,).
    fitted
        Which cells a fit may see (n,): neither at a held-out time nor held out themselves.
    held_out
        Which cells are held out by themselves (n,).
    ranks
        Times of ordered labels without numbers, where the time column has them.
    labels
        Time of every label, where the time column holds labels.
    batch, replicate
        Numbers of the cells' batches and replicates (n,), where they were asked for.
    """

    x: NDArray[np.float32]
    time: NDArray[np.float64]
    mass: NDArray[np.float64]
    fitted: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    ranks: Mapping[str, float] | None = None
    labels: Mapping[str, float] = field(default_factory=dict)
    batch: NDArray[np.int64] | None = None
    replicate: NDArray[np.int64] | None = None

    def snapshots(self) -> Snapshots:
        """Return the fitted cells by time; populations include cells held out by themselves."""
        times = np.unique(self.time[self.fitted])
        clouds, weights, batches = [], [], []
        for t in times:
            here = self.fitted & (self.time == t)
            if self.batch is not None:
                batches.append(torch.from_numpy(self.batch[here]))
            population = self.mass[self.time == t].sum()
            clouds.append(torch.from_numpy(self.x[here]))
            weight = self.mass[here] * (population / self.mass[here].sum())
            weights.append(torch.from_numpy(weight))
        return Snapshots(
            tuple(float(t) for t in times), tuple(clouds), tuple(weights), tuple(batches)
        )

    def replicates(self) -> tuple[NDArray[np.int64], ...] | None:
        """Return the replicates of the fitted cells by time, as :meth:`snapshots` has them."""
        if self.replicate is None:
            return None
        here = [self.fitted & (self.time == t) for t in np.unique(self.time[self.fitted])]
        return tuple(self.replicate[rows] for rows in here)


def check_names(adata: AnnData) -> None:
    """Refuse duplicate cell names."""
    if not adata.obs_names.is_unique:
        twice = adata.obs_names[adata.obs_names.duplicated()][0]
        msg = (
            f"Cell names are not unique (e.g. {twice!r}); expected one name per cell: "
            "call adata.obs_names_make_unique()."
        )
        raise ValueError(msg)


def read_obs(adata: AnnData, key: str, what: str) -> pd.Series:
    """Return a column of ``obs``, or say which columns there are."""
    if key not in adata.obs:
        msg = (
            f"No {what} {key!r} in obs (found {sorted(map(str, adata.obs.columns))})."
            f"{did_you_mean(key, map(str, adata.obs.columns))}"
        )
        if what == "time column":
            msg += " Name the column with time_key."
        raise KeyError(msg)
    return adata.obs[key]


def read_cells(
    adata: AnnData,
    *,
    time_key: str,
    use_rep: str,
    n_dims: int | None = None,
    mass: Mass = "counts",
    holdout: float | str | Iterable[float | str] | None = None,
    holdout_cells: float | str | None = None,
    batch_key: str | None = None,
    replicate_key: str | None = None,
    random_state: int = 0,
) -> Cells:
    """Read and check everything that a fit needs; nothing is written.

    Raises
    ------
    KeyError
        For a missing column or representation.
    ValueError
        For data that cannot be fitted; the message says what was found and what to do.
    """
    check_names(adata)
    column = read_obs(adata, time_key, "time column")
    times = read_times(column, time_key)
    x = read_representation(adata, use_rep, n_dims)
    require_variation(x, use_rep)
    weights = read_mass(adata.obs, times, mass)
    labels = label_times(column, times)
    fitted = ~_at_times(times, holdout, labels)
    held_out = _held_out_cells(adata, times, holdout_cells, random_state)
    # a cell without mass carries nothing; it is evaluated, not fitted
    fitted &= ~held_out & (weights > 0)
    remaining = np.unique(times[fitted])
    if len(remaining) < 2:
        msg = (
            f"Found {len(remaining)} time point(s) to fit in obs[{time_key!r}] (all times: "
            f"{np.unique(times).tolist()}); dynamics need at least two."
        )
        raise ValueError(msg)
    batch, replicate = None, None
    if batch_key is not None:
        samples = read_obs(adata, batch_key, "batch column")
        batch = read_batches(samples, batch_key, times, fitted)
    if replicate_key is not None:
        samples = read_obs(adata, replicate_key, "replicate column")
        replicate = read_replicates(samples, replicate_key, times, fitted)
    ranks = label_ranks(column)
    return Cells(x, times, weights, fitted, held_out, ranks, labels, batch, replicate)


def _at_times(
    times: NDArray[np.float64],
    holdout: float | str | Iterable[float | str] | None,
    labels: Mapping[str, float],
) -> NDArray[np.bool_]:
    if holdout is None:
        return np.zeros(len(times), dtype=bool)
    asked = [holdout] if np.isscalar(holdout) else list(holdout)  # type: ignore[arg-type]
    observed = np.unique(times)
    wanted = [as_time(value, labels) for value in asked]
    lost = [value for value, time in zip(asked, wanted, strict=True) if time not in observed]
    if lost:
        known = list(labels) or observed.tolist()
        msg = f"Cannot hold out time {lost[0]!r}: observed times are {known}."
        raise ValueError(msg)
    return np.isin(times, wanted)


def _held_out_cells(
    adata: AnnData, times: NDArray[np.float64], asked: float | str | None, random_state: int
) -> NDArray[np.bool_]:
    n = len(times)
    if asked is None:
        return np.zeros(n, dtype=bool)
    if isinstance(asked, str):
        column = read_obs(adata, asked, "column of held-out cells")
        if not pd.api.types.is_bool_dtype(column.dtype):
            msg = f"obs[{asked!r}] has dtype {column.dtype}; expected booleans, True: held out."
            raise ValueError(msg)
        if column.isna().any():
            msg = f"obs[{asked!r}] has missing values; expected booleans, True: held out."
            raise ValueError(msg)
        chosen = column.to_numpy(dtype=bool)
    else:
        if not isinstance(asked, numbers.Real) or not 0 < asked < 1:
            msg = f"Found holdout_cells={asked!r}; expected a share between 0 and 1, or a column."
            raise ValueError(msg)
        chosen = np.zeros(n, dtype=bool)
        rng = np.random.default_rng(random_state)
        for t in np.unique(times):
            here = np.flatnonzero(times == t)
            chosen[rng.permutation(here)[: round(asked * len(here))]] = True
    for t in np.unique(times):
        if chosen[times == t].all():
            msg = f"holdout_cells leaves no cell to fit at time {t:g}; use holdout for whole times."
            raise ValueError(msg)
    return chosen
