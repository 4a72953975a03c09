"""The command line: read an h5ad file, do one step, write an h5ad file."""

from __future__ import annotations

from typing import Annotated

import typer

from scruot import __version__
from scruot.cli._demo import demo
from scruot.cli._evaluate import evaluate
from scruot.cli._fates import fates
from scruot.cli._fit import fit
from scruot.cli._genes import genes
from scruot.cli._group import Group
from scruot.cli._plot import plot
from scruot.cli._registry import datasets, methods
from scruot.cli._simulate import simulate
from scruot.cli._transport import transport

__all__ = ["app", "main"]

app = typer.Typer(
    name="scruot",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it
    if wanted:
        typer.echo(f"scruot {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; may stand anywhere.")
    ] = False,
) -> None:
    """Velocity, growth and fate of cells from time-labelled single-cell snapshots.

    Every step reads an h5ad file and writes one: scruot fit, then evaluate, simulate,
    plot; or scruot transport; or scruot genes.
    """


app.command()(demo)
app.command()(fit)
app.command()(evaluate)
app.command()(simulate)
app.command()(transport)
app.command()(fates)
app.command()(genes)
app.command()(plot)
app.command()(methods)
app.command()(datasets)


def main() -> None:
    """Run the command line with the arguments of the process."""
    app()
