"""``scruot fit``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from scruot import solvers, tl
from scruot._keys import basis_name, slots
from scruot.cli._files import check_file
from scruot.cli._group import silence
from scruot.cli._h5ad import read
from scruot.cli._options import (
    Device,
    Input,
    Quiet,
    Seed,
    Settings,
    parse_mass,
    parse_scalar,
    parse_settings,
    parse_time,
    show_progress,
)
from scruot.solvers.params import make_params

logger = logging.getLogger(__name__)


def fit(
    path: Input,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.h5ad", help="File to write; may be the input itself."
        ),
    ],
    *,
    method: Annotated[str, typer.Option(help="One of: scruot methods.")] = "wfrfm",
    time_key: Annotated[str, typer.Option(help="Column of obs with the times.")] = "time",
    use_rep: Annotated[str, typer.Option(help="Representation in obsm, or X.")] = "X_pca",
    n_dims: Annotated[
        int | None, typer.Option(help="Leading columns of it to use; all by default.")
    ] = None,
    mass: Annotated[
        str,
        typer.Option(
            metavar="counts|equal|COLUMN|JSON",
            help="Population at each time: the number of cells, the same at all times, "
            'cell weights in a column of obs, or a mapping such as \'{"0": 1000, "2": 2500}\'.',
        ),
    ] = "counts",
    holdout: Annotated[
        list[str] | None,
        typer.Option(
            help="Time to leave out of the fit, a number or a label; repeatable.",
            show_default=False,
        ),
    ] = None,
    holdout_cells: Annotated[
        str | None,
        typer.Option(help="Share of the cells to leave out, or a boolean column of obs."),
    ] = None,
    n_models: Annotated[int, typer.Option(help="Size of the ensemble.")] = 1,
    settings: Settings = None,
    random_state: Seed = 0,
    device: Device = "auto",
    key_added: Annotated[
        str | None, typer.Option(help="Name of this fit, so that several live in one file.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File of the training state: an interrupted fit goes on from it."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Learn velocity and growth, and write them with the model into a copy of the file."""
    silence(quiet)
    given = parse_settings(settings)
    # before a large file is read; it also keeps --set away from the options' own names
    make_params(solvers.get(method).params, given, method)
    arguments: dict[str, Any] = {
        "time_key": time_key,
        "use_rep": use_rep,
        "n_dims": n_dims,
        "mass": parse_mass(mass),
        "holdout": [parse_time(time) for time in holdout] if holdout else None,
        "holdout_cells": None if holdout_cells is None else parse_scalar(holdout_cells),
        "n_models": n_models,
        "random_state": random_state,
        "device": device,
        "key_added": key_added,
        "checkpoint": checkpoint,
    }
    names = slots(key_added)
    check_file(output)
    cells = read(path, use_rep=use_rep)
    try:
        tl.fit_dynamics(cells.adata, method, progress=show_progress(quiet), **arguments, **given)
        cells.save(output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_resume(checkpoint)) from None
    logger.info(
        "wrote obsm[%r], obs[%r] and the model, uns[%r], to %s",
        names.velocity(basis_name(use_rep)),
        names.growth,
        names.uns,
        output,
    )


def _resume(checkpoint: Path | None) -> str:
    if checkpoint is None:
        return "With --checkpoint FILE an interrupted fit can go on where it stopped."
    return f"Run the same command again to go on from {checkpoint}."
