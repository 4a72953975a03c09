"""Gaussian mixture with one cluster that splits and one that only grows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from scruot._checks import whole
from scruot.datasets._checks import generator, positive
from scruot.datasets._registry import ENTRIES

_BRANCHES = ("left", "right", "growing")


def gaussian_mixture(
    n_dims: int = 10,
    *,
    random_state: int | np.random.Generator = 0,
    n_splitting: int = 400,
    n_growing: int = 100,
    fold_growth: float = 10.0,
    half_width: float = 1.0,
    separation: float = 2.5,
    std: float = 0.005**0.5,
) -> AnnData:
    """Draw two snapshots of a Gaussian mixture with transition and growth.

    At time 0 there are ``n_splitting`` cells around the origin and ``n_growing`` around
    ``(0, separation)``. At time 1 the first cluster has split into halves around
    ``(-half_width, 0)`` and ``(half_width, 0)``, without growth, and the second has stayed in
    place and grown ``fold_growth`` times. Coordinates beyond the second have mean zero. Every
    cluster is isotropic. The defaults are those of the published files in 10 to 1000 dimensions.

    A method that moves cells from the origin to the growing cluster, instead of letting that
    grow, makes a false transition; note that an unbalanced distance with a wide enough reach
    (cutoff beyond ``separation``) does so at its optimum.

    Parameters
    ----------
    n_dims
        Number of dimensions, at least 2.
    random_state
        Seed or generator; the same seed gives the same data.
    n_splitting, n_growing
        Cells of the two clusters at time 0.
    fold_growth
        Cells of the growing cluster at time 1, as a multiple of those at time 0.
    half_width
        Distance that the halves of the splitting cluster move.
    separation
        Distance of the growing cluster from the origin.
    std
        Standard deviation of each cluster in every dimension.

    Returns
    -------
    AnnData (n, n_dims) with

    * ``X`` and ``obsm["X_sim"]`` (n, n_dims), float32: coordinates.
    * ``obs["time"]``: 0.0 or 1.0; ``obs["cluster"]``: ``"splitting"`` or ``"growing"``;
      ``obs["branch"]``: ``"left"``, ``"right"``, ``"growing"``, missing for cells that have not
      split yet.
    * ``obs["growth_true"]``: growth per unit of time, 0 or ``log(fold_growth)``.
    * ``uns["truth"]``: ``"population"`` (``"time"``, ``"size"``), ``"clusters"`` with, per row,
      ``"start"`` and ``"end"`` (3, n_dims), ``"start_mass"`` and ``"end_mass"`` (3,) relative to
      the population at time 0, and ``"name"`` (3,); ``"std"``.
    * ``uns["dataset"]``: source, reference, licence.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Zhang, Li & Zhou (2025), ICLR (DeepRUOT) :cite:p:`zhang2025deepruot`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.gaussian_mixture(50)
    >>> adata.obsm["X_sim"].shape
    (1900, 50)
    """
    whole("n_dims", n_dims, least=2)
    whole("n_splitting", n_splitting, least=2)
    whole("n_growing", n_growing, least=1)
    for name, value in (("fold_growth", fold_growth), ("std", std)):
        positive(name, value)
    for name, value in (("half_width", half_width), ("separation", separation)):
        positive(name, value, zero=True)
    rng = generator(random_state)
    left = n_splitting // 2
    before = np.array([left, n_splitting - left, n_growing])
    after = np.array([left, n_splitting - left, max(1, round(n_growing * fold_growth))])
    start, end = np.zeros((2, 3, n_dims))
    end[0, 0], end[1, 0] = -half_width, half_width
    start[2, 1] = end[2, 1] = separation
    counts = np.concatenate((before, after))
    means = np.repeat(np.concatenate((start, end)), counts, axis=0)
    x = (means + std * rng.standard_normal(means.shape)).astype(np.float32)
    sizes = np.array([before.sum(), after.sum()])
    truth = {
        "population": {"time": np.array([0.0, 1.0]), "size": sizes},
        "clusters": {
            "name": np.array(_BRANCHES, dtype=object),
            "start": start,
            "end": end,
            "start_mass": before / sizes[0],
            "end_mass": after / sizes[0],
        },
        "std": std,
    }
    return AnnData(
        X=x,
        obs=_observations(counts, float(np.log(after[2] / before[2]))),
        var=pd.DataFrame(index=[f"x{i + 1}" for i in range(n_dims)]),
        obsm={"X_sim": x.copy()},
        uns={"truth": truth, "dataset": ENTRIES["gaussian_mixture"].provenance("")},
    )


def _observations(counts: npt.NDArray[np.int64], growth: float) -> pd.DataFrame:
    """Return the table of cells: three groups at time 0, then three at time 1."""
    growing = np.repeat([False, False, True] * 2, counts)
    # At time 0 it is open which way a cell of the first cluster will go: code -1, missing.
    branch = np.repeat(np.array([-1, -1, 2, 0, 1, 2]), counts)
    return pd.DataFrame(
        {
            "time": np.repeat(np.repeat([0.0, 1.0], 3), counts),
            "cluster": pd.Categorical(np.where(growing, "growing", "splitting")),
            "branch": pd.Categorical.from_codes(branch, pd.Index(_BRANCHES)),
            "growth_true": np.where(growing, growth, 0.0),
        },
        index=[f"cell{i}" for i in range(int(counts.sum()))],
    )
