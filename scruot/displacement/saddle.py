"""Two convex potentials that play against each other over weighted clouds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scruot.displacement.convex import ConvexPotential
from scruot.dynamics.device import make_generator

__all__ = ["ROUNDING", "Game", "level_within"]

Penalty = Callable[[Tensor], Tensor]
Array = NDArray[np.float64]

# A mean over cells of the same whole number differs from it by rounding.
ROUNDING = 1e-9
# Directions of the sliced distance.
_SLICES = 100
# Cells of each side that the distance and the count look at.
_LOOK = 1000
# As the authors have them: the opponents move, and old gradients mislead.
_BETAS = (0.5, 0.9)


class Game:
    """Clouds and potentials: ``g`` maps the source, ``f`` prices the target.

    Everything is computed about the source's mean and in units of the typical standard deviation
    of the genes; penalties and cuts are in the units of the genes.

    Parameters
    ----------
    source, target
        Cells (n, d) and (m, d).
    weights_source, weights_target
        Their masses, or ``None``.
    device
        Where to compute.
    random_state
        Seed.
    """

    def __init__(
        self,
        source: Array,
        target: Array,
        weights_source: Array | None,
        weights_target: Array | None,
        *,
        device: torch.device,
        random_state: int,
    ) -> None:
        self.share = tuple(
            _shares(w, len(x)) for x, w in ((source, weights_source), (target, weights_target))
        )
        centre = self.share[0] @ source
        spread = np.sqrt(np.median(self.share[0] @ np.square(source - centre)))
        self.spread = float(spread) or 1.0
        self.centre = torch.as_tensor(centre, dtype=torch.float32, device=device)
        self.y, self.x = (
            torch.as_tensor((cells - centre) / self.spread, dtype=torch.float32, device=device)
            for cells in (source, target)
        )
        self.a, self.b = (
            torch.as_tensor(w, dtype=torch.float32, device=device) for w in self.share
        )
        self.generator = make_generator(device, random_state)
        self.random_state = random_state
        self.device = device
        self._even = all(np.ptp(w) == 0 for w in self.share)

    def start(
        self, penalty: Penalty, cut: float, *, width: int, depth: int, learning_rate: float
    ) -> None:
        """Make the potentials, at the answer among translations."""
        size: dict[str, Any] = {"width": width, "depth": depth}
        size |= {"generator": self.generator, "device": self.device}
        dim = self.y.shape[1]
        self.g, self.f = ConvexPotential(dim, **size), ConvexPotential(dim, **size)
        self.penalty, self.cut = penalty, cut
        with torch.no_grad():
            # undo the slope that the small networks bring along
            move = self.b @ self.x - self.a @ self.y
            self.g.linear.copy_(move - self.a @ (self.g.gradient(self.y) - self.y))
            self.f.linear.copy_(-move - self.b @ (self.f.gradient(self.x) - self.x))
        self.optimisers = [
            torch.optim.Adam(net.groups(learning_rate), betas=_BETAS) for net in (self.g, self.f)
        ]
        self._look()

    def first_strength(self, share: float) -> float:
        """Return the strength at which the penalty is a share of the squared displacement."""
        with torch.no_grad():
            moved = self.move(self.y)
            penalty = float(self.a @ self.penalty(self.spread * moved))
            square = 0.5 * float(self.a @ moved.square().sum(1))
        return share * square / penalty if penalty > 0 else share

    def move(self, y: Tensor) -> Tensor:
        """Return displacements in scaled units."""
        return self.g.gradient(y) - y

    def train(self, strength: float, rounds: int, *, inner: int, batch: int) -> None:
        """Play some rounds at one strength of the penalty."""
        for _ in range(rounds):
            for _ in range(inner):
                y = self._draw(self.y, self.a, batch)
                moved = self.g.gradient(y)
                cost = self.f(moved) - (y * moved).sum(1)
                cost = cost + strength * self.penalty(self.spread * (moved - y))
                self._step(0, cost.mean())
            y, x = self._draw(self.y, self.a, batch), self._draw(self.x, self.b, batch)
            with torch.no_grad():
                moved = self.g.gradient(y)
            self._step(1, self.f(x).mean() - self.f(moved).mean())

    def slow(self, factor: float) -> None:
        """Multiply the step sizes: a strong penalty is met by small steps alone."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] *= factor

    def _step(self, player: int, loss: Tensor) -> None:
        net, optimiser = (self.g, self.f)[player], self.optimisers[player]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        net.project()

    def _draw(self, cells: Tensor, weight: Tensor, batch: int) -> Tensor:
        n = len(cells)
        if self._even:
            index = torch.randint(n, (batch,), generator=self.generator, device=self.device)
        else:
            index = torch.multinomial(weight, batch, replacement=True, generator=self.generator)
        return cells[index]

    def _look(self) -> None:
        """Choose, once, the cells and the directions that measures look at."""
        rng = np.random.default_rng(self.random_state)
        rows, weights = [], []
        for share in self.share:
            all_of_them = len(share) <= _LOOK
            rows.append(
                np.arange(len(share)) if all_of_them else rng.choice(len(share), _LOOK, p=share)
            )
            weights.append(share if all_of_them else np.full(_LOOK, 1 / _LOOK))
        self._rows = [torch.as_tensor(r, device=self.device) for r in rows]
        self._weights = weights
        direction = rng.normal(size=(self.y.shape[1], _SLICES))
        direction /= np.linalg.norm(direction, axis=0)
        self._direction = torch.as_tensor(direction, dtype=torch.float32, device=self.device)
        self._idle = self._distance(self.y[self._rows[0]])

    def _distance(self, moved: Tensor) -> float:
        """Return the sliced Wasserstein distance of mapped cells to the target."""
        from ot import wasserstein_1d

        sides = [moved @ self._direction, self.x[self._rows[1]] @ self._direction]
        one, two = (side.cpu().numpy().astype(np.float64) for side in sides)
        cost = wasserstein_1d(one, two, self._weights[0], self._weights[1], p=2)
        return float(np.sqrt(np.mean(cost)))

    @torch.no_grad()
    def measure(self) -> tuple[float, float, float]:
        """Return displaced genes a cell, distance to the target over the idle one, and penalty."""
        y = self.y[self._rows[0]]
        moved = self.move(y)
        weight = self._weights[0]
        count = (self.spread * moved.abs() > self.cut).sum(1).cpu().numpy()
        penalty = self.penalty(self.spread * moved).cpu().numpy()
        error = self._distance(y + moved) / max(self._idle, 1e-30)
        return float(weight @ count), error, float(weight @ penalty)

    @torch.no_grad()
    def within(self, limit: float) -> tuple[float, float]:
        """Return the cut that leaves at most ``limit`` genes a cell, and the distance it leaves.

        The cut is that of the game, or a larger one; the distance is that of :meth:`measure`, of
        the map whose displacements up to the cut are zero.
        """
        y = self.y[self._rows[0]]
        moved = self.move(y)
        size = (self.spread * moved.abs()).cpu().numpy()
        cut = max(self.cut, level_within(size, self._weights[0], limit))
        kept = torch.where(self.spread * moved.abs() > cut, moved, torch.zeros_like(moved))
        return cut, self._distance(y + kept) / max(self._idle, 1e-30)

    def state(self) -> dict[str, Any]:
        """Return a true copy of everything that training changes."""
        return {
            "nets": [copy.deepcopy(net.state_dict()) for net in (self.g, self.f)],
            "optimisers": [copy.deepcopy(o.state_dict()) for o in self.optimisers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        for net, saved in zip((self.g, self.f), state["nets"], strict=True):
            net.load_state_dict(saved)
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            # an optimiser keeps the tensors it is given, and would change the copy
            optimiser.load_state_dict(copy.deepcopy(saved))


def level_within(size: NDArray[np.floating], share: Array, limit: float) -> float:
    """Return the least level that at most ``limit`` entries a row exceed, rows weighing ``share``.

    Examples
    --------
    >>> level_within(np.array([[3.0, 1.0], [2.0, 0.5]]), np.array([0.5, 0.5]), 1.0)
    1.0
    """
    order = np.argsort(-size, axis=None, kind="stable")
    above = np.cumsum(np.repeat(share, size.shape[1])[order])
    # rounding: a mean over cells of the same whole number differs from it
    first = int(np.searchsorted(above, limit * (1 + ROUNDING), side="right"))
    return float(size.ravel()[order[first]]) if first < len(order) else 0.0


def _shares(weights: Array | None, n: int) -> Array:
    if weights is None:
        return np.full(n, 1 / n)
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != (n,) or not np.isfinite(found).all() or found.min() < 0 or found.sum() <= 0:
        msg = f"Found weights of shape {found.shape}; expected ({n},) masses, none negative."
        raise ValueError(msg)
    return found / found.sum()
