"""The fitted dynamical system: the one object between solvers and everything else."""

from __future__ import annotations

import copy
import math
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from scruot.dynamics.fields import Ensemble
from scruot.dynamics.noise import Noise
from scruot.dynamics.simulate import (
    Trajectories,
    integrate_flow,
    integrate_flow_adaptively,
    integrate_sde,
)
from scruot.dynamics.snapshots import Scale

Array = TypeVar("Array", np.ndarray, Tensor)

# rows per evaluation: bounds memory at any number of cells
_ROWS = 65_536


class Dynamics:
    """A fitted dynamical system ``dX = b dt + sigma dW``, ``d log w = g dt``.

    Times and coordinates are in the units of the data it was fitted on. NumPy arrays give
    NumPy arrays, tensors give tensors.

    Parameters
    ----------
    field
        Module that maps scaled ``(t, x)`` to a mapping with the learned quantities.
    scale
        Units of ``field``.
    method
        Name of the solver.
    learns
        What ``field`` returns.
    times, masses
        Observed times, and the observed population at each, relative to the first.
    sigma
        Noise in units of ``field``, one number or one per coordinate; 0 for a deterministic
        model.
    sigma_profile
        Factor on ``sigma`` at every one of ``times``, linear in between and constant outside;
        empty for noise that is the same at all times.
    """

    def __init__(
        self,
        field: nn.Module,
        scale: Scale,
        *,
        method: str,
        learns: tuple[str, ...],
        times: tuple[float, ...],
        masses: tuple[float, ...],
        sigma: float | tuple[float, ...] = 0.0,
        sigma_profile: tuple[float, ...] = (),
        device: torch.device | None = None,
    ) -> None:
        self.field = field.eval()
        self.scale = scale
        self.method = method
        self.learns = learns
        self.times = times
        self.masses = masses
        self.device = torch.device("cpu") if device is None else device
        self.field.to(self.device)
        self._noise = Noise(sigma, sigma_profile, tuple(scale.time_in(t) for t in times))

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.scale.shift)

    @property
    def sigma(self) -> float | np.ndarray:
        """Noise per square root of the user's time, one number or one per coordinate.

        To be multiplied by ``sigma_profile`` where noise changes in time.
        """
        if isinstance(self.scaled_sigma, tuple):
            return np.array([self.scale.sigma_out(s) for s in self.scaled_sigma])
        return self.scale.sigma_out(self.scaled_sigma)

    @property
    def sigma_profile(self) -> tuple[float, ...]:
        """Factor on the noise at every observed time; empty where it does not change."""
        return self._noise.profile

    @property
    def scaled_sigma(self) -> float | tuple[float, ...]:
        """Noise in the units of ``field``."""
        return self._noise.sigma

    @property
    def stochastic(self) -> bool:
        """Whether the model has noise."""
        return bool(self._noise)

    @property
    def n_models(self) -> int:
        """Number of members of the ensemble."""
        return len(self.field.members) if isinstance(self.field, Ensemble) else 1

    def members(self) -> list[Dynamics]:
        """Return the ensemble's members as models; a single model is its own member."""
        if not isinstance(self.field, Ensemble):
            return [self]
        found = []
        for field in self.field.members:
            member = copy.copy(self)
            member.field = field
            found.append(member)
        return found

    def to(self, device: torch.device | str) -> Dynamics:
        """Move the model to a device, and return it."""
        self.device = torch.device(device)
        self.field.to(self.device)
        return self

    def velocity(self, t: float | Array, x: Array) -> Array:
        """Return the current velocity ``v = b - sigma^2 score / 2``, shape (n, d)."""
        return self._evaluate("velocity", t, x)

    def drift(self, t: float | Array, x: Array) -> Array:
        """Return the drift ``b``, the expected displacement per unit time, shape (n, d)."""
        return self._evaluate("drift", t, x)

    def growth(self, t: float | Array, x: Array) -> Array:
        """Return the growth per unit time, shape (n,); zero for methods that learn none."""
        return self._evaluate("growth", t, x)

    def score(self, t: float | Array, x: Array) -> Array:
        """Return the score ``grad log p``, shape (n, d)."""
        self._require("score")
        return self._evaluate("score", t, x)

    def potential(self, t: float | Array, x: Array) -> Array:
        """Return the learned potential, shape (n,)."""
        self._require("potential")
        return self._evaluate("potential", t, x)

    def log_density(self, t: float | Array, x: Array) -> Array:
        """Return the logarithm of the learned density, shape (n,).

        The density integrates to the population, in units of the first observed one, at every
        time; ``-log_density`` is a landscape whose levels can be compared between times.
        """
        self._require("log_density")
        return self._evaluate("log_density", t, x)

    def spread(self, quantity: str, t: float | Array, x: Array) -> Array:
        """Return the standard deviation of a quantity over the ensemble's members."""
        if not isinstance(self.field, Ensemble):
            msg = "This model has one member and no spread; fit with n_models >= 2."
            raise ValueError(msg)
        return self._evaluate(quantity, t, x, spread=True)

    def jacobian(self, quantity: str, t: float | Array, x: Array) -> Array:
        """Return the derivatives of a quantity by the state, exactly.

        Parameters
        ----------
        quantity
            ``"velocity"``, ``"drift"``, ``"growth"``, or anything else that the model learns.
        t, x
            Times (or one time) and states (n, d).

        Returns
        -------
        Shape (n, d, d) with ``[i, j, k]`` the derivative of coordinate j of the quantity by
        coordinate k of the state, and (n, d) for a quantity that is one number per cell.
        """
        if quantity not in ("velocity", "drift", "growth"):
            self._require(quantity)
        states = self._states_in(x)
        times = self._moments_in(t, states)
        parts = []
        with torch.no_grad():
            for i in range(0, max(len(states), 1), max(1, _ROWS // self.dim)):
                rows = slice(i, i + max(1, _ROWS // self.dim))
                parts.append(self._derivatives(quantity, times[rows], states[rows]))
        value = torch.cat(parts) * (self.scale.factor(quantity) / self.scale.length)
        if isinstance(x, Tensor):
            return value.to(x.device)
        return value.cpu().numpy()

    def _derivatives(self, quantity: str, t: Tensor, x: Tensor) -> Tensor:
        # each state moves its own output alone: derivatives of the sum are those of every cell,
        # and fields may look at their states, which they could not under a vmap over cells
        def total(states: Tensor) -> Tensor:
            return self._derived(t, states, (quantity,))[quantity].sum(0)

        out: Tensor = torch.func.jacrev(total)(x)
        return out.movedim(1, 0) if out.ndim == 3 else out

    def simulate(
        self,
        x0: Array,
        times: list[float] | tuple[float, ...] | np.ndarray,
        *,
        weights: Array | None = None,
        stochastic: bool | None = None,
        step: float | str | None = None,
        random_state: int = 0,
    ) -> Trajectories:
        """Carry weighted particles through ``times``.

        Parameters
        ----------
        x0
            States at ``times[0]``, shape (n, d).
        times
            Increasing, or (deterministic only) decreasing times.
        weights
            Masses at ``times[0]``, shape (n,); ``1 / n`` each by default.
        stochastic
            Whether to draw noise; by default as the model has it. Without noise a
            stochastic model follows its velocity, which has the same law.
        step
            Largest time step; by default 4 % of the mean interval. With noise the first three
            steps after every observed time are cut into four. ``"adaptive"`` halves it,
            from a tenth of the mean interval, until another halving moves no particle by
            more than a thousandth of the data's spread and no log weight by more than a
            thousandth (deterministic models only).
        random_state
            Seed of the noise.

        Returns
        -------
        States (T, n, d) and weights (T, n) on the CPU.

        Raises
        ------
        ValueError
            When shapes do not fit, times are not monotone, or noise is asked for backwards
            of a deterministic model.
        RuntimeError
            When ``step="adaptive"`` does not settle.
        """
        start = self._states_in(x0)
        moments = np.asarray(times, dtype=float)
        steps = np.diff(moments)
        stochastic = self.stochastic if stochastic is None else stochastic
        self._check_times(moments, steps, stochastic=stochastic)
        mass = self._masses_in(weights, start)
        h = _step_in(step, self.scale.time)
        grid = [self.scale.time_in(float(t)) for t in moments]
        knots = tuple(self.scale.time_in(t) for t in self.times)
        moving = "drift" if stochastic else "velocity"

        def rates(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            out = self._derived(t, x, (moving, "growth"))
            return out[moving], out["growth"]

        with torch.no_grad():
            if stochastic:
                x, log_w = integrate_sde(
                    rates, start, mass.log(), grid, h, self._noise.at, random_state, knots
                )
            elif step == "adaptive":
                x, log_w = integrate_flow_adaptively(rates, start, mass.log(), grid)
            else:
                x, log_w = integrate_flow(rates, start, mass.log(), grid, h)
        return Trajectories(
            torch.from_numpy(moments.copy()),
            self.scale.x_out(x.cpu()),
            log_w.exp().cpu(),
        )

    def _check_times(self, times: np.ndarray, steps: np.ndarray, *, stochastic: bool) -> None:
        if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all():
            msg = f"Found times {times.tolist()}; expected finite numbers, at least one."
            raise ValueError(msg)
        if not (np.all(steps > 0) or np.all(steps < 0)):
            msg = (
                f"Found times {times.tolist()}; times must be strictly increasing or strictly "
                "decreasing."
            )
            raise ValueError(msg)
        if stochastic and not self.stochastic:
            msg = f"{self.method!r} is deterministic: leave stochastic=None or set it to False."
            raise ValueError(msg)
        if stochastic and np.any(steps < 0):
            msg = "Noise cannot be run backwards; use stochastic=False to go back in time."
            raise ValueError(msg)

    def _require(self, quantity: str) -> None:
        if quantity not in self.learns:
            msg = f"{self.method!r} learns {', '.join(self.learns)}, and no {quantity}."
            raise ValueError(msg)

    def _states_in(self, x: Any) -> Tensor:
        states = _tensor(x)
        if states.ndim != 2 or states.shape[1] != self.dim:
            msg = (
                f"Found states of shape {tuple(states.shape)}; expected (n, {self.dim}) as in "
                "the representation that was fitted."
            )
            raise ValueError(msg)
        # scaled where they are: mps takes nothing in double precision
        return self.scale.x_in(states).to(self.device)

    def _moments_in(self, t: Any, states: Tensor) -> Tensor:
        # in double precision: far from zero, single precision would merge neighbouring times
        times = (_tensor(t).cpu().double() - self.scale.origin) / self.scale.time
        times = times.to(device=self.device, dtype=states.dtype)
        if times.ndim and times.shape != (len(states),):
            msg = (
                f"Found times of shape {tuple(times.shape)}; expected a number or ({len(states)},)."
            )
            raise ValueError(msg)
        return times.expand(len(states))

    def _masses_in(self, weights: Any, start: Tensor) -> Tensor:
        if weights is None:
            return torch.full((len(start),), 1 / max(len(start), 1), device=self.device)
        mass = _tensor(weights)
        if mass.shape != (len(start),):
            msg = f"Found weights of shape {tuple(mass.shape)}; expected ({len(start)},)."
            raise ValueError(msg)
        if not bool((torch.isfinite(mass) & (mass >= 0)).all()):
            msg = "Found weights that are negative or not finite; expected masses >= 0."
            raise ValueError(msg)
        return mass.to(device=self.device, dtype=start.dtype)

    def _evaluate(self, quantity: str, t: Any, x: Array, *, spread: bool = False) -> Array:
        states = self._states_in(x)
        times = self._moments_in(t, states)
        parts = []
        with torch.no_grad():
            for i in range(0, max(len(states), 1), _ROWS):
                rows = slice(i, i + _ROWS)
                out = self._derived(times[rows], states[rows], (quantity,), spread=spread)
                parts.append(out[quantity])
        value = torch.cat(parts) * self.scale.factor(quantity)
        if quantity == "log_density" and not spread:
            # a density per volume of the user's unit
            value = value - self.dim * math.log(self.scale.length)
        if isinstance(x, Tensor):
            return value.to(x.device)
        return value.cpu().numpy()

    def _derived(
        self, t: Tensor, x: Tensor, wanted: tuple[str, ...], *, spread: bool = False
    ) -> dict[str, Tensor]:
        """Return quantities in scaled units; velocity and drift follow from one another here."""
        if spread and isinstance(self.field, Ensemble):
            # derived for each member first: a spread of sums is no sum of spreads
            each = [self._completed(member(t, x), t, x, wanted) for member in self.field.members]
            return {k: torch.stack([out[k] for out in each]).std(0) for k in wanted}
        return self._completed(self.field(t, x), t, x, wanted)

    def _completed(
        self, out: dict[str, Tensor], t: Tensor, x: Tensor, wanted: tuple[str, ...]
    ) -> dict[str, Tensor]:
        if "growth" in wanted and "growth" not in out:
            out["growth"] = x.new_zeros(len(x))
        half_noise: float | Tensor = 0.0
        if self.stochastic:
            half_noise = self._noise.at(t, x) ** 2 / 2 * out["score"]
        if "velocity" in wanted and "velocity" not in out:
            out["velocity"] = out["drift"] - half_noise
        if "drift" in wanted and "drift" not in out:
            out["drift"] = out["velocity"] + half_noise
        return out


def _tensor(values: Any) -> Tensor:
    """Return a tensor of anything array-like, also where torch would not share its memory."""
    if isinstance(values, Tensor):
        return values
    # torch warns of read-only arrays and refuses negative strides
    return torch.as_tensor(np.require(values, requirements=["C", "W"]))


def _step_in(step: float | str | None, unit: float) -> float:
    if step is None or step == "adaptive":
        return 0.04
    if isinstance(step, str) or not step > 0:
        msg = f"Found step={step!r}; expected a positive duration, 'adaptive' or None."
        raise ValueError(msg)
    return step / unit
