"""Carry cells through time."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import SIMULATION, slots
from scruot._messages import unknown
from scruot.dynamics.model import Dynamics
from scruot.dynamics.passage import require_finite
from scruot.dynamics.simulate import Trajectories
from scruot.tl._checks import check_step, whole
from scruot.tl._fitted import read_fitted
from scruot.tl._start import Beginning, Start, begin

_DIRECTIONS = ("forward", "backward")

logger = logging.getLogger(__name__)


def simulate(
    adata: AnnData,
    times: Iterable[float] | None = None,
    *,
    key: str | None = None,
    start: Start = None,
    n_cells: int | None = None,
    stochastic: bool | None = None,
    direction: Literal["forward", "backward"] = "forward",
    step: float | Literal["adaptive"] | None = None,
    random_state: int = 0,
    device: str = "auto",
) -> AnnData:
    """Carry weighted cells through time with a fitted model, also to times never observed.

    A simulated cell stands for the descendants of its start cell: it moves with the model's
    velocity (or drift and noise), and its weight follows the model's growth. Start weights are
    those of the cells in the fit, one in total, so that the sum of the weights at a time is the
    population relative to the start.

    Parameters
    ----------
    adata
        Cells with a fit, in memory or read back from a file. Nothing is written to it.
    times
        At least two times in the unit of the fit, observed or not, in any order. The first in
        the direction of the simulation is where the start is. By default the fitted times from
        the start cells on (all of them, for coordinates).
    key
        ``key_added`` of the fit.
    start
        ``None`` takes the cells that the fit saw at its first time (its last, backwards). Else
        a boolean column of ``obs``, a boolean mask, or a list of cell names, all of one time;
        or coordinates, an array (n, d) in the fitted representation.
    n_cells
        Draw so many of the start cells at random: without replacement, or with replacement if
        more are asked for than there are. Their total weight stays one.
    stochastic
        Whether to draw noise; by default as the model has it, and without backwards.
    direction
        ``"forward"`` or ``"backward"``. Backwards, a deterministic flow leads cells to where
        they came from, and weights shrink where cells have grown.
    step
        Largest time step in the unit of the fit, by default 4 % of the mean interval;
        ``"adaptive"`` halves it until that changes nothing (deterministic models only).
    random_state
        Seed of the draw and of the noise.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.

    Returns
    -------
    AnnData with one row per simulated cell and time, time by time, and

    ``obs["time"]``, ``obs["weight"]`` : float
        Time, and mass relative to the whole start.
    ``obs["start_cell"]`` : categorical
        Name of the start cell (``"start0"``, ... for coordinates).
    ``obs["trajectory"]`` : int
        Number of the trajectory.
    ``obsm[use_rep]`` : array (n, d), float32
        Coordinates in the fitted representation (``X`` if the fit used ``"X"``).
    ``uns["simulation"]`` : dict
        ``"key"``, ``"method"``, ``"use_rep"``, ``"direction"``, ``"stochastic"``,
        ``"random_state"``.

    Raises
    ------
    KeyError
        When there is no such fit, column or cell.
    ValueError
        For times or start cells that do not fit together, or when the representation has
        changed since the fit; raised before anything is computed.
    RuntimeError
        When the model drives cells away to infinity, or ``step="adaptive"`` does not settle.

    See Also
    --------
    scruot.get.dynamics : the model as a callable.
    scruot.pl.trajectories : draw the simulation.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> simulated = scruot.tl.simulate(adata, times=[0, 0.5, 1], n_cells=100)
    >>> simulated.obsm["X_genes"].shape
    (300, 2)
    >>> population = simulated.obs.groupby("time")["weight"].sum()
    >>> float(population.loc[0].round(6))
    1.0
    """
    if direction not in _DIRECTIONS:
        raise ValueError(unknown("direction", direction, _DIRECTIONS))
    backward = direction == "backward"
    check_step(step)
    whole("n_cells", n_cells)
    cells = read_fitted(adata, key, device)
    beginning = begin(adata, cells, start, backward=backward)
    grid = _grid(times, beginning.time, cells.model, backward=backward)
    chosen = beginning.drawn(n_cells, np.random.default_rng(random_state))
    noisy = stochastic
    if stochastic is None:
        noisy = cells.model.stochastic and not backward
    run = cells.model.simulate(
        np.asarray(chosen.x),
        grid,
        weights=chosen.weights,
        stochastic=noisy,
        step=step,
        random_state=random_state,
    )
    require_finite(run)
    settings = {
        "key": slots(key).key,
        "method": cells.model.method,
        "use_rep": str(cells.record["representation"]["use_rep"]),
        "direction": direction,
        "stochastic": bool(noisy),
        "random_state": random_state,
    }
    return _as_anndata(adata, run, chosen, settings)


def _grid(
    times: Iterable[float] | None, begins: float | None, model: Dynamics, *, backward: bool
) -> list[float]:
    """Return the times of the simulation in its direction, checked against its start."""
    if times is None:
        fitted = np.asarray(model.times)
        if begins is not None:
            after = fitted < begins if backward else fitted > begins
            fitted = np.append(fitted[after], begins)
        grid = np.unique(fitted)
    else:
        grid = _numbers(times)
    if backward:
        grid = grid[::-1]
    if len(grid) < 2:
        msg = (
            f"Found times={grid.tolist()}; expected at least two different times, the first "
            f"where the cells start. Fitted times: {list(model.times)}."
        )
        raise ValueError(msg)
    if grid.min() < model.times[0] or grid.max() > model.times[-1]:
        logger.warning(
            "Simulating from %g to %g, beyond the fitted times %g to %g: what the model says "
            "there rests on no data.",
            grid[0],
            grid[-1],
            model.times[0],
            model.times[-1],
        )
    if begins is not None and abs(grid[0] - begins) > 1e-9 * model.scale.time:
        msg = (
            f"The start cells are at time {begins:g}, but the simulation would begin at "
            f"{grid[0]:g}; add {begins:g} to times, or give start cells of time {grid[0]:g} "
            "(or coordinates)."
        )
        raise ValueError(msg)
    return [float(t) for t in grid]


def _numbers(times: Any) -> NDArray[np.float64]:
    if np.ndim(times) == 0 and not isinstance(times, (str, Iterable)):
        times = [times]
    try:
        numbers = np.unique(np.asarray(list(times), dtype=np.float64))
    except (TypeError, ValueError) as error:
        msg = f"Found times={times!r}; expected numbers in the unit of the fit."
        raise ValueError(msg) from error
    if not np.isfinite(numbers).all():
        msg = f"Found times={numbers.tolist()}; expected finite times."
        raise ValueError(msg)
    return numbers


def _as_anndata(
    adata: AnnData, run: Trajectories, chosen: Beginning, settings: dict[str, Any]
) -> AnnData:
    n_times, n, dim = run.x.shape
    trajectory = np.tile(np.arange(n), n_times)
    obs = pd.DataFrame(
        {
            "time": np.repeat(run.times.numpy(), n),
            "weight": run.weights.double().numpy().ravel(),
            "start_cell": pd.Categorical(np.tile(chosen.names, n_times)),
            "trajectory": trajectory,
        },
        index=[f"trajectory{i}_time{k}" for k in range(n_times) for i in range(n)],
    )
    states = run.x.numpy().astype(np.float32).reshape(n_times * n, dim)
    use_rep = settings["use_rep"]
    if use_rep == "X":
        var = pd.DataFrame(index=adata.var_names[:dim])
        return AnnData(states, obs=obs, var=var, uns={SIMULATION: settings})
    return AnnData(obs=obs, obsm={use_rep: states}, uns={SIMULATION: settings})
