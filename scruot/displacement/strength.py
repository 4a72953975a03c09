"""How strong the penalty is: fixed, annealed to a trade-off, or as weak as a constraint allows."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from scruot.displacement.saddle import ROUNDING, Game

__all__ = ["PathPoint", "Schedule", "adapt", "make_schedule"]

logger = logging.getLogger(__name__)

# Factor by which the strength grows while too many genes are displaced, and how often at most.
_RAISE = 1.5
_RAISES = 20
# Raising ends where so many raises in a row have taken away less than this share of the genes.
_STUCK, _MOVED = 3, 0.01
# And where so many raises in a row have left maps that are worse within the constraint.
_PATIENCE = 5
# Steps shrink as the strength grows: at a constant size, their jitter alone displaces genes.
_SLOWER = 0.8
# In how many parts the second half of the first rounds slows down.
_SHRINKS = 6
# Smallest relative change that is proposed.
_LEAST = 0.01
# Rounds between two looks at the progress bar.
_TICK = 10


@dataclass(frozen=True)
class PathPoint:
    """One strength that was tried.

    Attributes
    ----------
    strength
        Weight of the penalty.
    n_active
        Displaced genes per source cell, on average.
    error
        Sliced Wasserstein distance to the target, relative to that of unmoved cells.
    penalty
        Mean penalty of a cell.
    accepted
        Whether the search went on from here.
    """

    strength: float
    n_active: float
    error: float
    penalty: float
    accepted: bool


@dataclass(frozen=True)
class Schedule:
    """What to adapt the strength to, and for how long.

    Attributes
    ----------
    kind
        ``"fixed"``, ``"constraint"`` or ``"tradeoff"``.
    value
        Wanted number of displaced genes, or weight of sparsity.
    rounds, block
        Rounds at the first strength, and at every further one.
    trials
        Proposals of the annealing.
    """

    kind: Literal["fixed", "constraint", "tradeoff"]
    value: float
    rounds: int
    block: int
    trials: int

    @property
    def most(self) -> int:
        """Rounds at most."""
        further = {"fixed": 0, "constraint": _RAISES + self.trials, "tradeoff": self.trials}
        return self.rounds + self.block * further[self.kind]


def make_schedule(
    *,
    strength: float | None,
    n_active: float | None,
    tradeoff: float | None,
    rounds: int,
    block: int,
    trials: int,
) -> Schedule:
    """Return the schedule; without any wish, a trade-off of one half.

    Raises
    ------
    ValueError
        For more than one wish, or numbers out of range.
    """
    wishes = {"strength": strength, "n_active": n_active, "tradeoff": tradeoff}
    given = {name: value for name, value in wishes.items() if value is not None}
    if len(given) > 1:
        msg = f"Found {' and '.join(given)}; expected one of strength, n_active and tradeoff."
        raise ValueError(msg)
    for name, least in (("rounds", 1), ("block", 1), ("trials", 0)):
        number: Any = {"rounds": rounds, "block": block, "trials": trials}[name]
        if not isinstance(number, int) or number < least:
            msg = f"Found {name}={number!r}; expected a whole number >= {least}."
            raise ValueError(msg)
    for name, wish in given.items():
        ends = (0.0, 1.0) if name == "tradeoff" else (0.0, math.inf)
        if not (math.isfinite(wish) and ends[0] <= wish <= ends[1]):
            msg = (
                f"Found {name}={wish!r}; expected a finite number from {ends[0]:g} to {ends[1]:g}."
            )
            raise ValueError(msg)
    if strength is not None:
        return Schedule("fixed", strength, rounds, block, 0)
    if n_active is not None:
        return Schedule("constraint", n_active, rounds, block, trials)
    return Schedule("tradeoff", 0.5 if tradeoff is None else tradeoff, rounds, block, trials)


def adapt(
    game: Game, schedule: Schedule, first: float, *, inner: int, batch: int, progress: bool
) -> list[PathPoint]:
    """Train, adapt the strength, and leave the best weights in the game.

    Returns
    -------
    Every strength that was tried, in order; the last one is that of the weights that are left.
    """
    with tqdm(total=schedule.most, desc="icnn", disable=not progress) as bar:
        search = _Search(game, inner, batch, bar)
        search.settle(first, schedule.rounds)
        search.keep()
        if schedule.kind == "constraint":
            _constrain(search, schedule)
        elif schedule.kind == "tradeoff":
            _trade(search, schedule)
    return search.path


class _Search:
    """Trains at strengths, and remembers where to go back to."""

    def __init__(self, game: Game, inner: int, batch: int, bar: Any) -> None:
        self.game, self.inner, self.batch, self.bar = game, inner, batch, bar
        self.path: list[PathPoint] = []
        self.now: PathPoint
        self.rng = np.random.default_rng(game.random_state)

    def play(self, strength: float, rounds: int) -> PathPoint:
        self.train(strength, rounds)
        count, error, penalty = self.game.measure()
        self.tried = PathPoint(strength, count, error, penalty, accepted=True)
        self.bar.set_postfix_str(f"strength {strength:.3g}, {count:.1f} genes, error {error:.3f}")
        return self.tried

    def train(self, strength: float, rounds: int) -> None:
        for start in range(0, rounds, _TICK):
            now = min(_TICK, rounds - start)
            self.game.train(strength, now, inner=self.inner, batch=self.batch)
            self.bar.update(now)

    def settle(self, strength: float, rounds: int) -> None:
        """Play the first rounds, the second half of them with steps that shrink."""
        half = rounds // 2
        self.train(strength, half)
        parts = np.diff(np.linspace(half, rounds, _SHRINKS + 1).astype(int))
        for part in parts[:-1]:
            self.game.slow(_SLOWER)
            self.train(strength, int(part))
        self.play(strength, int(parts[-1]))

    def keep(self) -> None:
        """Go on from what was tried last."""
        self.now, self.saved = self.tried, self.game.state()
        self.path.append(self.now)

    def back(self) -> None:
        """Go back to what was kept last: weights, optimisers and strength."""
        point = self.tried
        self.path.append(
            PathPoint(point.strength, point.n_active, point.error, point.penalty, accepted=False)
        )
        self.game.restore(self.saved)

    def finish(self, point: PathPoint, state: dict[str, Any]) -> None:
        """Leave some weights in the game, and their point at the path's end."""
        self.game.restore(state)
        self.path.append(point)


