"""Displacement-sparse maps as gradients of convex networks, trained as a saddle point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scruot.displacement.convex import ConvexPotential
from scruot.displacement.penalties import Sparsity
from scruot.displacement.saddle import Game, level_within
from scruot.displacement.strength import PathPoint, adapt, make_schedule
from scruot.dynamics.device import resolve_device

__all__ = ["IcnnMap", "fit_icnn"]

Penalty = Callable[[Tensor], Tensor]
Array = NDArray[np.float64]

# An entry counts as displaced beyond this share of the genes' typical standard deviation.
_THRESHOLD = 0.1
# Width of the smoothed l0 in units of the same.
_WIDTH = 0.5
# Penalty at the start, as a share of the squared displacement.
_FIRST = 0.5
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class IcnnMap:
    """A map ``T(y) = y + displacement``, the gradient of a convex function.

    Attributes
    ----------
    strength
        Weight of the penalty in the end.
    n_active
        Mean number of displaced genes of a source cell.
    error
        Sliced Wasserstein distance between mapped and target cells, over that between source and
        target cells.
    cut
        Displacements up to this size are zero.
    path
        Everything tried: see :class:`~scruot.displacement.strength.PathPoint`.
    """

    strength: float
    n_active: float
    error: float
    cut: float
    path: list[PathPoint]
    _potential: ConvexPotential = field(repr=False)
    _centre: Tensor = field(repr=False)
    _unit: float = field(repr=False)

    def displacement(self, cells: Array) -> Array:
        """Return the displacement of cells (n, d), in the units of the genes; exact zeros."""
        parts = []
        for start in range(0, max(len(cells), 1), _ROWS):
            rows = torch.as_tensor(cells[start : start + _ROWS], dtype=torch.float32)
            moved = self._moves((rows.to(self._centre.device) - self._centre) / self._unit)
            parts.append(torch.where(moved.abs() > self.cut, moved, 0.0).cpu().numpy())
        return np.concatenate(parts).astype(np.float64)

    @torch.no_grad()
    def _moves(self, y: Tensor) -> Tensor:
        return (self._potential.gradient(y) - y) * self._unit


def fit_icnn(
    source: Array,
    target: Array,
    weights_source: Array | None = None,
    weights_target: Array | None = None,
    *,
    penalty: Penalty | None = None,
    strength: float | None = None,
    n_active: float | None = None,
    tradeoff: float | None = None,
    threshold: float | None = None,
    width: int = 64,
    depth: int = 2,
    rounds: int = 500,
    block: int = 20,
    trials: int = 6,
    inner_steps: int = 5,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    random_state: int = 0,
    device: str = "auto",
    progress: bool = False,
) -> IcnnMap:
    r"""Fit a displacement-sparse map between two weighted clouds.

    With convex `f` and `g`, the map :math:`T = \nabla g` from source `Q` to target `P` solves

    .. math:: \sup_f \inf_g \; -E_P f + E_Q[f(T(y)) - \langle y, T(y)\rangle]
        + \lambda E_Q \tau(T(y) - y).

    Both are quadratics plus input-convex networks, and both start at the answer among
    translations. The strength :math:`\lambda` is fixed, or adapted: with ``n_active``, raised until
    a cell has at most so many displaced genes on average, and then lowered, step by step, as far as
    that holds; of all strengths on the way, the one is kept whose map, without its smallest
    displacements so that the number holds, is nearest to the target; with ``tradeoff``, by
    simulated annealing.

    Parameters
    ----------
    source, target
        Cells (n, d) and (m, d).
    weights_source, weights_target
        Masses of the cells, (n,) and (m,); each side is taken as a distribution. Equal by default.
    penalty
        :math:`\tau`: any differentiable function of displacements (n, d), in the units of the
        genes, to (n,). By default the smoothed l0, of a width of half a typical standard deviation.
    strength
        :math:`\lambda`, fixed.
    n_active
        Wanted mean number of displaced genes per cell, for many dimensions; raises ``threshold``
        where more are displaced.
    tradeoff
        Weight of sparsity against feasibility, between 0 and 1, for few dimensions.
    threshold
        Displacements up to this size count as none, and are set to zero; by default a tenth of the
        genes' typical standard deviation.
    width, depth
        Size of the networks.
    rounds
        Rounds before the strength is adapted; all of them where it is fixed.
    block
        Rounds at each further strength.
    trials
        Strengths that are proposed by annealing.
    inner_steps
        Steps of `g` for each of `f`.
    batch_size, learning_rate
        Of Adam. Steps of input weights shrink with the dimension.
    random_state
        Seed.
    device
        Where to compute.
    progress
        Whether to show a progress bar.

    Returns
    -------
    The map, with the path of strengths.

    Raises
    ------
    ValueError
        When shapes do not fit, numbers are out of range or not finite, or more than one of
        ``strength``, ``n_active`` and ``tradeoff`` is given.

    References
    ----------
    Chen, Xie and Zhang (2025), *Displacement-sparse neural optimal transport*, arXiv:2502.01889
    :cite:p:`chen2025disnot`.

    Makkuva, Taghvaei, Oh and Lee (2020), *Optimal transport mapping via input convex neural
    networks*, ICML :cite:p:`makkuva2020`. Amos, Xu and Kolter (2017), *Input convex neural
    networks*, ICML :cite:p:`amos2017`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cells = rng.normal(size=(200, 5))
    >>> move = np.array([3.0, 0.0, 0.0, 0.0, 0.0])
    >>> found = fit_icnn(cells, cells + move, n_active=1, rounds=20, learning_rate=1e-3)
    >>> bool(np.abs(found.displacement(cells) - move).max() < 0.2)
    True
    """
    _check(source, target, threshold)
    schedule = make_schedule(
        strength=strength,
        n_active=n_active,
        tradeoff=tradeoff,
        rounds=rounds,
        block=block,
        trials=trials,
    )
    game = Game(
        np.asarray(source, dtype=np.float64),
        np.asarray(target, dtype=np.float64),
        weights_source,
        weights_target,
        device=resolve_device(device),
        random_state=random_state,
    )
    cut = _THRESHOLD * game.spread if threshold is None else float(threshold)
    tau = Sparsity("smoothed_l0", width=_WIDTH * game.spread).value if penalty is None else penalty
    game.start(tau, cut, width=width, depth=depth, learning_rate=learning_rate)
    first = game.first_strength(_FIRST) if strength is None else float(strength)
    path = adapt(game, schedule, first, inner=inner_steps, batch=batch_size, progress=progress)
    end = path[-1]
    found = IcnnMap(
        end.strength, end.n_active, end.error, cut, path, game.g, game.centre, game.spread
    )
    return found if n_active is None else _within(found, game, source, n_active)


def _check(source: Array, target: Array, threshold: Any) -> None:
    shapes = np.shape(source), np.shape(target)
    fits = all(len(s) == 2 and s[0] > 1 for s in shapes) and shapes[0][1] == shapes[1][1]
    if not fits:
        msg = f"Found clouds of shapes {shapes[0]} and {shapes[1]}; expected (n, d) and (m, d)."
        raise ValueError(msg)
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        msg = "The cells hold NaN or infinity; expected finite values."
        raise ValueError(msg)
    if threshold is not None and not threshold >= 0:
        msg = f"Found threshold={threshold!r}; expected a number of at least 0, or None."
        raise ValueError(msg)


def _within(found: IcnnMap, game: Game, source: Array, n_active: float) -> IcnnMap:
    """Raise the cut where more genes than wanted are displaced."""
    error = game.within(n_active)[1]
    # the game looks at some cells only
    size = np.abs(IcnnMap(**{**vars(found), "cut": 0.0}).displacement(source))
    cut = max(found.cut, level_within(size, game.share[0], n_active))
    count = float(game.share[0] @ (size > cut).sum(axis=1))
    return IcnnMap(**{**vars(found), "cut": cut, "n_active": count, "error": error})
