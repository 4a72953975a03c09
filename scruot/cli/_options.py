"""Arguments that several commands share, and how their text is read."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "AsJson",
    "Device",
    "Input",
    "Key",
    "Quiet",
    "Seed",
    "Settings",
    "TimeKey",
    "UseRep",
    "parse_mass",
    "parse_scalar",
    "parse_setting",
    "parse_settings",
    "parse_time",
    "show_progress",
]

Input = Annotated[Path, typer.Argument(metavar="IN.h5ad", help="File to read.")]
Key = Annotated[
    str | None, typer.Option("--key", help="--key-added of the fit.", show_default=False)
]
Seed = Annotated[int, typer.Option("--random-state", help="Seed of everything random.")]
Device = Annotated[
    str, typer.Option("--device", help="auto (cuda, mps or cpu, in that order), cpu, cuda:0, ...")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, warnings alone.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of the method; repeatable; a list as [0.1,0.2]. "
        "See: scruot methods NAME.",
        show_default=False,
    ),
]
TimeKey = Annotated[
    str | None,
    typer.Option(help="Column of obs with the times; by default that of the fit, or time."),
]
UseRep = Annotated[
    str | None,
    typer.Option(help="Representation in obsm, or X; by default that of the fit, or X_pca."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]


def parse_scalar(text: str) -> bool | float | int | str | None:
    """Return a JSON scalar as what it is, and any other text as it stands."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, (dict, list)) else value


def parse_setting(text: str) -> Any:
    """Return a JSON scalar, or a JSON list of numbers, as what it is; other text as it stands."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    numbers = isinstance(value, list) and all(
        isinstance(each, (int, float)) and not isinstance(each, bool) for each in value
    )
    return value if numbers or not isinstance(value, (dict, list)) else text


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """Return ``name=value`` texts as parameters; a value may be a list, as ``[0.1, 0.2]``.

    Raises
    ------
    typer.BadParameter
        For a text without a name or without ``=``.
    """
    found: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not (name and equals):
            msg = f"found {setting!r}; expected NAME=VALUE, e.g. steps=2000."
            raise typer.BadParameter(msg, param_hint="'--set'")
        found[name] = parse_setting(value.strip())
    return found


def parse_mass(text: str) -> str | dict[float, float]:
    """Return a word or a column as it stands, and a JSON object as time to population.

    Raises
    ------
    typer.BadParameter
        For a text in braces that is no such object.
    """
    if not text.lstrip().startswith("{"):
        return text
    try:
        return {float(time): float(size) for time, size in json.loads(text).items()}
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        msg = f'found {text!r}; expected time to population, e.g. \'{{"0": 1000, "2": 2500}}\'.'
        raise typer.BadParameter(msg, param_hint="'--mass'") from error


def parse_time(text: str) -> float | str:
    """Return a number, and any other text as the label that it stands for."""
    try:
        return float(text)
    except ValueError:
        return text.strip()


def parse_changes(changes: list[str] | None) -> dict[str, float] | None:
    """Return ``GENE=CHANGE`` as a mapping from genes to numbers.

    Raises
    ------
    typer.BadParameter
        For anything else.
    """
    found: dict[str, float] = {}
    for text in changes or ():
        gene, _, number = text.rpartition("=")
        try:
            change = float(number)
        except ValueError:
            change = math.nan
        if not gene or not math.isfinite(change):
            msg = f"found {text!r}; expected a gene and a number, e.g. Gata1=+1."
            raise typer.BadParameter(msg, param_hint="'--perturb'")
        found[gene] = change
    return found or None


def show_progress(quiet: bool) -> bool:  # noqa: FBT001 - the flag is the command's own
    """Return whether to show bars: not in a file of logs."""
    return not quiet and sys.stderr.isatty()
