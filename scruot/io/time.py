"""Times of cells: any sensible ``obs`` column to numbers in the user's unit."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)

# after a letter a dot joins ("day.5"), elsewhere it leads a fraction (".5")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|(?<![A-Za-z])\.\d+)(?:[eE][-+]?\d+)?")


def read_times(
    column: pd.Series, time_key: str, ranks: Mapping[str, float] | None = None
) -> NDArray[np.float64]:
    """Return the time of every cell, shape (n,), with real spacing kept.

    Numbers are taken as they are, labels with one number each (``"day 3"``, ``"E8.5"``) by
    that number, ordered categories without numbers by their rank.

    Parameters
    ----------
    column
        The times.
    time_key
        Name of the column, for messages.
    ranks
        Ranks of ordered categories as :func:`label_ranks` gave them at a fit: other cells, or
        a part of them, may have other categories.

    Raises
    ------
    ValueError
        For missing, unreadable or ambiguous times.
    """
    missing = column.isna()
    if missing.any():
        msg = (
            f"obs[{time_key!r}] is missing for {int(missing.sum())} of {len(column)} cells "
            f"(first: {column.index[missing][0]!r}); give every cell a time or drop those cells."
        )
        raise ValueError(msg)
    times: NDArray[np.float64]
    if ranks is not None and not pd.api.types.is_numeric_dtype(column.dtype):
        times = _by_rank(column, time_key, ranks)
    elif isinstance(column.dtype, pd.CategoricalDtype):
        times = _from_categories(column.cat.remove_unused_categories(), time_key)
    elif pd.api.types.is_bool_dtype(column.dtype):
        msg = f"obs[{time_key!r}] is boolean; expected times, e.g. 0 and 1 in a unit of yours."
        raise ValueError(msg)
    elif pd.api.types.is_numeric_dtype(column.dtype):
        times = _as_written(column)
    elif pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(
        column.dtype
    ):
        msg = (
            f"obs[{time_key!r}] holds dates or durations ({column.dtype}); convert it to numbers "
            "in the unit of your choice, e.g. days."
        )
        raise ValueError(msg)
    else:
        labels = pd.unique(column.astype(str))
        parsed = column.astype(str).map(_parse_labels(list(labels), time_key))
        times = np.asarray(parsed, dtype=np.float64)
    if not np.isfinite(times).all():
        msg = f"obs[{time_key!r}] holds infinite times; expected finite numbers."
        raise ValueError(msg)
    return times


def _as_written(column: pd.Series) -> NDArray[np.float64]:
    """Return numbers in double precision: what single precision shows as 0.1 becomes 0.1."""
    times = np.asarray(column, dtype=np.float64)
    kind, size = getattr(column.dtype, "kind", ""), getattr(column.dtype, "itemsize", 8)
    if kind != "f" or size >= 8:
        return times
    unique, inverse = np.unique(times.astype(f"f{size}"), return_inverse=True)
    shortest: NDArray[np.float64] = unique.astype(str).astype(np.float64)
    return shortest[inverse]


def label_ranks(column: pd.Series) -> dict[str, float] | None:
    """Return the times of ordered categories without numbers, ``None`` for all other columns."""
    if not isinstance(column.dtype, pd.CategoricalDtype) or not column.cat.ordered:
        return None
    categories = column.cat.remove_unused_categories().cat.categories
    labels = [str(c) for c in categories]
    if categories.dtype.kind in "biufc" or any(_NUMBER.search(label) for label in labels):
        return None
    return {label: float(rank) for rank, label in enumerate(labels)}


def label_times(column: pd.Series, times: ArrayLike) -> dict[str, float]:
    """Return the time of every label of a column of strings; nothing for other columns.

    Parameters
    ----------
    column
        The times as the user wrote them, shape (n,).
    times
        The same as numbers, shape (n,).
    """
    unique, first = np.unique(np.asarray(times, dtype=np.float64), return_index=True)
    labels = zip(column.iloc[first], unique, strict=True)
    return {label: float(time) for label, time in labels if isinstance(label, str)}


def as_time(asked: Any, labels: Mapping[str, float]) -> float:
    """Return a time that was given as a number or by its label; NaN for anything else."""
    if isinstance(asked, str):
        return labels.get(asked, float("nan"))
    try:
        return float(asked)
    except (TypeError, ValueError):
        return float("nan")


def read_moments(asked: Any, labels: Mapping[str, float]) -> NDArray[np.float64]:
    """Return times that were given as numbers or by their labels, in order and without repeats.

    Raises
    ------
    ValueError
        For anything that is neither.
    """
    one = isinstance(asked, str) or not isinstance(asked, Iterable)
    given = [asked] if one or getattr(asked, "ndim", 1) == 0 else list(asked)
    moments = np.array([as_time(value, labels) for value in given], dtype=np.float64)
    lost = [v for v, t in zip(given, moments, strict=True) if not np.isfinite(t)]
    if lost:
        named = f", or some of the labels {list(labels)}" if labels else ""
        msg = (
            f"Found times with {lost[0]!r}; expected finite numbers in the unit of the fit{named}."
        )
        raise ValueError(msg)
    return np.unique(moments)


def _by_rank(column: pd.Series, time_key: str, ranks: Mapping[str, float]) -> NDArray[np.float64]:
    labels = column.astype(str)
    new = sorted(set(labels) - ranks.keys())
    if new:
        msg = (
            f"obs[{time_key!r}] holds {new[:5]}, which the fit has not seen; its times are {ranks}."
        )
        raise ValueError(msg)
    return np.asarray(labels.map(dict(ranks)), dtype=np.float64)


def _from_categories(column: pd.Series, time_key: str) -> NDArray[np.float64]:
    categories = column.cat.categories
    if pd.api.types.is_numeric_dtype(categories.dtype):
        return read_times(pd.Series(column.to_numpy(), column.index), time_key)
    ranks = label_ranks(column)
    if ranks is not None:
        logger.info("obs[%r] has ordered labels without numbers: times are 0, 1, ...", time_key)
        return _by_rank(column, time_key, ranks)
    labels = [str(c) for c in categories]
    values = _parse_labels(labels, time_key)
    if column.cat.ordered:
        numbers = [values[label] for label in labels]
        if numbers != sorted(numbers):
            msg = (
                f"obs[{time_key!r}] is ordered as {labels}, but the numbers in the labels are "
                f"{numbers}; reorder the categories or store numbers."
            )
            raise ValueError(msg)
    return np.asarray(column.astype(str).map(values), dtype=np.float64)


def _parse_labels(labels: list[str], time_key: str) -> dict[str, float]:
    found = {label: _NUMBER.findall(_unhyphenated(label)) for label in labels}
    bad = [label for label, numbers in found.items() if len(numbers) != 1]
    if bad:
        msg = (
            f"obs[{time_key!r}] has labels without exactly one number: {bad[:5]}; expected "
            "numbers, or labels such as 'day 3' or 'E8.5'."
        )
        raise ValueError(msg)
    values = {label: float(numbers[0]) for label, numbers in found.items()}
    by_time: dict[float, str] = {}
    for label, value in values.items():
        if value in by_time:
            msg = (
                f"obs[{time_key!r}] has two labels for time {value:g}: {by_time[value]!r} and "
                f"{label!r}; merge them or store numbers."
            )
            raise ValueError(msg)
        by_time[value] = label
    return values


def _unhyphenated(label: str) -> str:
    # in "day-3" the hyphen joins, it is no sign; in "-3" and "1e-3" it is one
    return re.sub(r"(?<=[A-Za-z])(?<![\d.][eE])-(?=\d)", " ", label)
