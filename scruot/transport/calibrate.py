"""The price of mass from what is known: moved mass, spread of growth, or the rate of a group."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scruot.transport.checks import check_clouds
from scruot.transport.coupling import Coupling
from scruot.transport.delta import auto_delta

__all__ = ["auto_reg", "auto_tau", "tau_for_group", "tau_for_moved", "tau_for_spread"]

_LOG = logging.getLogger(__name__)

_STRIDE, _MOST_STRIDES = 8.0, 7  # from the first guess outwards: a range of 2e6 either way
_STEPS = 40

Solve = Callable[[float], Coupling]


class UnreachableError(ValueError):
    """No price gives what was wanted, only values from ``low`` to ``high``."""

    def __init__(self, message: str, low: float, high: float) -> None:
        super().__init__(message)
        self.low, self.high = low, high


def auto_reg(x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, *, share: float = 0.05) -> float:
    r"""Entropic regularisation as a share of the mean squared distance of all pairs.

    The mean is weighted by the masses; so the rule has no scale of its own: ``auto_reg`` of ``c *
    x`` is ``c**2`` times that of ``x``. The usual choice in Waddington-OT and moscot; one number
    for all intervals is rarely best (:func:`scruot.transport.auto_settings`).

    Parameters
    ----------
    x0, x1
        Clouds, shapes ``(n, d)`` and ``(m, d)``.
    a, b
        Masses of their cells.
    share
        Share of the mean squared distance, positive.

    Returns
    -------
    Regularisation in squared units of ``x0``; divide by ``cost_scale`` for :func:`couple`.

    Raises
    ------
    ValueError
        On bad clouds or masses.

    Examples
    --------
    >>> import torch
    >>> x, y, one = torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.ones(2)
    >>> auto_reg(x, y, one[:1], one, share=0.5)
    1.0
    """
    check_clouds(x0, x1, a, b)
    (mean0, spread0), (mean1, spread1) = _moments(x0, a), _moments(x1, b)
    return share * (spread0 + spread1 + float((mean0 - mean1).square().sum()))


def auto_tau(xs: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> float:
    r"""Price of mass from nearest-partner distances: :math:`4\delta^2` with ``auto_delta``.

    Under the Wasserstein-Fisher-Rao cost, which is :math:`|x - y|^2 / (4\delta^2)` for near points,
    mass costs one; in units of squared distance that is :math:`4\delta^2`.

    Parameters
    ----------
    xs
        Two or more snapshots in time order, each of shape ``(n_k, d)``.
    weights
        Mass of each cell; equal by default.

    Returns
    -------
    ``tau`` in squared units of the coordinates; divide by ``cost_scale`` for :class:`Penalty`.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(4, 2)
    >>> round(auto_tau([x, x + torch.tensor([3.0, 4.0])]), 2)
    210.25
    """
    return 4.0 * auto_delta(xs, weights) ** 2


def tau_for_moved(solve: Solve, share: float, *, start: float, tol: float = 1e-3) -> float:
    r"""Price at which a share of the mass moves.

    The moved mass grows with the price; with total variation it is a step function, and the price
    is that of the step which reaches the share.

    Parameters
    ----------
    solve
        Function from ``tau`` to a coupling, e.g. ``lambda tau: couple(x0, x1, a, b,
        source=Penalty("kl", tau), target=Penalty("kl", tau))``.
    share
        Moved mass over the smaller total mass; with KL it may exceed one where totals differ.
    start
        First guess, e.g. :func:`auto_tau`; prices up to a factor of 2e6 from it are considered.
    tol
        Tolerance of the share.

    Returns
    -------
    ``tau``, in the units of ``solve``.

    Raises
    ------
    ValueError
        If no price in the range moves this share.

    Examples
    --------
    >>> import torch
    >>> from scruot.transport import Penalty, couple
    >>> x, one = torch.zeros(1, 1), torch.ones(1)
    >>> def solve(tau):
    ...     side = Penalty("kl", tau)
    ...     return couple(x, x + 1, one, one, source=side, target=side)
    >>> round(tau_for_moved(solve, 0.5, start=1.0, tol=1e-6), 3)  # 0.5 / log 2
    0.721
    """

    def measure(plan: Coupling) -> float:
        return plan.moved / float(torch.minimum(plan.a.sum(), plan.b.sum()))

    return _search(solve, measure, share, start=start, tol=tol, rising=True, name="moved share")


def tau_for_spread(solve: Solve, growth: Tensor, *, start: float, tol: float = 1e-3) -> float:
    r"""Price at which the row masses vary as much as a growth prior says that they should.

    The measure is the coefficient of variation of the growth factors ``row mass / a`` over the
    source cells, weighted by ``a``; it falls as the price rises. ``solve`` has to couple the masses
    *without* the prior, so that all variation comes from the coupling.

    Parameters
    ----------
    solve
        Function from ``tau`` to a coupling.
    growth
        Growth factors over the interval that the prior implies, ``exp(rate * duration)``, shape
        ``(n,)``; only their relative spread counts.
    start, tol
        As in :func:`tau_for_moved`.

    Returns
    -------
    ``tau``, in the units of ``solve``.

    Raises
    ------
    ValueError
        If no price in the range gives this spread.

    Examples
    --------
    >>> import torch
    >>> from scruot.transport import Penalty, couple
    >>> x, one = torch.tensor([[0.0], [9.0]]), torch.ones(2)
    >>> y, b = torch.tensor([[0.0], [9.0]]), torch.tensor([1.0, 3.0])
    >>> def solve(tau):
    ...     return couple(x, y, one, b, source=Penalty("kl", tau), target=Penalty("exact"))
    >>> growth = torch.tensor([1.2, 1.8])
    >>> tau = tau_for_spread(solve, growth, start=1.0)
    >>> [round(v, 2) for v in (2 * solve(tau).row_mass / 4 * 1.5).tolist()]
    [1.2, 1.8]
    """
    factors = growth.to(torch.float64)

    def variation(values: Tensor, mass: Tensor) -> float:
        share = mass / mass.sum()
        mean = (share * values).sum()
        return float((share * (values - mean).square()).sum().sqrt() / mean)

    def measure(plan: Coupling) -> float:
        return variation(plan.row_mass[plan.a > 0] / plan.a[plan.a > 0], plan.a[plan.a > 0])

    first = solve(start)
    if factors.shape != first.a.shape:
        msg = f"Found growth of shape {tuple(factors.shape)}, expected {tuple(first.a.shape)}."
        raise ValueError(msg)
    alive = first.a > 0
    wanted = variation(factors.to(first.a.device)[alive], first.a[alive])
    name = "spread of growth"
    return _search(solve, measure, wanted, start=start, tol=tol, rising=False, name=name)


def tau_for_group(
    solve: Solve, group: Tensor, factor: float, *, start: float, tol: float = 1e-3
) -> float:
    """Price at which a reference group of source cells grows as it is known to.

    The measure is the mass that leaves the group over its prescribed mass. It tends to one (or to
    what the prior prescribes) as the price of the source side rises; a group whose growth the
    coupling cannot explain at any price is an error that says what can be reached.

    Parameters
    ----------
    solve
        Function from ``tau`` to a coupling.
    group
        Mask of the source cells of the group, shape ``(n,)``, bool.
    factor
        Known growth factor of the group over the interval, ``exp(rate * duration)``.
    start, tol
        As in :func:`tau_for_moved`.

    Returns
    -------
    ``tau``, in the units of ``solve``.

    Raises
    ------
    ValueError
        If the group is empty, or no price in the range gives this growth.

    Examples
    --------
    >>> import torch
    >>> from scruot.transport import Penalty, couple
    >>> x, one = torch.tensor([[0.0], [9.0]]), torch.ones(2)
    >>> b = torch.tensor([1.0, 3.0])
    >>> def solve(tau):
    ...     return couple(x, x, one, b, source=Penalty("kl", tau), target=Penalty("exact"))
    >>> tau = tau_for_group(solve, torch.tensor([False, True]), 2.5, start=1.0)
    >>> round(float(solve(tau).row_mass[1]), 2)
    2.5
    """
    if not bool(group.any()):
        msg = "Found an empty group; expected at least one source cell of known growth."
        raise ValueError(msg)

    def measure(plan: Coupling) -> float:
        members = group.to(plan.a.device)
        return float(plan.row_mass[members].sum() / plan.a[members].sum())

    name = "growth of the group"
    return _search(solve, measure, factor, start=start, tol=tol, rising=None, name=name)


def _search(
    solve: Solve,
    measure: Callable[[Coupling], float],
    wanted: float,
    *,
    start: float,
    tol: float,
    rising: bool | None,
    name: str,
) -> float:
    """Walk from the first guess until the measure passes the wanted value, then bisect.

    All on the logarithm of the price; in both directions if it is unknown whether the measure rises
    with it.
    """
    if not (math.isfinite(start) and start > 0):
        msg = f"Found start = {start}, expected a positive price to start from."
        raise ValueError(msg)

    def at(tau: float) -> float:
        found = measure(solve(tau))
        _LOG.debug("tau %.4g gives a %s of %.4g, wanted %.4g", tau, name, found, wanted)
        return found

    first = at(start)
    if abs(first - wanted) <= tol:
        return start
    factors = [_STRIDE, 1.0 / _STRIDE]
    if rising is not None:
        factors = factors[:1] if (first < wanted) == rising else factors[1:]
    seen, bracket = [(start, first)], None
    for number in range(_MOST_STRIDES):
        for factor in factors:
            here = min(seen, key=lambda pair: abs(math.log(pair[0] / (start * factor**number))))
            there = (start * factor ** (number + 1), at(start * factor ** (number + 1)))
            if abs(there[1] - wanted) <= tol:
                return there[0]
            if (there[1] < wanted) != (here[1] < wanted):
                bracket = sorted((here, there))
                break
            seen.append(there)
        if bracket is not None:
            break
    if bracket is None:
        taus, values = zip(*seen, strict=True)
        msg = (
            f"Found a wanted {name} of {wanted:.4g}, but prices from {min(taus):.3g} to "
            f"{max(taus):.3g} only give {min(values):.4g} to {max(values):.4g}; ask for a value "
            "in between."
        )
        raise UnreachableError(msg, min(values), max(values))
    rising = bracket[0][1] < wanted
    low, high = (math.log(tau) for tau, _ in bracket)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        value = at(math.exp(middle))
        if abs(value - wanted) <= tol:
            return math.exp(middle)
        if (value < wanted) == rising:
            low = middle
        else:
            high = middle
    return math.exp(high if rising else low)


def _moments(x: Tensor, mass: Tensor) -> tuple[Tensor, float]:
    """Weighted mean, and mean squared distance from it."""
    x = (x.cpu() if x.device.type == "mps" else x).to(torch.float64)
    share = mass.to(x.device).to(x.dtype)
    share = share / share.sum()
    mean = share @ x
    return mean, float(share @ (x - mean).square().sum(1))
