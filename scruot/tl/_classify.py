"""The group of a state at a time, from the labelled cells nearest to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from scruot.tl._fitted import FittedCells

N_NEIGHBORS = 15


@dataclass(frozen=True, eq=False)
class Classifier:
    """Votes of the nearest labelled cells of the same time, weighed by one over the distance.

    Between two times with labelled cells, the votes of both are mixed linearly in time; before
    the first and after the last, that one votes alone.

    Every state gets a group, and a labelled cell its own (at distance zero it outvotes all
    others), so that populations add up and begin at the observed ones. Fates need another answer:
    :class:`scruot.fates.classify.StateClassifier` shrinks its votes, may say "none of these", and
    knows one time only, that at which a terminal state is.

    Parameters
    ----------
    x
        Labelled cells (n, d).
    time
        Their times (n,).
    codes
        Their groups (n,), whole numbers from 0.
    mass
        Their masses (n,).
    n_groups
        Number of groups.
    n_neighbors
        Cells that vote.
    """

    x: NDArray[np.floating]
    time: NDArray[np.float64]
    codes: NDArray[np.integer]
    mass: NDArray[np.float64]
    n_groups: int
    n_neighbors: int = N_NEIGHBORS

    @property
    def times(self) -> NDArray[np.float64]:
        """Times with labelled cells."""
        return np.unique(self.time)

    def at(self, t: float, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the probability of each group for states at a time, shape (m, groups)."""
        times = self.times
        after = int(np.searchsorted(times, t))
        if after < len(times) and times[after] == t:
            return self._vote(times[after], x)
        if after in {0, len(times)}:
            return self._vote(times[min(after, len(times) - 1)], x)
        before, next_one = times[after - 1], times[after]
        share = (t - before) / (next_one - before)
        return (1 - share) * self._vote(before, x) + share * self._vote(next_one, x)

    def _vote(self, time: float, x: NDArray[np.floating]) -> NDArray[np.float64]:
        rows = self.time == time
        # weighed by nearness: a group with fewer cells than neighbours is not outvoted from afar
        knn = KNeighborsClassifier(min(self.n_neighbors, int(rows.sum())), weights="distance")
        knn.fit(self.x[rows], self.codes[rows])
        votes = np.zeros((len(x), self.n_groups))
        votes[:, knn.classes_] = knn.predict_proba(x)
        return votes


def classifier(groups: pd.Categorical, cells: FittedCells) -> Classifier:
    """Return the classifier of the groups of fitted cells; cells without a label do not vote."""
    codes = np.asarray(groups.codes)
    rows = (codes >= 0) & (cells.mass > 0)
    n_groups = len(groups.categories)
    return Classifier(cells.x[rows], cells.time[rows], codes[rows], cells.mass[rows], n_groups)
