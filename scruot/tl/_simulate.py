"""Carry cells through time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from anndata import AnnData

from scruot._checks import check_seed, whole
from scruot._keys import slots
from scruot._messages import unknown
from scruot.dynamics.passage import require_finite
from scruot.io.time import read_moments
from scruot.tl._checks import check_step
from scruot.tl._classify import classifier
from scruot.tl._express import Via, expresser
from scruot.tl._fitted import FittedCells, read_fitted
from scruot.tl._groups import read_groups
from scruot.tl._perturb import Perturb, describe, outside, read_shift, warn_outside
from scruot.tl._simulated import Labels, as_anndata
from scruot.tl._start import Beginning, Start, begin

_DIRECTIONS = ("forward", "backward")

logger = logging.getLogger(__name__)


def simulate(
    adata: AnnData,
    times: Iterable[float | str] | None = None,
    *,
    key: str | None = None,
    start: Start = None,
    n_cells: int | None = None,
    stochastic: bool | None = None,
    direction: Literal["forward", "backward"] = "forward",
    perturb: Perturb | None = None,
    loadings: str | None = None,
    groupby: str | None = None,
    genes: Sequence[str] | None = None,
    genes_via: Via = "auto",
    layer: str | None = None,
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
        At least two times, observed or not, in any order: numbers in the unit of the fit, or
        labels of the time column such as ``"day 2"``. The first in the direction of the simulation
        is where the start is. By default the fitted times from the start cells on (all of them, for
        coordinates).
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
    perturb
        Change the start cells first: ``{gene: change}``, in the units of the matrix that the
        representation was computed from (``{"Gata1": +1.0}``), through stored loadings; or a
        shift of the coordinates, shape (d,), or (n, d) with one for each start cell. A gene
        moves a cell by its change times its loading, as projecting the changed expression
        would: what the loadings do not see has no effect.
    loadings
        Entry of ``varm`` with the weights of genes, as in :func:`scruot.tl.gene_velocity`.
    groupby
        Column of ``obs`` with groups: simulated cells get the group that most of their 15
        nearest labelled cells of the same time have, weighed by one over the distance. Between
        observed times the votes of both neighbours are mixed.
    genes
        Also give the expression of these genes, as ``X`` of the simulation.
    genes_via
        ``"loadings"``: the linear reconstruction, with the mean of the observed cells. It is
        smooth, follows no nonlinear relation and may fall below zero. ``"neighbors"``: the mean
        of the 30 nearest observed cells of all times, with Gaussian weights. It stays among the
        observed values, also where the simulation has left the data. ``"auto"``: the first
        where there are loadings that turn the matrix into the representation, else the second.
    layer
        Layer with the expression, ``X`` by default.
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
    ``obs[groupby]``, ``obs["fate"]`` : categorical
        With ``groupby``: the group of each simulated cell, and the group where its trajectory
        ends (``obs["origin"]`` backwards), with the colours of ``adata`` in ``uns``.
    ``X`` : array (n, genes), float32
        With ``genes``: their expression.
    ``uns["simulation"]`` : dict
        ``"key"``, ``"method"``, ``"use_rep"``, ``"direction"``, ``"stochastic"``,
        ``"random_state"``; where asked for, ``"perturb"``, ``"shift"`` (d,), ``"outside"``
        (share of perturbed start cells farther from the observed ones of their time than 99 %
        of these are from each other), ``"groupby"``, ``"genes_via"``.

    Raises
    ------
    KeyError
        When there is no such fit, column, cell, gene or layer, or genes are perturbed where no
        loadings are stored.
    ValueError
        For times or start cells that do not fit together, genes that the loadings leave out, or
        when the representation has changed since the fit; raised before anything is computed.
    RuntimeError
        When the model drives cells away to infinity, or ``step="adaptive"`` does not settle.

    See Also
    --------
    scruot.get.dynamics : the model as a callable.
    scruot.tl.perturbation : the fates of perturbed cells beside those of the others.
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
    random_state = check_seed(random_state)
    whole("n_cells", n_cells, optional=True)
    cells = read_fitted(adata, key, device)
    beginning = begin(adata, cells, start, backward=backward)
    grid = time_grid(times, beginning.time, cells, backward=backward)
    groups = None if groupby is None else read_groups(adata, groupby)
    express = None
    if genes is not None:
        express = expresser(adata, cells, genes, via=genes_via, layer=layer, loadings=loadings)
    extra: dict[str, Any] = {}
    if perturb is not None:
        beginning, extra = _perturbed(adata, cells, beginning, perturb, loadings)
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
        **extra,
    }
    labels = None
    if groups is not None and groupby is not None:
        settings["groupby"] = groupby
        labels = Labels(groupby, list(groups.categories), classifier(groups, cells))
    return as_anndata(adata, run, chosen, settings, labels=labels, express=express)


def _perturbed(
    adata: AnnData, cells: FittedCells, start: Beginning, perturb: Perturb, loadings: str | None
) -> tuple[Beginning, dict[str, Any]]:
    """Return shifted start cells, and what is to be recorded of the shift."""
    shift = read_shift(adata, cells, perturb, loadings=loadings, n=len(start.x))
    moved = replace(start, x=start.x + shift)
    share = outside(cells, moved.x, start.time)
    warn_outside(share)
    record = {
        "perturb": describe(perturb),
        "shift": shift.mean(axis=0) if shift.ndim > 1 else shift,
    }
    return moved, {**record, "outside": share}


def time_grid(
    times: Iterable[float | str] | None,
    begins: float | None,
    cells: FittedCells,
    *,
    backward: bool,
) -> list[float]:
    """Return the times of the simulation in its direction, checked against its start."""
    model = cells.model
    if times is None:
        fitted = np.asarray(model.times)
        if begins is not None:
            after = fitted < begins if backward else fitted > begins
            fitted = np.append(fitted[after], begins)
        grid = np.unique(fitted)
    else:
        grid = read_moments(times, cells.labels)
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
