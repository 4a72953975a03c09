"""Maps of the method ``"elastic"``: an entropic map per comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_matrix

from scruot.displacement.averages import dense_columns
from scruot.displacement.calibrate import adjusted, pooled
from scruot.displacement.elastic import (
    elastic_displacement,
    elastic_for_dimension,
    elastic_plan,
    gene_scale,
)
from scruot.displacement.groups import compare_groups
from scruot.displacement.local import Pair, row_mass
from scruot.displacement.penalties import Sparsity
from scruot.tl._displacement_maps import MapParams, Maps, tested

Array = NDArray[np.float64]

_STRENGTH = 3.0
_MOST_VALUES = 20_000_000


def elastic_maps(
    pairs: Sequence[Pair],
    plans: Sequence[csr_matrix] | None,
    codes: Sequence[NDArray[np.integer]],
    params: MapParams,
) -> Maps:
    """Return the maps; without ``plans`` each comparison is coupled under its elastic cost.

    Raises
    ------
    ValueError
        For more genes than can be held densely.
    """
    maps, found, scores, p_values, strengths = [], [], [], [], []
    for k, pair in enumerate(pairs):
        x, y = (dense_genes(m, params.method) for m in (pair.x, pair.y))
        scale = gene_scale(x)
        sparsity = sparsity_of(params, scale)
        if plans is not None:
            plan, moved = plans[k], elastic_displacement(x, y, plans[k], sparsity)
            strength = sparsity.strength
        elif params.n_active is None or params.penalty == "k_support":
            plan = elastic_plan(x, y, pair.a, pair.b, sparsity, reg=params.reg, tau=params.tau)
            moved, strength = elastic_displacement(x, y, plan, sparsity), sparsity.strength
        else:
            moved, plan, strength = elastic_for_dimension(
                x, y, pair.a, pair.b, sparsity, params.n_active, reg=params.reg, tau=params.tau
            )
        mass = row_mass(plan)
        whole = compare_groups(x, y, plan, csr_matrix(np.ones((1, len(x)))))
        maps.append(csr_matrix(moved))
        found.append(plan)
        # as for "local" a number without a unit: the root mean square over a gene's spread
        scores.append(np.sqrt((mass / mass.sum()) @ moved**2) / np.maximum(x.std(0), 1e-3 * scale))
        p_values.append(whole.p_value[0])
        strengths.append(strength)
    rate = adjusted(pooled(np.maximum(np.stack(p_values), 1e-300)))
    return Maps(maps, scores, p_values, rate, tested(pairs, found, codes), strengths)


def sparsity_of(params: MapParams, scale: float) -> Sparsity:
    """Return the penalty in the units of the genes."""
    strength = _STRENGTH if params.strength is None else params.strength
    unit = {"l1": scale, "stvs": scale, "k_support": 1.0}
    return Sparsity(
        params.penalty,  # type: ignore[arg-type]
        strength * unit[params.penalty],
        width=scale,
        k=max(1, round(params.n_active or 1)),
    )


def dense_genes(genes: Any, method: str) -> Array:
    """Return the genes as a dense array.

    Raises
    ------
    ValueError
        For more values than a method that needs all of them can hold.
    """
    if genes.shape[0] * genes.shape[1] > _MOST_VALUES:
        msg = (
            f"Found {genes.shape[0]} cells x {genes.shape[1]} genes; expected at most "
            f"{_MOST_VALUES:.0e} values with method={method!r}: choose genes, or use 'local'."
        )
        raise ValueError(msg)
    if sparse.issparse(genes):
        return np.concatenate([block[0] for _, block in dense_columns(genes)], axis=1)
    return np.ascontiguousarray(genes, dtype=np.float64)
