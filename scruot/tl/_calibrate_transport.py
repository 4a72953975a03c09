"""The price of mass in static transport, from growth that is known."""

from __future__ import annotations

import logging
import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray

from scruot._checks import check_seed
from scruot.dynamics.device import resolve_device
from scruot.io.mass import Mass
from scruot.io.read import Cells, read_cells
from scruot.io.time import as_time
from scruot.tl._couple import grown
from scruot.tl._reading import how_to_read
from scruot.tl._selection import Chosen, chosen_rows
from scruot.tl._transport_auto import resolve
from scruot.tl._transport_params import make_params
from scruot.tl._transport_prior import read_rates
from scruot.transport import Coupling, Penalty, couple, tau_for_group, tau_for_spread
from scruot.transport.calibrate import UnreachableError

logger = logging.getLogger(__name__)


def calibrate_transport(
    adata: AnnData,
    cells: Chosen | None = None,
    *,
    growth: float | str,
    source_time: float | str | None = None,
    time_key: str | None = None,
    use_rep: str | None = None,
    n_dims: int | None = None,
    mass: Mass = "counts",
    penalty: str = "kl",
    reg: float | str = "auto",
    device: str = "auto",
    random_state: int = 0,
) -> float:
    """Find the price ``tau`` at which static transport finds growth that is known.

    Either the growth rate of a group of cells is known, e.g. from counts in culture, or a prior
    says how much growth varies between cells. One interval is coupled at several prices, without
    prior and with an exact target.

    Parameters
    ----------
    adata
        Cells of all times. Nothing is written.
    cells
        With a number as ``growth``: the cells whose growth is known, as in
        :func:`scruot.tl.descendants`.
    growth
        Their growth rate per unit of time; or, without ``cells``, a column of ``obs`` with growth
        rates, whose spread is to be found (its values at single cells are not used).
    source_time
        Time of the cells, a number or its label, where they are of several times. Without
        ``cells``: start of the interval that is regarded, by default the first.
    time_key, use_rep, n_dims, mass, penalty, reg, device, random_state
        As in :func:`scruot.tl.transport`.

    Returns
    -------
    ``tau`` for the source side of :func:`scruot.tl.transport`: give it as ``tau=(tau,
    float("inf"))``, with the same ``penalty`` and ``reg``.

    Raises
    ------
    KeyError
        For a missing column, representation or cell.
    TypeError, ValueError
        For anything else that cannot be coupled, cells of several times or of the last, and when no
        price gives that growth: the message says what can be reached.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`.

    Examples
    --------
    >>> import math, scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> dividing = {"lineage": "transition"}
    >>> tau = scruot.tl.calibrate_transport(
    ...     adata, dividing, growth=0.3, source_time=2, use_rep="X_genes"
    ... )
    >>> scruot.tl.transport(adata, tau=(tau, float("inf")), use_rep="X_genes", progress=False)
    >>> found = scruot.get.transport(adata)
    >>> members = found.cells[2][adata.obs.loc[found.cells[2], "lineage"] == "transition"]
    >>> factor = found.pull(source_time=2, target_time=3)[members].sum() / len(members)
    >>> abs(math.log(factor) - 0.3) < 0.01
    True
    """
    random_state = check_seed(random_state)
    params = make_params({"penalty": penalty, "reg": reg})
    target = resolve_device(device)
    source = how_to_read(adata, time_key=time_key, use_rep=use_rep, n_dims=n_dims)
    read = read_cells(adata, **source, mass=mass)
    times = np.unique(read.time[read.fitted])
    by_group = cells is not None
    if by_group:
        rows = chosen_rows(adata, cells, "cells")  # type: ignore[arg-type]
        rate = _rate(growth)
        start = _start(read, rows, times, source_time)
    else:
        rates = read_rates(adata, _column(growth), read)
        start = _position(times, times[0] if source_time is None else source_time, read.labels)
    snapshots = read.snapshots().to(target)
    settings = resolve(snapshots, params)
    ends = snapshots.x[start], snapshots.x[start + 1]
    masses = snapshots.weights[start], snapshots.weights[start + 1]
    total = float(masses[1].sum() / masses[0].sum())

    def solve(tau: float) -> Coupling:
        return couple(
            *ends,
            masses[0] * total,
            masses[1],
            source=Penalty(params.penalty, tau),  # type: ignore[arg-type]
            target=Penalty("exact"),
            reg=settings.regs[start],
            cost_scale=settings.cost_scale,
            random_state=random_state,
        )

    # the search begins at the automatic price
    first, duration = settings.source.tau, snapshots.durations[start]
    if by_group:
        here = np.flatnonzero(read.fitted & (read.time == times[start]))
        members = torch.from_numpy(np.isin(here, rows)).to(target)
        _require_others(members, total, duration)
    else:
        expected = grown(rates[start], duration)
        _require_spread(expected, growth)
    try:
        if by_group:
            tau = tau_for_group(solve, members, math.exp(rate * duration) / total, start=first)
        else:
            tau = tau_for_spread(solve, expected, start=first)
    except UnreachableError as error:
        raise ValueError(_unreachable(error, growth, total, duration)) from error
    logger.info("tau = %.4g, from the interval that starts at time %g", tau, times[start])
    return tau


