"""Growth priors of cells, as static transport reads them."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot.io.read import Cells, read_obs

logger = logging.getLogger(__name__)

# one cell that is expected to have more descendants than this many cells of another kind
_ABSURD = 1e6


def read_rates(adata: AnnData, column: str, cells: Cells) -> list[NDArray[np.float64]]:
    """Return the expected growth rates of the fitted cells of each time.

    Raises
    ------
    KeyError
        When there is no such column.
    ValueError
        For anything but finite numbers; cells of the last time may have none.
    """
    rates = read_rate_column(adata, column)
    require_finite_rates(rates, column, cells)
    parts = rates_by_time(rates, cells)
    _warn(column, parts, np.unique(cells.time[cells.fitted]))
    return parts


def require_finite_rates(rates: NDArray[np.float64], column: str, cells: Cells) -> None:
    """Refuse rates that are missing or infinite before the last time.

    Raises
    ------
    ValueError
        For such rates.
    """
    last = cells.time[cells.fitted].max()
    bad = cells.fitted & (cells.time < last) & ~np.isfinite(rates)
    if bad.any():
        msg = (
            f"obs[{column!r}] holds {int(bad.sum())} rates that are missing or infinite; expected "
            "one for every cell before the last time."
        )
        raise ValueError(msg)


def read_rate_column(adata: AnnData, column: str) -> NDArray[np.float64]:
    """Return a column of rates, shape (n,), as it is.

    Raises
    ------
    KeyError
        When there is no such column.
    ValueError
        When it holds no numbers.
    """
    values = read_obs(adata, column, "growth prior")
    if not pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        msg = (
            f"obs[{column!r}] has dtype {values.dtype}; expected growth rates per unit of time, "
            "e.g. of scruot.pp.growth_prior."
        )
        raise ValueError(msg)
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def rates_by_time(rates: NDArray[np.float64], cells: Cells) -> list[NDArray[np.float64]]:
    """Return the rates of the fitted cells of each time."""
    times = np.unique(cells.time[cells.fitted])
    return [rates[cells.fitted & (cells.time == t)] for t in times]


def _warn(column: str, parts: list[NDArray[np.float64]], times: NDArray[np.float64]) -> None:
    """Warn of rates that cannot be meant per unit of the time column."""
    for rates, start, end in zip(parts[:-1], times[:-1], times[1:], strict=True):
        ratio = np.ptp(rates) * (end - start)
        if ratio > np.log(_ABSURD):
            logger.warning(
                "By obs[%r] a cell of time %g has up to exp(%.3g) times as many descendants at "
                "time %g as another; are the rates per unit of the time column?",
                column,
                start,
                ratio,
                end,
            )