def _constrain(search: _Search, schedule: Schedule) -> None:
    """Raise the strength until the constraint holds, then lower it as far as it goes on holding.

    Every map on the way is compared as it is when its smallest displacements are cut so that the
    constraint holds, and the one of least distance is left. A penalty strong enough to silence idle
    genes by itself takes weaker true displacements with it; a weak one ranks both rightly.
    """
    limit = schedule.value * (1 + ROUNDING)
    counts = [search.now.n_active]
    best, state = search.now, search.saved
    least = search.game.within(schedule.value)[1]

    worse = 0

    def compare() -> None:
        nonlocal best, state, least, worse
        error = search.game.within(schedule.value)[1]
        worse += 1
        if error < least:
            best, state, least, worse = search.now, search.saved, error, 0

    while counts[-1] > limit and len(counts) <= _RAISES and worse < _PATIENCE:
        if len(counts) > _STUCK and counts[-1] > (1 - _MOVED) * counts[-1 - _STUCK]:
            logger.info("a stronger penalty displaces no fewer genes than %.1f", counts[-1])
            break
        search.game.slow(_SLOWER)
        counts.append(search.play(_RAISE * search.now.strength, schedule.block).n_active)
        search.keep()
        compare()
    for k in range(schedule.trials):
        if search.now.n_active > limit:
            break
        reach = _reach(0.95**k)
        proposed = search.now.strength * (1 - search.rng.uniform(0, reach))
        if search.play(proposed, schedule.block).n_active <= limit:
            search.keep()
            compare()
        else:
            search.back()
    search.finish(best, state)


def _trade(search: _Search, schedule: Schedule) -> None:
    """Anneal the strength to a weighted sum of penalty and error, each relative to the first."""
    start = search.now
    weight = schedule.value

    def gain(point: PathPoint) -> float:
        sparsity = point.penalty / max(start.penalty, 1e-30)
        return -weight * sparsity - (1 - weight) * point.error / max(start.error, 1e-30)

    best, state = search.now, search.saved
    for k in range(schedule.trials):
        temperature = 0.95**k
        reach = _reach(temperature)
        proposed = search.now.strength * (1 + search.rng.uniform(-reach, reach))
        better = gain(search.play(proposed, schedule.block)) - gain(search.now)
        if better > 0 or search.rng.uniform() < math.exp(better / (0.1 * temperature)):
            search.keep()
            if gain(search.now) > gain(best):
                best, state = search.now, search.saved
        else:
            search.back()
    search.finish(best, state)


def _reach(temperature: float) -> float:
    return max(_LEAST, math.exp(-3 * (1 - temperature)))
