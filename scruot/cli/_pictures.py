"""Every picture that an h5ad file holds the data for, by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData

from scruot import get, pl, tl
from scruot._keys import FATE, basis_name, embedding_key, slots
from scruot.cli._files import replacing
from scruot.cli._group import one_line

__all__ = ["KINDS", "Subject", "draw"]

logger = logging.getLogger(__name__)

# so many lines can still be told apart
_N_TRAJECTORIES = 100
_N_GENES = 4


@dataclass(frozen=True)
class Subject:
    """What is drawn: cells with results, and in which embedding."""

    adata: AnnData
    key: str | None = None
    basis: str | None = None
    random_state: int = 0
    groupby: str | None = None


Draw = Callable[[Subject, dict[str, Any]], None]


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
    for kind in kinds or KINDS:
        file = folder / f"{prefix}{kind}.{suffix}"
        try:
            with replacing(file) as temporary:
                KINDS[kind](subject, {"key": subject.key, "show": False, "save": temporary})
            written.append(file)
        except (KeyError, ValueError) as error:
            if kinds:
                raise
            left_out[kind] = one_line(error)
        finally:
            plt.close("all")
    if not written:
        msg = f"None of {', '.join(KINDS)} can be drawn: {next(iter(left_out.values()))}"
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


def _fate_bars(subject: Subject, options: dict[str, Any]) -> None:
    pl.fate_bars(subject.adata, subject.groupby, **options)


def _displacement(subject: Subject, options: dict[str, Any]) -> None:
    """Draw the genes that stand out most."""
    table = get.displacement_genes_df(subject.adata, key=subject.key)
    ranked = table.sort_values("scores", key=np.abs, ascending=False)["gene"]
    genes = list(ranked.unique()[:_N_GENES])
    pl.displacement(subject.adata, genes, basis=subject.basis, **options)


def _as_stored(picture: Callable[..., Any]) -> Draw:
    """Return what draws a stored result."""
    return lambda subject, options: picture(subject.adata, **options)


def _in_basis(picture: Callable[..., Any]) -> Draw:
    """Return what draws a stored result in an embedding."""
    return lambda subject, options: picture(subject.adata, subject.basis, **options)


def _require_velocity(subject: Subject) -> None:
    """Project the velocity where the embedding is there but the fit is in another."""
    adata, basis = subject.adata, subject.basis
    if basis is None or embedding_key(basis, list(adata.obsm)) not in adata.obsm:
        return
    if slots(subject.key).velocity(basis_name(basis)) not in adata.obsm:
        tl.project_velocity(adata, basis, key=subject.key)


KINDS: dict[str, Draw] = {
    "velocity_stream": _velocity_stream,
    "velocity": _velocity,
    "growth": _in_basis(pl.growth),
    "potential": _in_basis(pl.potential),
    "landscape": _landscape,
    "mass": _as_stored(pl.mass),
    "fit_quality": _in_basis(pl.fit_quality),
    "loss": _as_stored(pl.loss),
    "diagnose": _as_stored(pl.diagnose),
    "trajectories": _trajectories,
    "lineage_mass": _lineage_mass,
    "fate_probabilities": _in_basis(pl.fate_probabilities),
    "fate_map": _as_stored(pl.fate_map),
    "fate_bars": _fate_bars,
    "fate_calibration": _as_stored(pl.fate_calibration),
    "perturbation": _as_stored(pl.perturbation),
    "gene_trends": _as_stored(pl.gene_trends),
    "driver_genes": _as_stored(pl.driver_genes),
    "regulatory_jacobian": _as_stored(pl.regulatory_jacobian),
    "transport": _as_stored(pl.transport),
    "transition_table": _as_stored(pl.transition_table),
    "descendants": _in_basis(pl.descendants),
    "ancestors": _in_basis(pl.ancestors),
    "displacement_genes": _as_stored(pl.displacement_genes),
    "displacement": _displacement,
    "sparsity_path": _as_stored(pl.sparsity_path),
}
