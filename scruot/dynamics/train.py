"""The one training loop: optimiser, schedule, averaging, validation, checkpoints."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from scruot.dynamics.checkpoint import State, load_checkpoint, save_checkpoint

# parameters from which on several threads pay
_LARGE = 1_000_000

Loss = Callable[[torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Parameters
    ----------
    steps
        Number of optimiser steps.
    learning_rate
        Peak learning rate: after a warm-up over 3 % of the steps it falls as a cosine to
        a thousandth of itself.
    optimizer
        ``"muon"`` (Jordan et al. 2024 :cite:p:`jordan2024`, for hidden matrices; AdamW for the
        rest, at a tenth of the rate) or ``"adamw"``.
    ema
        Decay of the bias-corrected exponential average of the weights; 0 for none.
    clip
        Largest norm of the gradient.
    validate_every
        Steps between two calls of the validation figure.
    patience
        Validations without improvement before training stops; 0 never stops early.
    """

    steps: int = 1000
    learning_rate: float = 0.05
    optimizer: str = "muon"
    ema: float = 0.99
    clip: float = 1.0
    validate_every: int = 50
    patience: int = 0

    def rate(self, step: int) -> float:
        """Return the factor on the learning rate at a step."""
        warm = max(1, math.ceil(0.03 * self.steps))
        if step < warm:
            return (step + 1) / warm
        progress = (step - warm) / max(1, self.steps - warm)
        return 1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizers(model: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Return the optimisers of a model, in a fixed order."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    hidden = [p for n, p in named if p.ndim == 2 and not n.startswith("head")]
    if schedule.optimizer == "adamw" or not hidden:
        return [
            torch.optim.AdamW([p for _, p in named], lr=schedule.learning_rate, weight_decay=0.0)
        ]
    rest = [p for n, p in named if p.ndim != 2 or n.startswith("head")]
    return [
        torch.optim.Muon(hidden, lr=schedule.learning_rate, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=schedule.learning_rate / 10, weight_decay=0.0),
    ]


def train(
    model: nn.Module,
    loss: Loss,
    schedule: Schedule,
    *,
    generator: torch.Generator,
    validate: Callable[[], float] | None = None,
    before_step: Callable[[int], None] | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    checkpoint_seconds: float = 30.0,
    progress: bool = False,
    label: str = "fit",
) -> State:
    """Train ``model`` in place and leave its averaged (or best validated) weights in it.

    Parameters
    ----------
    model
        Any module.
    loss
        Draws a batch with the generator and returns the terms to log; ``"loss"`` is
        minimised.
    schedule
        How long and how fast.
    generator
        Source of all randomness.
    validate
        Figure to be small, evaluated with the averaged weights in the model.
    before_step
        Told the number of every step before its loss is drawn, for losses that change.
    checkpoint
        File to resume from and to save to, at SIGINT and now and then. Resuming gives the
        same bits as a run that was never interrupted.
    fingerprint
        Identifies data and parameters; a checkpoint of another fit is refused.
    checkpoint_seconds
        Wall-clock time between two saves.
    progress
        Whether to show a bar.
    label
        Text of the bar.

    Returns
    -------
    The final state, with the history of every term.
    """
    optimizers = make_optimizers(model, schedule)
    base_rates = [group["lr"] for o in optimizers for group in o.param_groups]
    state = State()
    if checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint, model, optimizers, generator, fingerprint)
    saved = time.monotonic()
    bar = tqdm(total=schedule.steps, initial=state.step, desc=label, disable=not progress)
    with bar, _threads_for(model), _deferred_interrupt() as interrupted:
        while state.step < schedule.steps and not _exhausted(state, schedule):
            if before_step is not None:
                before_step(state.step)
            _one_step(model, loss, optimizers, base_rates, schedule, state, generator)
            if validate is not None and state.step % schedule.validate_every == 0:
                _validate(model, validate, schedule, state)
            bar.update()
            due = time.monotonic() - saved > checkpoint_seconds
            if checkpoint is not None and (due or interrupted.is_set()):
                save_checkpoint(checkpoint, model, optimizers, generator, state, fingerprint)
                saved = time.monotonic()
            if interrupted.is_set():
                raise KeyboardInterrupt
    if checkpoint is not None:
        save_checkpoint(checkpoint, model, optimizers, generator, state, fingerprint)
    final = state.best or averaged_weights(state, schedule)
    if final:
        model.load_state_dict(final, strict=False)
    return state


def averaged_weights(state: State, schedule: Schedule) -> dict[str, Tensor]:
    """Return the bias-corrected average of the parameters."""
    if schedule.ema == 0 or state.step == 0:
        return {}
    correction = 1 - schedule.ema**state.step
    return {name: value / correction for name, value in state.average.items()}


def _one_step(
    model: nn.Module,
    loss: Loss,
    optimizers: list[torch.optim.Optimizer],
    base_rates: list[float],
    schedule: Schedule,
    state: State,
    generator: torch.Generator,
) -> None:
    groups = [group for o in optimizers for group in o.param_groups]
    for group, base in zip(groups, base_rates, strict=True):
        group["lr"] = base * schedule.rate(state.step)
    terms = loss(generator)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
    for optimizer in optimizers:
        optimizer.step()
    if schedule.ema > 0:
        _update_average(model, state, schedule.ema)
    state.step += 1
    for name, value in terms.items():
        state.history.setdefault(name, []).append(float(value.detach()))
    if not np.isfinite(state.history["loss"][-1]):
        msg = (
            f"The loss became {state.history['loss'][-1]} at step {state.step}; "
            f"lower learning_rate (now {schedule.learning_rate})."
        )
        raise FloatingPointError(msg)


@torch.no_grad()
def _update_average(model: nn.Module, state: State, decay: float) -> None:
    parameters = dict(model.named_parameters())
    if not state.average:
        state.average = {n: torch.zeros_like(p) for n, p in parameters.items()}
    names = list(parameters)
    torch._foreach_lerp_(
        [state.average[n] for n in names], [parameters[n].detach() for n in names], 1 - decay
    )


def _validate(
    model: nn.Module, validate: Callable[[], float], schedule: Schedule, state: State
) -> None:
    raw = {n: p.detach().clone() for n, p in model.named_parameters()}
    candidate = averaged_weights(state, schedule) or raw
    model.load_state_dict(candidate, strict=False)
    value = validate()
    model.load_state_dict(raw, strict=False)
    state.validation["step"].append(float(state.step))
    state.validation["value"].append(value)
    if value < state.best_value:
        # clones: the weights go on moving
        state.best = {n: v.clone() for n, v in candidate.items()}
        state.best_value, state.stale = value, 0
    else:
        state.stale += 1


def _exhausted(state: State, schedule: Schedule) -> bool:
    return 0 < schedule.patience <= state.stale


@contextmanager
def _threads_for(model: nn.Module) -> Iterator[None]:
    """Train a small network on one thread, and leave torch's setting as it was.

    Matrices of a few hundred rows and columns are too small to share: on a busy machine the
    threads' waiting for each other costs ten times the work.
    """
    before = torch.get_num_threads()
    if sum(p.numel() for p in model.parameters()) >= _LARGE:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Turn SIGINT into a flag, so that a step is never cut in half."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.signal(signal.SIGINT, lambda *_: flag.set())
    try:
        yield flag
    finally:
        # None: the handler before was not installed from Python
        signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)
