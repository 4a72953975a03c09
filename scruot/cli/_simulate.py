"""``scruot simulate``."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scruot import tl
from scruot.cli._files import check_file, replacing
from scruot.cli._group import silence
from scruot.cli._h5ad import read_fitted
from scruot.cli._options import Device, Input, Key, Quiet, Seed, parse_changes, parse_time

logger = logging.getLogger(__name__)


class Direction(StrEnum):
    """Ways through time."""

    forward = "forward"
    backward = "backward"


def simulate(
    path: Input,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="SIM.h5ad", help="File of simulated cells.")
    ],
    *,
    times: Annotated[
        str | None,
        typer.Option(
            metavar="T,T,...",
            help="Times to record, numbers or labels, observed or not; the observed by default.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Boolean column of obs: where to start; all cells of the first time by default.",
        ),
    ] = None,
    n_cells: Annotated[
        int | None, typer.Option(help="Start so many cells, drawn at random.")
    ] = None,
    direction: Annotated[Direction, typer.Option(help="Way through time.")] = Direction.forward,
    stochastic: Annotated[
        bool | None,
        typer.Option("--stochastic/--deterministic", help="By default as the method is."),
    ] = None,
    groupby: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Groups in obs: give simulated cells theirs."),
    ] = None,
    perturb: Annotated[
        list[str] | None,
        typer.Option(metavar="GENE=CHANGE", help="Change start cells first; may be repeated."),
    ] = None,
    genes: Annotated[
        str | None, typer.Option(metavar="G,G,...", help="Give the expression of these genes.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the genes; X by default.")] = None,
    step: Annotated[
        float | None, typer.Option(help="Step of the integration, in your unit of time.")
    ] = None,
    key: Key = None,
    random_state: Seed = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Carry cells of a fitted file through time, and write where they come to."""
    silence(quiet)
    moments = None if times is None else [parse_time(part) for part in times.split(",")]
    changes = parse_changes(perturb)
    wanted = None if genes is None else [name.strip() for name in genes.split(",")]
    check_file(output)
    if path.exists() and output.exists() and path.samefile(output):
        msg = f"The simulation would replace the fitted file {path}; give another name with -o."
        raise ValueError(msg)
    needed = {"varm"} if changes or wanted else set()
    if wanted:
        needed |= {"X", "layers"} if layer else {"X"}
    cells = read_fitted(path, key, genes=needed)
    simulated = tl.simulate(
        cells.adata,
        moments,
        key=key,
        start=start,
        n_cells=n_cells,
        stochastic=stochastic,
        direction=direction.value,
        groupby=groupby,
        perturb=changes,
        genes=wanted,
        layer=layer,
        step=step,
        random_state=random_state,
        device=device,
    )
    with replacing(output) as temporary:
        simulated.write_h5ad(temporary)
    logger.info("wrote %d simulated states to %s", simulated.n_obs, output)
