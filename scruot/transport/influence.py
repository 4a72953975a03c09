"""What one gross outlier does to the value of a coupling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scruot.transport.checks import check_clouds
from scruot.transport.couple import couple
from scruot.transport.penalties import Penalty

__all__ = ["outlier_influence"]


def outlier_influence(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    penalties: Sequence[Penalty],
    distances: Sequence[float],
    share: float = 0.01,
) -> Tensor:
    r"""Change of the optimal value per unit of outlying mass: the influence curves.

    A share :math:`s` of the source mass :math:`m` is taken from all cells alike and put on a single
    outlier at distance :math:`R` from the mean of the targets, on the far side of the mean of the
    sources. The curve is :math:`(V(R) - V) / (s m)` with :math:`V` the optimal value of ``couple``
    under the same penalty on both sides, without entropy. With exact marginals it grows like
    :math:`R^2`, without bound: a single cell breaks the coupling down. With a penalty it is
    bounded: the value is convex in the measures, so that it rises by no more than a share :math:`s`
    of what it costs to destroy and to create everything. With KL, TV and chi-squared, and equal
    masses, the curve stays below ``2 * tau``: the price of the outlier and of the target that it
    leaves alone.

    Parameters
    ----------
    x0, x1
        Clouds, shapes ``(n, d)`` and ``(m, d)``.
    a, b
        Masses of their cells.
    penalties
        Penalties to compare, each used for both sides.
    distances
        Distances of the outlier, in the units of ``x0``.
    share
        Share of the source mass that becomes the outlier, between 0 and 1.

    Returns
    -------
    Influence, shape ``(len(penalties), len(distances))``, in squared units of ``x0``.

    Raises
    ------
    ValueError
        On bad clouds or masses, or a share out of range.

    References
    ----------
    Hampel, *The influence curve and its role in robust estimation*, J. Am. Stat. Assoc. 69 (1974)
    :cite:p:`hampel1974`. Mukherjee, Guha, Solomon, Sun and Yurochkin, *Outlier-robust optimal
    transport*, ICML 2021 :cite:p:`mukherjee2021`.

    Examples
    --------
    >>> import torch
    >>> x, one = torch.zeros(1, 2), torch.ones(1)
    >>> pair = [Penalty("exact"), Penalty("tv", 2.0)]
    >>> outlier_influence(x, x, one, one, penalties=pair, distances=[1.0, 3.0]).round().tolist()
    [[1.0, 9.0], [1.0, 4.0]]
    """
    if not 0 < share < 1:
        msg = f"Found share = {share}, expected a number between 0 and 1."
        raise ValueError(msg)
    check_clouds(x0, x1, a, b)
    x0, x1, a, b = (t.to(torch.float64) for t in (x0, x1, a, b))
    centre = (b[:, None] * x1).sum(0) / b.sum()
    away = (a[:, None] * x0).sum(0) / a.sum() - centre
    length = float(away.norm())
    if length <= 1e-12 * (1.0 + float(centre.norm())):  # the means agree: any direction will do
        away, length = torch.zeros_like(centre), 1.0
        away[0] = 1.0
    mass = share * float(a.sum())
    dirty = torch.cat([(1.0 - share) * a, a.new_tensor([mass])])
    rows = []
    for penalty in penalties:
        clean = couple(x0, x1, a, b, source=penalty, target=penalty).primal
        values = []
        for distance in distances:
            outlier = centre + away * (distance / length)
            cloud = torch.cat([x0, outlier[None]])
            found = couple(cloud, x1, dirty, b, source=penalty, target=penalty).primal
            values.append((found - clean) / mass)
        rows.append(values)
    return torch.tensor(rows, dtype=torch.float64)
