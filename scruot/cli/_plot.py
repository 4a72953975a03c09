"""``scruot plot``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import typer
from anndata import AnnData

from scruot import pl, tl
from scruot._keys import FATE, basis_name, embedding_key, slots
from scruot._messages import unknown
from scruot.cli._files import check_folder, replacing
from scruot.cli._group import one_line, silence
from scruot.cli._h5ad import read_fitted
from scruot.cli._options import Input, Key, Quiet, Seed
from scruot.io.store import read_record

__all__ = ["Subject", "draw", "plot"]

logger = logging.getLogger(__name__)

# so many lines can still be told apart
_N_TRAJECTORIES = 100


class Format(StrEnum):
    """Formats of pictures."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


@dataclass(frozen=True)
class Subject:
    """What is drawn: cells with a fit, and in which embedding."""

    adata: AnnData
    key: str | None = None
    basis: str | None = None
    random_state: int = 0
    groupby: str | None = None


def plot(
    path: Input,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="KIND", help="All by default.", show_default=False),
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
    key: Key = None,
    random_state: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw a fit: velocity_stream, velocity, growth, potential, landscape, mass, fit_quality, ...

    The others are loss, trajectories, lineage_mass, perturbation and gene_trends. mass and
    fit_quality need a file with an evaluation, potential a method that learns one, lineage_mass
    --groupby or a stored table, the last two a stored table; without it they are left out.
    """
    silence(quiet)
    for kind in kinds or ():
        if kind not in _KINDS:
            raise ValueError(unknown("kind", kind, _KINDS))
    cells = read_fitted(path, key)
    if output.suffix[1:] in set(Format):
        msg = (
            f"Found --output {output}, the name of a picture; expected a folder. Name the kind "
            f"before it and the format after it: scruot plot {path} velocity_stream -o FOLDER "
            f"--format {output.suffix[1:]}."
        )
        raise ValueError(msg)
    # without a fit there is one thing to say, not one for each kind
    read_record(cells.adata, key)
    check_folder(output)
    subject = Subject(cells.adata, key, basis, random_state, groupby)
    for file in draw(subject, output, kinds=kinds, suffix=file_format.value):
        typer.echo(file)


def draw(
    subject: Subject, folder: Path, *, kinds: list[str] | None = None, suffix: str = "png"
) -> list[Path]:
    """Draw the kinds that are asked for, or all that there is data for, and return the files.

    Raises
    ------
    KeyError, ValueError
        When a kind that is asked for cannot be drawn, or none can.
    """
    # files, never windows
    mpl.use("Agg")
    prefix = "" if subject.key is None else f"{subject.key}_"
    written: list[Path] = []
    left_out: dict[str, str] = {}
    for kind in kinds or _KINDS:
        file = folder / f"{prefix}{kind}.{suffix}"
        try:
            with replacing(file) as temporary:
                _KINDS[kind](subject, {"key": subject.key, "show": False, "save": temporary})
            written.append(file)
        except (KeyError, ValueError) as error:
            if kinds:
                raise
            left_out[kind] = one_line(error)
        finally:
            plt.close("all")
    if not written:
        msg = f"None of {', '.join(_KINDS)} can be drawn: {next(iter(left_out.values()))}"
        raise ValueError(msg)
    if left_out:
        logger.info("left out %s: ask for one by name to see what it needs", ", ".join(left_out))
    return written


def _velocity_stream(subject: Subject, options: dict[str, Any]) -> None:
    _require_velocity(subject)
    pl.velocity_stream(subject.adata, subject.basis, **options)


def _velocity(subject: Subject, options: dict[str, Any]) -> None:
    _require_velocity(subject)
    pl.velocity(subject.adata, subject.basis, **options)


def _growth(subject: Subject, options: dict[str, Any]) -> None:
    pl.growth(subject.adata, subject.basis, **options)


def _potential(subject: Subject, options: dict[str, Any]) -> None:
    pl.potential(subject.adata, subject.basis, **options)


def _landscape(subject: Subject, options: dict[str, Any]) -> None:
    # drawn on a copy: pictures leave the cells as they are
    found = tl.landscape(
        subject.adata,
        key=subject.key,
        basis=subject.basis,
        random_state=subject.random_state,
        copy=True,
    )
    if found is not None:
        pl.landscape(found, **options)


def _mass(subject: Subject, options: dict[str, Any]) -> None:
    pl.mass(subject.adata, **options)


def _fit_quality(subject: Subject, options: dict[str, Any]) -> None:
    pl.fit_quality(subject.adata, subject.basis, **options)


def _loss(subject: Subject, options: dict[str, Any]) -> None:
    pl.loss(subject.adata, **options)


def _trajectories(subject: Subject, options: dict[str, Any]) -> None:
    simulated = tl.simulate(
        subject.adata,
        key=subject.key,
        n_cells=_N_TRAJECTORIES,
        groupby=subject.groupby,
        random_state=subject.random_state,
    )
    color = "time" if subject.groupby is None else FATE
    pl.trajectories(subject.adata, simulated, basis=subject.basis, color=color, **options)


def _lineage_mass(subject: Subject, options: dict[str, Any]) -> None:
    adata = subject.adata
    if subject.groupby is not None:
        # drawn on a copy: pictures leave the cells as they are
        adata = adata.copy()
        tl.lineage_mass(
            adata,
            subject.groupby,
            key=subject.key,
            key_added=subject.key,
            random_state=subject.random_state,
        )
    pl.lineage_mass(adata, **options)


def _perturbation(subject: Subject, options: dict[str, Any]) -> None:
    pl.perturbation(subject.adata, **options)


def _gene_trends(subject: Subject, options: dict[str, Any]) -> None:
    pl.gene_trends(subject.adata, **options)


_KINDS: dict[str, Callable[[Subject, dict[str, Any]], None]] = {
    "velocity_stream": _velocity_stream,
    "velocity": _velocity,
    "growth": _growth,
    "potential": _potential,
    "landscape": _landscape,
    "mass": _mass,
    "fit_quality": _fit_quality,
    "loss": _loss,
    "trajectories": _trajectories,
    "lineage_mass": _lineage_mass,
    "perturbation": _perturbation,
    "gene_trends": _gene_trends,
}


def _require_velocity(subject: Subject) -> None:
    """Project the velocity where the embedding is there but the fit is in another."""
    adata, basis = subject.adata, subject.basis
    if basis is None or embedding_key(basis, list(adata.obsm)) not in adata.obsm:
        return
    if slots(subject.key).velocity(basis_name(basis)) not in adata.obsm:
        tl.project_velocity(adata, basis, key=subject.key)
