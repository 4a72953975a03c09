"""Width of a kernel field, chosen on cells that the field has not seen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from torch import nn

from scruot.dynamics.snapshots import Snapshots
from scruot.geometry.neighbours import nearest_distance
from scruot.solvers.validation import simulation_error, split_cells, thin

# widths that are tried, in typical distances between neighbours
FACTORS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)

# what is taken where no snapshot has cells enough to be halved
_USUAL = 0.5

# cells of a snapshot that enter the choice, in either half
_MOST = 1000

# least width, in units of the spread of all cells: coinciding cells have no distance
_LEAST = 1e-3


def spacings(clouds: Snapshots) -> list[float]:
    """Return the typical distance between neighbours in every interval.

    It is the median distance to the nearest neighbour in the own snapshot, averaged over the
    two snapshots; of large snapshots about 2000 cells are asked.
    """
    medians = []
    for x in clouds.x:
        queries = x[:: max(1, len(x) // 2000)]
        medians.append(float(nearest_distance(queries, x, skip=1).median()))
    return [max((a + b) / 2, _LEAST) for a, b in pairwise(medians)]


def best_factor(
    clouds: Snapshots, make: Callable[[Snapshots], Callable[[float], nn.Module]]
) -> float:
    """Return the width, in distances between neighbours, that meets unseen cells best.

    Every snapshot is halved at random (always in the same way). The field of either half is
    simulated for each of ``FACTORS`` and compared with the other half; the factor with the
    smallest W1, averaged over times and halves, is taken.

    Parameters
    ----------
    clouds
        The clouds.
    make
        From clouds to a function that returns their field for a factor.
    """
    one, other = split_cells(thin(clouds, 2 * _MOST), 0.5, 0)
    # snapshots of a few cells stay whole
    if other is None or all(len(a) == len(x) for a, x in zip(one.x, clouds.x, strict=True)):
        return _USUAL
    errors = np.zeros(len(FACTORS))
    for seen, unseen in ((one, other), (other, one)):
        field_of = make(seen)
        errors += [simulation_error(field_of(factor), seen, unseen) for factor in FACTORS]
    return FACTORS[int(errors.argmin())]
