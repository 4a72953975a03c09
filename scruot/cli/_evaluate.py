"""``scruot evaluate``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from scruot import tl
from scruot._keys import slots
from scruot.cli._files import check_file
from scruot.cli._group import silence
from scruot.cli._h5ad import read_fitted
from scruot.cli._options import AsJson, Device, Input, Key, Quiet, Seed
from scruot.cli._tables import records, table_text

logger = logging.getLogger(__name__)


def evaluate(
    path: Input,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.h5ad",
            help="File to write the evaluation to, too; may be the input itself.",
        ),
    ] = None,
    *,
    groupby: Annotated[
        str | None, typer.Option(help="Column of obs: also compare the groups' masses.")
    ] = None,
    n_cells: Annotated[
        int, typer.Option(help="Cells of a time that enter the distances, drawn at random.")
    ] = 2000,
    key: Key = None,
    random_state: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure how well a fit meets the snapshots, beside what doing nothing would score."""
    silence(quiet)
    if output is not None:
        check_file(output)
    cells = read_fitted(path, key)
    tl.evaluate(
        cells.adata,
        key=key,
        groupby=groupby,
        n_cells=n_cells,
        random_state=random_state,
        device=device,
    )
    stored = cells.adata.uns[slots(key).evaluation]
    tables = {name: stored[name] for name in ("table", "groups") if name in stored}
    if output is not None:
        cells.save(output)
        logger.info("wrote the evaluation, uns[%r], to %s", slots(key).evaluation, output)
    typer.echo(_as_json(tables) if as_json else "\n\n".join(map(table_text, tables.values())))


def _as_json(tables: dict[str, pd.DataFrame]) -> str:
    found: dict[str, Any] = {name: records(table) for name, table in tables.items()}
    return json.dumps(found, indent=2)
