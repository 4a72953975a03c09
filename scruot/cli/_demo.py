"""``scruot demo``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from anndata import AnnData

from scruot import datasets, tl
from scruot._keys import Slots
from scruot.cli._files import check_folder, replacing
from scruot.cli._group import silence
from scruot.cli._options import Quiet, Seed, Settings, parse_settings, show_progress
from scruot.cli._pictures import Subject, draw
from scruot.cli._tables import table_text

_TRUE_GROWTH = "growth_true"


def demo(
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")
    ] = Path("scruot-demo"),
    *,
    n_cells: Annotated[int, typer.Option(help="Simulated cells at the first time.")] = 400,
    settings: Settings = None,
    random_state: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Simulate three genes, fit, evaluate and draw: the whole round in a minute."""
    silence(quiet)
    given = parse_settings(settings)
    check_folder(folder)
    adata = datasets.three_gene(n_cells, random_state=random_state)
    with _one_thread():
        tl.fit_dynamics(
            adata,
            "wfrfm",
            use_rep="X_genes",
            device="cpu",
            random_state=random_state,
            progress=show_progress(quiet),
            **given,
        )
        table = tl.evaluate(adata, random_state=random_state, device="cpu")
    file = folder / "three_gene.h5ad"
    with replacing(file) as temporary:
        adata.write_h5ad(temporary)
    pictures = draw(Subject(adata, random_state=random_state), folder)
    typer.echo(_scores(adata, table))
    typer.echo(f"\nFitted AnnData: {file}")
    typer.echo("Pictures:")
    for picture in pictures:
        typer.echo(f"  {picture}")


@contextmanager
def _one_thread() -> Iterator[None]:
    # The networks are too small to share, and threads that wait for each other on a busy machine
    # can take ten times as long.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _scores(adata: AnnData, table: pd.DataFrame) -> str:
    """Return what the fit measures, by time and in short."""
    observed = table[table["split"] == "observed"]
    model = observed[observed["comparison"] == "model"].set_index("time")
    shown = pd.DataFrame({"time": model.index, "W1": model["w1"].to_numpy()})
    for name in ("noise floor", "previous"):
        null = observed[observed["comparison"] == name].set_index("time")["w1"]
        shown[f"W1 {name}"] = null.reindex(model.index).to_numpy()
    shown["mass"] = model["mass"].to_numpy()
    shown["mass observed"] = model["mass_observed"].to_numpy()
    growth = np.corrcoef(adata.obs[Slots().growth], adata.obs[_TRUE_GROWTH])[0, 1]
    return (
        f"{table_text(shown)}\n\n"
        f"Mean W1: {model['w1'].mean():.4f}\n"
        f"Mean relative mass error: {model['mass_error'].mean():.4f}\n"
        f"Correlation of growth with the truth: {growth:.4f}"
    )
