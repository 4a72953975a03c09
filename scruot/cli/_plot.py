"""``scruot plot``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scruot._keys import displacement_slots, fate_slots, transport_slots
from scruot._messages import unknown
from scruot.cli._files import check_folder
from scruot.cli._group import silence
from scruot.cli._h5ad import read_fitted
from scruot.cli._options import Input, Quiet, Seed
from scruot.cli._pictures import KINDS, Subject, draw
from scruot.io.store import read_record

__all__ = ["plot"]


class Format(StrEnum):
    """Formats of pictures."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


def plot(
    path: Input,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KIND",
            help=f"By default all that the file has the data for: {', '.join(KINDS)}.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")
    ],
    basis: Annotated[
        str | None,
        typer.Option(help="Embedding to draw in, e.g. umap; the fitted representation by default."),
    ] = None,
    groupby: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Groups in obs: colour trajectories by fate, follow their mass."
        ),
    ] = None,
    file_format: Annotated[Format, typer.Option("--format", help="Of the files.")] = Format.png,
    key: Annotated[
        str | None, typer.Option(help="--key-added of what is drawn.", show_default=False)
    ] = None,
    random_state: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw what a file holds: a fit, fates, couplings, displaced genes.

    A picture that is named and lacks its data is an error that says which step makes them. With
    --groupby, lineage masses are simulated for the picture.
    """
    silence(quiet)
    for kind in kinds or ():
        if kind not in KINDS:
            raise ValueError(unknown("kind", kind, KINDS))
    cells = read_fitted(path, key, genes={"varm"})
    if output.suffix[1:] in set(Format):
        msg = (
            f"Found --output {output}, the name of a picture; expected a folder. Name the kind "
            f"before it and the format after it: scruot plot {path} velocity_stream -o FOLDER "
            f"--format {output.suffix[1:]}."
        )
        raise ValueError(msg)
    moved = displacement_slots(key)
    others = {fate_slots(key).uns, transport_slots(key).uns, moved.genes, moved.path}
    if not others & set(cells.adata.uns):
        # one thing to say, not one for each kind
        read_record(cells.adata, key)
    check_folder(output)
    subject = Subject(cells.adata, key, basis, random_state, groupby)
    for file in draw(subject, output, kinds=kinds, suffix=file_format.value):
        typer.echo(file)
