"""``scruot fates``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from scruot import get, tl
from scruot._keys import fate_slots
from scruot.cli._files import check_file
from scruot.cli._group import silence
from scruot.cli._h5ad import read
from scruot.cli._options import Device, Input, Quiet, Seed, parse_mass, show_progress
from scruot.cli._tables import table_text

logger = logging.getLogger(__name__)


def fates(
    path: Input,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.h5ad", help="File to write; may be the input itself."
        ),
    ],
    *,
    groupby: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Groups in obs, e.g. cell types; cells may lack a label. Without it the terminal "
            "states of the file, or else the dense regions of its last time.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(help="What carries the cells: dynamics (a fit) or transport (couplings)."),
    ] = "dynamics",
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            help="A group in which lineages end; repeatable. By default those of the last time.",
            show_default=False,
        ),
    ] = None,
    none: Annotated[
        bool, typer.Option("--none", help="Keep what ends in no state as a column of its own.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(help="--key-added of the fit or of the transport.", show_default=False),
    ] = None,
    condition_key: Annotated[
        str | None,
        typer.Option(
            help="Conditions in obs, each followed by itself; the test of their shift is in "
            "uns['fate_shift'].",
            show_default=False,
        ),
    ] = None,
    replicate_key: Annotated[
        str | None,
        typer.Option(
            help="Replicates in obs, for that test and for --n-bootstrap.", show_default=False
        ),
    ] = None,
    n_bootstrap: Annotated[
        int | None,
        typer.Option(help="Repetitions for standard errors.", show_default=False),
    ] = None,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Simulate with the noise of the model to the end.")
    ] = False,
    time_key: Annotated[
        str | None,
        typer.Option(
            help="With couplings that are not stored: column of times.", show_default=False
        ),
    ] = None,
    use_rep: Annotated[
        str | None, typer.Option(help="Likewise: representation in obsm.", show_default=False)
    ] = None,
    mass: Annotated[
        str | None,
        typer.Option(
            metavar="counts|equal|COLUMN|JSON", help="Likewise: populations.", show_default=False
        ),
    ] = None,
    random_state: Seed = 0,
    device: Device = "auto",
    key_added: Annotated[
        str | None, typer.Option(help="Name of these fates, so that several live in one file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Follow every cell to where its descendants end, and write the probability of each fate."""
    silence(quiet)
    names = fate_slots(key_added)
    check_file(output)
    cells = read(path, use_rep=use_rep, key=key)
    populations = None if mass is None else parse_mass(mass)
    if groupby is None and not state and names.terminal_states not in cells.adata.obs:
        tl.terminal_states(
            cells.adata,
            key=key if source == "transport" else None,
            time_key=time_key,
            use_rep=use_rep,
            mass=populations,
            key_added=key_added,
            random_state=random_state,
        )
    tl.fate_probabilities(
        cells.adata,
        groupby,
        terminal_states=state or None,
        source=source,  # type: ignore[arg-type]  # the tool says what it may be
        key=key,
        none=none,
        condition_key=condition_key,
        replicate_key=replicate_key,
        n_bootstrap=n_bootstrap,
        stochastic=stochastic,
        time_key=time_key,
        use_rep=use_rep,
        mass=populations,
        key_added=key_added,
        device=device,
        random_state=random_state,
        progress=show_progress(quiet),
    )
    cells.save(output)
    logger.info("wrote obsm[%r] and obs[%r] to %s", names.probabilities, names.fate, output)
    time = str(cells.adata.uns[names.uns].get("time_key", "time"))
    table = get.fates_df(cells.adata, key_added, groupby=time).reset_index()
    typer.echo(table_text(table))
