"""Maps of the method ``"icnn"``: a pair of convex networks per comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scruot.displacement.calibrate import adjusted, pooled
from scruot.displacement.elastic import gene_scale
from scruot.displacement.groups import compare_groups
from scruot.displacement.icnn import IcnnMap, fit_icnn
from scruot.displacement.local import Pair, row_mass
from scruot.displacement.penalties import Sparsity
from scruot.tl._displacement_elastic import dense_genes
from scruot.tl._displacement_maps import MapParams, Maps, tested

# Width of the smoothed l0 in units of a typical standard deviation.
_WIDTH = 0.5


def icnn_maps(
    pairs: Sequence[Pair],
    plans: Sequence[csr_matrix],
    codes: Sequence[NDArray[np.integer]],
    params: MapParams,
    device: str,
    *,
    progress: bool = False,
) -> Maps:
    """Return the maps; the masses that the plans move weigh the cells of both sides.

    Raises
    ------
    ValueError
        For more genes than can be held densely.
    """
    maps, scores, p_values, strengths = [], [], [], []
    for pair, plan in zip(pairs, plans, strict=True):
        x = dense_genes(pair.x, params.method)
        y = dense_genes(pair.y, params.method)
        found = fit_of(x, y, plan, params, device, progress=progress)
        mass = row_mass(plan)
        moved = found.displacement(x) * (mass > 0)[:, None]
        scale = gene_scale(x)
        whole = compare_groups(x, y, plan, csr_matrix(np.ones((1, len(x)))))
        maps.append(csr_matrix(moved))
        # a number without a unit: the root mean square over a gene's spread
        scores.append(np.sqrt((mass / mass.sum()) @ moved**2) / np.maximum(x.std(0), 1e-3 * scale))
        p_values.append(whole.p_value[0])
        strengths.append(found.strength)
    rate = adjusted(pooled(np.maximum(np.stack(p_values), 1e-300)))
    return Maps(maps, scores, p_values, rate, tested(pairs, plans, codes), strengths)


def fit_of(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    plan: csr_matrix,
    params: MapParams,
    device: str,
    *,
    progress: bool = False,
) -> IcnnMap:
    """Fit one map with the parameters of the tool; penalties are in units of the genes' spread."""
    scale = gene_scale(x)
    penalty = Sparsity(
        params.penalty,  # type: ignore[arg-type]
        scale if params.penalty == "stvs" else 1.0,
        width=_WIDTH * scale,
        k=max(1, round(params.n_active or 1)),
    )
    into = np.asarray(plan.sum(axis=0), dtype=np.float64).ravel()
    return fit_icnn(
        x,
        y,
        row_mass(plan),
        into,
        penalty=penalty.value,
        strength=params.strength,
        # at a given strength, n_active is the k of a k-support penalty and no constraint
        n_active=None if params.strength is not None else params.n_active,
        random_state=params.random_state,
        device=device,
        progress=progress,
    )
