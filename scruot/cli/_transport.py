"""``scruot transport``."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from scruot import tl
from scruot._keys import transport_slots
from scruot.cli._files import check_file
from scruot.cli._group import silence
from scruot.cli._h5ad import read
from scruot.cli._options import (
    Device,
    Input,
    Quiet,
    Seed,
    Settings,
    TimeKey,
    UseRep,
    parse_mass,
    parse_settings,
    show_progress,
)
from scruot.cli._tables import table_text
from scruot.tl._transport_params import make_params

logger = logging.getLogger(__name__)


def transport(
    path: Input,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.h5ad", help="File to write; may be the input itself."
        ),
    ],
    *,
    method: Annotated[
        str, typer.Option(help="balanced, unbalanced, semi_relaxed, partial, wfr or fate.")
    ] = "unbalanced",
    time_key: TimeKey = None,
    use_rep: UseRep = None,
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
    growth: Annotated[
        str | None,
        typer.Option(help="Column of obs with expected growth rates, for Waddington-OT."),
    ] = None,
    groupby: Annotated[
        str | None,
        typer.Option(help="With fate: column of groups; those of the last time are the ends."),
    ] = None,
    settings: Settings = None,
    random_state: Seed = 0,
    device: Device = "auto",
    key_added: Annotated[
        str | None, typer.Option(help="Name of this transport, so that several live in one file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Couple consecutive snapshots, and write who descends from whom into a copy of the file.

    With --set: penalty, tau (a number, inf, or [source, target]), reg, relaxed, moved, delta,
    growth_iterations; see the documentation of tl.transport.
    """
    silence(quiet)
    others = {name: _pair(value) for name, value in parse_settings(settings).items()}
    for name in ("method", "growth", "groupby"):
        if name in others:
            msg = f"found {name}; expected the option --{name} for it."
            raise typer.BadParameter(msg, param_hint="'--set'")
    given: dict[str, Any] = {"method": method, "growth": growth, "groupby": groupby, **others}
    # before a large file is read; it also keeps --set away from the options' own names
    make_params(given)
    names = transport_slots(key_added)
    check_file(output)
    cells = read(path, use_rep=use_rep)
    tl.transport(
        cells.adata,
        time_key=time_key,
        use_rep=use_rep,
        n_dims=n_dims,
        mass=parse_mass(mass),
        random_state=random_state,
        device=device,
        key_added=key_added,
        progress=show_progress(quiet),
        **given,
    )
    cells.save(output)
    logger.info("wrote obs[%r] and the couplings, uns[%r], to %s", names.growth, names.uns, output)
    quality = cells.adata.uns[names.uns]["quality"]
    shown = ["start", "end", "moved", "unexplained", "effective_targets", "gap", "converged"]
    typer.echo(table_text(quality[shown]))


def _pair(value: Any) -> Any:
    """Return ``[1, 50]`` as a pair and ``inf`` as a number; all else as it is."""
    if not isinstance(value, str):
        return value
    text = re.sub(r"\binf\b", "Infinity", value)
    if not text.startswith("[") and text != "Infinity":
        return value
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return value
