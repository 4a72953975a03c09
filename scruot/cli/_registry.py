"""``scruot methods`` and ``scruot datasets``."""

from __future__ import annotations

import json
from textwrap import fill
from typing import Annotated, Any

import typer

from scruot import datasets as data
from scruot import solvers
from scruot.cli._options import AsJson
from scruot.cli._tables import columns_text, records

_WIDTH = 100


def methods(
    name: Annotated[
        str | None, typer.Argument(help="One method, in full.", show_default=False)
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the methods, or one with its parameters and its paper."""
    if name is None:
        found = [solvers.describe(each) for each in solvers.names()]
        if as_json:
            typer.echo(json.dumps(found, indent=2))
            return
        rows = [[each["name"], ", ".join(each["learns"]), each["summary"]] for each in found]
        typer.echo(columns_text(("name", "learns", "summary"), rows))
        return
    described = solvers.describe(name)
    if as_json:
        typer.echo(json.dumps({**described, "bibtex": solvers.cite(name)}, indent=2))
        return
    typer.echo(_in_full(described, solvers.cite(name)))


def _in_full(described: dict[str, Any], bibtex: str) -> str:
    parameters = "\n".join(
        f"  {name} = {parameter['default']}\n" + _indented(parameter["help"])
        for name, parameter in described["parameters"].items()
    )
    kind = "stochastic" if described["stochastic"] else "deterministic"
    return (
        f"{described['name']}: {described['summary']}\n\n"
        f"Learns {', '.join(described['learns'])}; {kind}.\n\n"
        f"Parameters, for --set NAME=VALUE:\n{parameters}\n\n"
        f"Reference: {described['reference']}\n\n{bibtex}"
    )


def _indented(text: str) -> str:
    return fill(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def datasets(*, as_json: AsJson = False) -> None:
    """List the data sets: simulations, and published data."""
    table = data.describe()
    if as_json:
        typer.echo(json.dumps(records(table), indent=2))
        return
    shown = ["name", "kind", "times", "cells", "summary"]
    typer.echo(columns_text(shown, table[shown].astype(str).to_numpy().tolist()))
    typer.echo("\nSources, papers and licences: scruot datasets --json")
