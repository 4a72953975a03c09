"""Displacement maps as they are ranked and written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_matrix

from scruot._keys import DisplacementSlots
from scruot.displacement.calibrate import adjusted
from scruot.io.displacement import Ranked, genes_record
from scruot.tl._displacement_cells import Prepared
from scruot.tl._displacement_maps import MapParams, Maps


def ranked_record(
    prepared: Prepared, maps: Maps, params: MapParams, genes: pd.Index, given: dict[str, Any]
) -> dict[str, Any]:
    """Return the ranked genes in scanpy's layout, with the parameters; ``given`` are the user's."""
    time_key = prepared.reading["time_key"]
    return genes_record(
        ranked(prepared, maps),
        genes,
        {
            "groupby": given["groupby"] or time_key,
            "reference": "rest",
            "method": params.method,
            "use_raw": False,
            "layer": given["layer"],
            "corr_method": "benjamini-hochberg",
            **prepared.reading,
            "penalty": params.penalty,
            "n_active": params.n_active,
            "fdr": given["fdr"],
            "threshold": maps.threshold,
            "random_state": given["random_state"],
        },
    )


def ranked(prepared: Prepared, maps: Maps) -> list[Ranked]:
    """Return the genes of each comparison and group."""
    found, alone = [], prepared.groups is None
    for k, pair in enumerate(prepared.pairs):
        test, present = maps.groups[k]
        moves = maps.displacement[k].astype(bool).astype(np.float64)
        for row, code in enumerate(present):
            here = prepared.codes[k] == code
            p_value = maps.p_value[k] if alone else test.p_value[row]
            found.append(
                Ranked(
                    *pair.labels,
                    "" if prepared.groups is None else str(prepared.groups.categories[code]),
                    _signed(maps.score[k], test.mean[row]) if alone else test.score[row],
                    test.mean[row],
                    p_value,
                    adjusted(p_value),
                    np.asarray(moves[here].mean(axis=0)).ravel(),
                )
            )
    return found


def _signed(score: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give a score of evidence the sign of the mean displacement."""
    # below zero: less than genes that do not move usually have
    return np.sign(mean) * np.maximum(score, 0.0)


def write(
    adata: AnnData,
    prepared: Prepared,
    maps: Maps,
    record: dict[str, Any],
    params: MapParams,
    slots: DisplacementSlots,
) -> None:
    """Write maps, counts and scores."""
    n = adata.n_obs
    stacked = sparse.vstack(maps.displacement).tocsr()
    rows = np.concatenate([p.source for p in prepared.pairs])
    place = csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(n, len(rows)))
    moved = csr_matrix(place @ stacked)
    adata.obsm[slots.displacement] = moved
    adata.obs[slots.n_genes] = np.diff(moved.indptr).astype(np.int64)
    adata.var[slots.score] = np.max(maps.score, axis=0)
    adata.var[slots.rate] = maps.rate
    adata.var[slots.displaced] = maps.rate <= params.fdr
    adata.uns[slots.genes] = record
