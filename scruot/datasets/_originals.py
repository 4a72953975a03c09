"""Tables of genes as their sources publish them, in the layout of the prepared copies."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

# How the table of Guo et al. spells symbols that have another name.
_SYMBOLS = {"Creb312": "Creb3l2", "DppaI": "Dppa1", "Snail": "Snai1"}


def read_guo(path: Path) -> AnnData:
    """Read ``guo_qpcr.csv``: rows named by stage and kind ("64 EPI"), columns by gene.

    The repository has held the table as Ct, where less means more expressed, and with its sign
    turned. Epiblast expresses Fgf4 and trophectoderm does not, which tells the two apart.
    """
    if path.suffix == ".h5ad":
        return ad.read_h5ad(path)
    table = pd.read_csv(path, index_col=0)
    rows = pd.Series(table.index.astype(str)).str.extract(r"^(\d+)(?: (\w+))?$")
    if table.empty or rows[0].isna().any() or "Fgf4" not in table:
        msg = (
            f"Found rows such as {[str(name) for name in table.index[:3]]} and the columns "
            f"{[str(name) for name in table.columns[:5]]} in {path}; expected a row per cell, "
            "named by its stage ('64 EPI'), and a column per gene. Use guo_qpcr.csv of sods/ods."
        )
        raise ValueError(msg)
    stage, kind = rows[0].astype(int).to_numpy(), rows[1].fillna("unspecified").to_numpy()
    fgf4 = table["Fgf4"].to_numpy()
    last = stage == stage.max()
    sign = np.sign(fgf4[last & (kind == "EPI")].mean() - fgf4[last & (kind == "TE")].mean())
    obs = pd.DataFrame(
        {"time": np.log2(stage), "stage_cells": stage, "cell_type": pd.Categorical(kind)},
        index=[f"c{i}" for i in range(len(table))],
    )
    var = pd.DataFrame(index=[_SYMBOLS.get(str(name), str(name)) for name in table.columns])
    return AnnData((sign * table.to_numpy()).astype(np.float32), obs=obs, var=var)


def read_moscot(path: Path) -> AnnData:
    """Read the test data of moscot, of which cells, genes, day and kind of cell are kept."""
    found = ad.read_h5ad(path)
    if "time" in found.obs or not {"day", "cell_type"} <= set(found.obs):
        return found
    obs = pd.DataFrame(
        {
            "time": found.obs["day"].astype(float),
            "cell_type": found.obs["cell_type"].astype("category"),
        }
    )
    return AnnData(found.X, obs=obs, var=pd.DataFrame(index=found.var_names))


def read_scode(parts: dict[str, tuple[Path, Path]], genes: Path) -> AnnData:
    """Read tables of SCODE: for each part expression (genes x cells) and times of the cells."""
    names = genes.read_text(encoding="utf-8").split()
    obs, x = [], []
    for part, (expression, cells) in parts.items():
        times = pd.read_csv(cells, sep="\t", header=None, float_precision="round_trip")
        table = _expression(expression, len(times), names, cells, genes)
        x.append(table.T)
        obs.append(pd.DataFrame({"time": times[0], "pseudotime": times[1], "scode_split": part}))
    cells_of_all = pd.concat(obs, ignore_index=True)
    cells_of_all.index = [f"c{i}" for i in range(len(cells_of_all))]
    cells_of_all["scode_split"] = cells_of_all["scode_split"].astype("category")
    return AnnData(np.vstack(x), obs=cells_of_all, var=pd.DataFrame(index=names))


def read_treutlein(expression: Path, cells: Path, genes: Path) -> AnnData:
    """Read SCODE's tables of one data set: expression (genes x cells), cells with labels, genes.

    The day is that of the label ("d5_..."): fibroblasts from the start ("MEF") are of day 0,
    whenever they were sequenced, and cells whose label has no day are of day 22.
    """
    names = genes.read_text(encoding="utf-8").split()
    found = pd.read_csv(cells, sep="\t", header=None, float_precision="round_trip")
    table = _expression(expression, len(found), names, cells, genes)
    label = found[0].astype(str)
    day = label.str.extract(r"^d(\d+)_", expand=False).astype(float).fillna(22.0)
    obs = pd.DataFrame(
        {
            "time": day.mask(label == "MEF", 0.0),
            "cell_type": label.astype("category"),
            "pseudotime": found[1],
        }
    )
    obs.index = [f"c{i}" for i in range(len(obs))]
    return AnnData(table.T, obs=obs, var=pd.DataFrame(index=names))


def _expression(
    path: Path, n_cells: int, names: list[str], cells: Path, genes: Path
) -> NDArray[np.float32]:
    """Return a table of genes x cells, if it is one of these genes and as many cells."""
    table = pd.read_csv(path, sep="\t", header=None).to_numpy(dtype=np.float32)
    if table.shape != (len(names), n_cells):
        msg = (
            f"Found a table of shape {table.shape} in {path}; expected {len(names)} genes, as in "
            f"{genes}, and {n_cells} cells, as in {cells}. Delete the files and call again."
        )
        raise ValueError(msg)
    return table
