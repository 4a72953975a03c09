"""Everything that displacement maps are computed from, read and checked before it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scruot.displacement.local import Pair
from scruot.dynamics.device import resolve_device
from scruot.io.representation import read_representation, require_variation
from scruot.tl._displacement_input import read_from, read_genes_matrix, read_masses
from scruot.tl._displacement_maps import MapParams, find_plans, make_pairs
from scruot.tl._displacement_pairs import (
    Comparison,
    chosen_coupling,
    comparisons,
    simulated_ends,
    stored_plans,
)
from scruot.tl._groups import read_groups


@dataclass(frozen=True, eq=False)
class Prepared:
    """Cells that are compared, and where those of the sources go.

    Attributes
    ----------
    pairs
        Which cells are compared.
    clouds
        Their genes, positions and masses, one per comparison.
    plans
        Their couplings; ``None`` where the method solves for its own.
    groups
        Groups of all cells, if any are asked for.
    codes
        Group of the source cells of each comparison, -1 for none.
    reading
        ``time_key``, ``use_rep`` and ``coupling`` as they were found.
    """

    pairs: list[Comparison]
    clouds: list[Pair]
    plans: list[csr_matrix] | None
    groups: pd.Categorical | None
    codes: list[NDArray[np.intp]]
    reading: dict[str, str]


@dataclass(frozen=True)
class Question:
    """What is compared, as in ``tl.sparse_displacement``."""

    source: Any
    target: Any
    time_key: str | None
    use_rep: str | None
    n_dims: int | None
    mass: str
    coupling: str
    coupling_key: str | None
    groupby: str | None
    layer: str | None
    device: str


def prepare(adata: AnnData, asked: Question, params: MapParams) -> Prepared:
    """Read and check what is compared, and couple it where no couplings are held.

    Raises
    ------
    KeyError
        For a missing column, layer, representation, fit or transport.
    TypeError, ValueError
        For data that cannot be compared.
    """
    key = asked.coupling_key
    time_key, use_rep, n_dims = read_from(adata, key, asked.time_key, asked.use_rep, asked.n_dims)
    masses = read_masses(adata, time_key, asked.mass)
    pairs = comparisons(adata, time_key, asked.source, asked.target, masses)
    origin = chosen_coupling(adata, asked.coupling, key, time_key, pairs)
    groups = None if asked.groupby is None else read_groups(adata, asked.groupby)
    # what may be refused comes before what takes long
    plans = stored_plans(adata, key, pairs) if origin == "transport" else None
    genes = read_genes_matrix(adata, asked.layer)
    ends = None
    if origin == "dynamics":
        device = str(resolve_device(asked.device))
        cells, ends, use_rep = simulated_ends(adata, key, pairs, device)
    else:
        cells = read_representation(adata, use_rep, n_dims)
        require_variation(cells, use_rep)
    rows = [(p.source, p.target) for p in pairs]
    clouds = make_pairs(genes, cells.astype(np.float64), ends, rows, masses)
    if plans is None and (params.method != "elastic" or origin == "dynamics"):
        plans = find_plans(clouds, params)
    reading = {"time_key": time_key, "use_rep": use_rep, "coupling": origin}
    return Prepared(pairs, clouds, plans, groups, _codes(pairs, groups), reading)


def _codes(pairs: list[Comparison], groups: pd.Categorical | None) -> list[NDArray[np.intp]]:
    if groups is None:
        return [np.zeros(len(p.source), dtype=np.intp) for p in pairs]
    return [np.asarray(groups.codes[p.source], dtype=np.intp) for p in pairs]