def _require_others(members: torch.Tensor, total: float, duration: float) -> None:
    if bool(members.all()):
        msg = (
            "Found all cells of their time; their growth is that of the population, "
            f"{math.log(total) / duration:.4g} per unit of time by mass, whatever the price. Give "
            "a part of the cells."
        )
        raise ValueError(msg)


def _require_spread(expected: torch.Tensor, growth: Any) -> None:
    if float(expected.max() - expected.min()) == 0.0:
        msg = (
            f"Found obs[{growth!r}] with one rate for all cells of this interval; growth that does "
            "not vary has no price. Use tau=inf, or another source_time."
        )
        raise ValueError(msg)


def _unreachable(error: UnreachableError, growth: Any, total: float, duration: float) -> str:
    """Say in the user's units what can be reached."""
    if isinstance(growth, str):
        return f"obs[{growth!r}] varies more than any price of mass lets growth vary: {error}"
    low, high = (math.log(max(f * total, 1e-300)) / duration for f in (error.low, error.high))
    return (
        f"Found growth={growth!r} per unit of time; the couplings of this interval give these "
        f"cells from {low:.3g} to {high:.3g}, whatever the price of mass. Ask for one in between."
    )


def _rate(growth: Any) -> float:
    number = isinstance(growth, numbers.Real) and not isinstance(growth, bool)
    if not number or not math.isfinite(growth):
        msg = (
            f"Found growth={growth!r}; expected the growth rate of the cells per unit of time, a "
            "finite number."
        )
        raise ValueError(msg)
    return float(growth)


def _column(growth: Any) -> str:
    if not isinstance(growth, str):
        msg = (
            f"Found growth={growth!r} without cells; expected the cells that grow at this rate, or "
            "a column of obs as growth."
        )
        raise ValueError(msg)
    return growth


def _start(
    cells: Cells,
    rows: NDArray[np.integer],
    times: NDArray[np.float64],
    source_time: float | str | None,
) -> int:
    """Return the position of the time of the cells."""
    if source_time is not None:
        start = _position(times, source_time, cells.labels)
        if not (cells.fitted & (cells.time == times[start]))[rows].any():
            msg = f"None of the {len(rows)} cells is at time {times[start]:g} with positive mass."
            raise ValueError(msg)
        return start
    found = np.unique(cells.time[rows[cells.fitted[rows]]])
    if len(found) != 1:
        msg = (
            f"The cells are at times {found.tolist()}; expected cells of one time: choose it with "
            "source_time."
        )
        raise ValueError(msg)
    return _position(times, float(found[0]), cells.labels)


def _position(times: NDArray[np.float64], time: Any, labels: Mapping[str, float]) -> int:
    """Return the position of a time that has a later one."""
    found = np.flatnonzero(times[:-1] == as_time(time, labels))
    if len(found) == 0:
        known = [name for name, t in labels.items() if t in times[:-1]]
        msg = f"Found source_time={time!r}; expected one of {known or times[:-1].tolist()}."
        raise ValueError(msg)
    return int(found[0])
