"""Standard errors of fates: everything repeated with other weights of cells or of replicates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scruot.fates import shares
from scruot.solvers.resample import replicate_counts
from scruot.tl._fate_carry import FateCells
from scruot.tl._fate_run import Run

# of their mass, that cells keep whose replicate was not drawn, so that they have fates
_KEPT = 1e-3


def bootstrap_errors(
    cells: FateCells,
    run: Run,
    n_times: int,
    random_state: int,
    replicates: NDArray[np.int64] | None,
    conditions: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the spread of the shares under random weights, shape (n, F).

    Without replicates weights of cells are exponential, as in the Bayesian bootstrap (Rubin 1981).
    With them whole replicates are drawn, at every time by itself and within their condition
    (:func:`scruot.solvers.resample.replicate_counts`). Populations are kept.
    """
    rng = np.random.default_rng(random_state)
    found = []
    for _ in range(n_times):
        mass = cells.mass.copy()
        for t in cells.times:
            for c in np.unique(conditions):
                here = (cells.time == t) & (conditions == c)
                total = mass[here].sum()
                if not total > 0:
                    continue
                mass[here] *= _weights(None if replicates is None else replicates[here], here, rng)
                mass[here] *= total / mass[here].sum()
        found.append(shares(run(replace(cells, mass=mass), None).mass[:, :-1]))
    return np.asarray(np.std(found, axis=0, ddof=min(1, n_times - 1)), dtype=np.float64)


def _weights(
    replicates: NDArray[np.int64] | None, here: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    if replicates is None:
        return rng.exponential(size=int(here.sum()))
    return np.maximum(replicate_counts(replicates, rng), _KEPT)
