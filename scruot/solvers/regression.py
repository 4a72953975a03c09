"""Flow matching, whatever the pairs and the paths: one network, one regression, one loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scruot.dynamics.device import make_generator
from scruot.dynamics.fields import Field
from scruot.dynamics.snapshots import Snapshots
from scruot.dynamics.train import Schedule, train
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.params import param
from scruot.solvers.populations import match_populations
from scruot.solvers.problem import Problem
from scruot.solvers.score_field import ScoreField
from scruot.solvers.validation import simulation_error, split_cells

_SCALARS = ("growth",)
# weight of the score's error, in units of the noise that its targets have however well it is
# learned; with more that noise, with less the scatter within a tight cluster is lost
_SCORE = 0.1


@dataclass(frozen=True)
class TrainingParams:
    """Parameters of the network and of its training."""

    steps: int = param(800, "optimiser steps", low=1)
    batch_size: int = param(1024, "points per step, over all intervals", low=1)
    learning_rate: float = param(0.1, "peak learning rate", above=0.0)
    optimizer: str = param("muon", "optimiser of the hidden layers", choices=("muon", "adamw"))
    ema: float = param(
        0.99, "decay of the average of the weights; 0 for none", low=0.0, high=0.9999
    )
    width: int = param(128, "width of the hidden layers", low=1)
    depth: int = param(3, "number of hidden layers", low=1)
    validation: float = param(
        0.0,
        "share of every snapshot's cells kept back for early stopping",
        low=0.0,
        high=0.5,
    )
    patience: int = param(
        5, "validations (every 5 % of the steps) without progress before stopping", low=1
    )


@dataclass(frozen=True)
class GrowthParams(TrainingParams):
    """Parameters of methods that learn growth as well."""

    kappa: float = param(1.0, "weight of the growth error beside the velocity error", low=0.0)
    match_mass: bool = param(
        True,
        "after training, add to the growth of every interval the constant with which the "
        "simulated population ends as observed",
    )


@dataclass(frozen=True)
class Regression:
    """A trained field and its history.

    Parameters
    ----------
    field
        The network, in scaled units.
    history
        Loss terms per step, and the validation figures.
    """

    field: Field
    history: dict[str, list[float]]


def kept_cells(problem: Problem) -> tuple[Snapshots, Snapshots | None]:
    """Return the clouds to fit, and the cells kept back for early stopping."""
    return split_cells(problem.snapshots, problem.params.validation, problem.random_state)


def regress(
    problem: Problem, clouds: Snapshots, left_out: Snapshots | None, sampler: PairSampler
) -> Regression:
    """Train a field on the batches of a sampler, and match its populations.

    Parameters
    ----------
    problem
        The fit; its parameters are :class:`TrainingParams`, or :class:`GrowthParams` when growth
        is among the sampler's quantities.
    clouds, left_out
        As returned by :func:`kept_cells`.
    sampler
        Source of regression targets.

    Returns
    -------
    The field with its averaged (or best validated) weights.
    """
    params: TrainingParams = problem.params
    generator = make_generator(problem.device, problem.random_state)
    field = make_field(clouds, sampler.quantities, params, generator, problem.device)
    units = scale_outputs(field, sampler, generator)
    if isinstance(field, ScoreField):
        # the spread of the targets is mostly noise, and no measure of the score itself
        field.set_moments(clouds, sampler.noise)
        field.set_score_scale(clouds, sampler.variance)
    kappa = params.kappa if isinstance(params, GrowthParams) else 1.0
    factors = {"growth": kappa, "score": _SCORE}

    def loss(rng: torch.Generator) -> dict[str, Tensor]:
        return regression_loss(field, sampler, params.batch_size, units, factors, rng)

    schedule = Schedule(
        steps=params.steps,
        learning_rate=params.learning_rate,
        optimizer=params.optimizer,
        ema=params.ema,
        validate_every=max(1, params.steps // 20),
        patience=params.patience if left_out is not None else 0,
    )
    state = train(
        field,
        loss,
        schedule,
        generator=generator,
        validate=None if left_out is None else lambda: simulation_error(field, clouds, left_out),
        checkpoint=problem.checkpoint,
        fingerprint=problem.fingerprint,
        progress=problem.progress,
        label=problem.label,
    )
    grows = "growth" in sampler.quantities
    if grows and isinstance(params, GrowthParams) and params.match_mass:
        match_populations(field, clouds)
    history = dict(state.history)
    if left_out is not None:
        history["validation_step"] = state.validation["step"]
        history["validation"] = state.validation["value"]
    return Regression(field, history)


def regression_loss(
    field: Field,
    sampler: PairSampler,
    batch_size: int,
    units: Mapping[str, Tensor],
    factors: Mapping[str, float],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the weighted squared error of every quantity, in the given units, and their sum.

    Where a score is learned the drift counts too: a simulation with noise follows the sum of
    velocity and score, whose errors need not cancel where both are large and their sum is not.
    """
    batch = sampler.draw(batch_size, generator)
    out = dict(field(batch.t, batch.x))
    if "drift" in batch.targets:
        out["drift"] = out["velocity"] + sampler.half_noise * out["score"]
    terms = {}
    for name, target in batch.targets.items():
        unit = units["velocity" if name == "drift" else name]
        error = ((out[name] - target) / unit).square()
        weight = batch.weight * batch.precision.get(name, 1.0)
        terms[name] = (weight * (error if name in _SCALARS else error.mean(1))).mean()
    total = sum((factors.get(name, 1.0) * term for name, term in terms.items()), start=0.0)
    return {"loss": torch.as_tensor(total), **terms}


def make_field(
    clouds: Snapshots,
    quantities: tuple[str, ...],
    params: TrainingParams,
    generator: torch.Generator,
    device: torch.device,
) -> Field:
    """Return an untrained network of the quantities."""
    kind = ScoreField if "score" in quantities else Field
    return kind(
        clouds.dim,
        {name: 1 if name in _SCALARS else clouds.dim for name in quantities},
        width=params.width,
        depth=params.depth,
        span=clouds.times[-1],
        # enough to bend at every snapshot
        n_frequencies=max(4, len(clouds.durations)),
        knots=clouds.times,
        generator=generator,
        device=device,
    )


def scale_outputs(
    field: Field, sampler: PairSampler, generator: torch.Generator
) -> dict[str, Tensor]:
    """Set the mean and spread of every output to those of its targets, and return the spreads."""
    units = {}
    batch = sampler.draw(16_384, generator)
    for name in sampler.quantities:
        target = batch.targets[name]
        weight = batch.weight * batch.precision.get(name, 1.0)
        weight = (weight / weight.sum())[:, None]
        target = target[:, None] if name in _SCALARS else target
        mean = (weight * target).sum(0)
        spread = (weight * (target - mean) ** 2).mean(1).sum().sqrt()
        # identical snapshots have targets that are all zero
        units[name] = spread.clamp_min(1e-6)
        field.set_output_scale(name, mean, units[name])
    return units


def build(config: Mapping[str, Any]) -> Field:
    """Return an untrained field from its configuration."""
    return Field(**config)
