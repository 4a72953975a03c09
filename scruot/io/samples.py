"""Which batch, and which replicate, every cell is of."""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scruot.io.mass import Mass

logger = logging.getLogger(__name__)

_SHOWN = 5


def sample_labels(column: pd.Series, name: str, what: str) -> pd.Categorical:
    """Return the sample of every cell.

    Raises
    ------
    ValueError
        For measurements, and for cells without a label.
    """
    measured = pd.api.types.is_float_dtype(column.dtype)
    if measured or pd.api.types.is_datetime64_any_dtype(column.dtype):
        msg = (
            f"Found {what}={name!r} with dtype {column.dtype}; expected labels: a categorical "
            "column, words or whole numbers."
        )
        raise ValueError(msg)
    missing = column.isna().to_numpy()
    if missing.any():
        msg = (
            f"obs[{name!r}] has no label for {int(missing.sum())} cells (first: "
            f"{column.index[missing][0]!r}); expected the {what.removesuffix('_key')} of every "
            "cell: label them or drop them."
        )
        raise ValueError(msg)
    return column.astype("category").cat.remove_unused_categories().array


def read_batches(
    column: pd.Series, name: str, times: NDArray[np.float64], fitted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the number of every cell's batch; every interval has one with cells at both ends.

    Raises
    ------
    ValueError
        For labels that are none, and where batches do not span an interval.
    """
    labels = sample_labels(column, name, "batch_key")
    codes = np.asarray(labels.codes, dtype=np.int64)
    for start, end in pairwise(np.unique(times[fitted])):
        here, there = (set(codes[fitted & (times == t)].tolist()) for t in (start, end))
        if not here & there:
            first, last = (_named(labels, found) for found in (here, there))
            msg = (
                f"No batch of obs[{name!r}] has cells at both {start:g} and {end:g} (there: "
                f"{first}; {last}); coupling within batches needs one at both ends of each "
                "interval: leave batch_key out, or name a column whose batches span the times."
            )
            raise ValueError(msg)
        for batch in sorted(here ^ there):
            logger.warning(
                "Batch %r has cells at one end only of the interval from %g to %g; they are not "
                "coupled there.",
                str(labels.categories[batch]),
                start,
                end,
            )
    return codes


def read_replicates(
    column: pd.Series, name: str, times: NDArray[np.float64], fitted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the number of every cell's replicate; every time has at least two.

    Raises
    ------
    ValueError
        For labels that are none, and for a time with one replicate.
    """
    labels = sample_labels(column, name, "replicate_key")
    codes = np.asarray(labels.codes, dtype=np.int64)
    for time in np.unique(times[fitted]):
        found = set(codes[fitted & (times == time)].tolist())
        if len(found) < 2:
            msg = (
                f"Found one replicate in obs[{name!r}] at time {time:g} "
                f"({_named(labels, found)[0]!r}); expected at least two at every time, without "
                "which nothing says how far replicates differ: leave replicate_key out."
            )
            raise ValueError(msg)
    return codes


def sizes_given(mass: Mass) -> bool:
    """Tell whether populations were given, and are not sums over the cells that were caught."""
    return not isinstance(mass, str) or mass == "equal"


def _named(labels: pd.Categorical, codes: set[int]) -> list[str]:
    names = [str(labels.categories[code]) for code in sorted(codes)]
    return [*names[:_SHOWN], "..."] if len(names) > _SHOWN else names
