"""``scruot genes``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import anndata
import typer

from scruot import get, tl
from scruot._keys import displacement_slots
from scruot.cli._files import check_file, replacing
from scruot.cli._group import silence
from scruot.cli._options import (
    Device,
    Input,
    Quiet,
    Seed,
    Settings,
    TimeKey,
    UseRep,
    parse_scalar,
    parse_settings,
    show_progress,
)
from scruot.cli._tables import table_text
from scruot.tl._displacement_input import read_from

logger = logging.getLogger(__name__)


def genes(
    path: Input,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.h5ad", help="File to write; may be the input itself."
        ),
    ],
    *,
    method: Annotated[str, typer.Option(help="local or elastic.")] = "local",
    source: Annotated[
        str | None, typer.Option(help="A time or condition; with --target. All times by default.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Another time or condition.")] = None,
    time_key: TimeKey = None,
    use_rep: UseRep = None,
    coupling: Annotated[
        str, typer.Option(help="auto, dynamics, transport or compute: where cells go.")
    ] = "auto",
    groupby: Annotated[
        str | None, typer.Option(help="Column of obs: rank genes for each of its groups.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the genes; X by default.")] = None,
    n_top: Annotated[int, typer.Option(min=0, help="Genes to print of each group.")] = 10,
    settings: Settings = None,
    random_state: Seed = 0,
    device: Device = "auto",
    key_added: Annotated[
        str | None, typer.Option(help="Name of this result, so that several live in one file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Find the genes that change between times or conditions, in which cells.

    With --set: penalty, n_active, fdr, threshold, n_neighbors, strength, reg, tau, n_dims, mass,
    coupling_key; see the documentation of tl.sparse_displacement.
    """
    silence(quiet)
    others: dict[str, Any] = parse_settings(settings)
    known = tl.sparse_displacement.__kwdefaults__ or {}
    own = {"method", "source", "target", "time_key", "use_rep", "coupling", "groupby", "layer"}
    for name in others:
        if name in own or name not in known or name in ("copy", "progress"):
            msg = f"found {name}; expected an option of its own, or a parameter from the help."
            raise typer.BadParameter(msg, param_hint="'--set'")
    check_file(output)
    adata = anndata.read_h5ad(path)
    time_key, _, _ = read_from(adata, others.get("coupling_key"), time_key, use_rep, None)
    numeric = time_key in adata.obs and adata.obs[time_key].dtype.kind in "iuf"
    ends = [
        parse_scalar(value) if value is not None and numeric else value
        for value in (source, target)
    ]
    tl.sparse_displacement(
        adata,
        method=method,
        source=ends[0],
        target=ends[1],
        time_key=time_key,
        use_rep=use_rep,
        coupling=coupling,
        groupby=groupby,
        layer=layer,
        random_state=random_state,
        device=device,
        key_added=key_added,
        progress=show_progress(quiet),
        **others,
    )
    with replacing(output) as temporary:
        adata.write_h5ad(temporary)
    names = displacement_slots(key_added)
    logger.info("wrote obsm[%r] and uns[%r] to %s", names.displacement, names.genes, output)
    table = get.displacement_genes_df(adata, key=key_added)
    best = table.groupby(["group", "source", "target"], sort=False).head(n_top)
    shown = ["group", "source", "target", "gene", "scores", "displacement", "share", "pvals_adj"]
    typer.echo(table_text(best[shown]))
