"""WFR flow matching: velocity and growth regressed on travelling Diracs.

References
----------
Peng, Wang, Ying, Sun, Nie, Zhang, Li, Zhou (2026), "WFR-FM: Simulation-Free Dynamic
Unbalanced Optimal Transport", ICLR 2026, arXiv:2601.06810.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scruot.dynamics.device import make_generator
from scruot.dynamics.fields import Field
from scruot.dynamics.snapshots import Snapshots
from scruot.dynamics.train import Schedule, train
from scruot.geometry.neighbours import typical_spacing
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.params import param
from scruot.solvers.populations import match_populations
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.validation import simulation_error, split_cells
from scruot.transport import Coupling, auto_delta, pairs, static_floor, wfr_coupling

_REFERENCE = (
    "Peng et al. (2026), WFR-FM: Simulation-Free Dynamic Unbalanced Optimal Transport, ICLR"
)
_BIBTEX = """@inproceedings{peng2026wfrfm,
  title = {{WFR-FM}: Simulation-Free Dynamic Unbalanced Optimal Transport},
  author = {Peng, Qiangwei and Wang, Zihan and Ying, Junda and Sun, Yuhao and Nie, Qing and
            Zhang, Lei and Li, Tiejun and Zhou, Peijie},
  booktitle = {International Conference on Learning Representations},
  year = {2026},
  eprint = {2601.06810},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True)
class WFRFMParams:
    """Parameters of WFR-FM; lengths are in the units of the representation."""

    delta: float | str = param(
        "auto",
        "length that weighs growth against displacement: beyond pi delta cells die and are "
        "born instead of moving",
        above=0.0,
        choices=("auto",),
    )
    blur: float = param(
        0.0, "entropic blur of the couplings, relative to a typical best cost; 0 is exact", low=0.0
    )
    coupling: str = param(
        "auto",
        "solver of the couplings",
        choices=("auto", "exact", "hierarchical"),
    )
    sigma: float | str = param(
        "auto",
        "standard deviation, per coordinate, of noise added to positions on the paths; 'auto' "
        "is the root mean square distance to the nearest neighbour over the root of 2 d",
        low=0.0,
        choices=("auto",),
    )
    kappa: float = param(1.0, "weight of the growth error beside the velocity error", low=0.0)
    match_mass: bool = param(
        True,
        "after training, add to the growth of every interval the constant with which the "
        "simulated population ends as observed",
    )
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


def fit(problem: Problem) -> Fit:
    """Fit WFR-FM: couple consecutive snapshots, then regress both fields on the paths."""
    params: WFRFMParams = problem.params
    clouds, left_out = split_cells(problem.snapshots, params.validation, problem.random_state)
    delta = _scaled_delta(params, problem)
    sigma = _scaled_sigma(params, problem, clouds)
    plans = couple(clouds, delta, params, problem.random_state)
    sampler = PairSampler(clouds, [pairs(plan) for plan in plans], delta, sigma)
    generator = make_generator(problem.device, problem.random_state)
    field = _make_field(clouds, params, generator, problem.device)
    _scale_outputs(field, sampler, generator)

    def loss(rng: torch.Generator) -> dict[str, Tensor]:
        return regression_loss(field, sampler, params, rng)

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
    if params.match_mass:
        match_populations(field, clouds)
    history = dict(state.history)
    if left_out is not None:
        history["validation_step"] = state.validation["step"]
        history["validation"] = state.validation["value"]
    resolved = {"delta": delta * problem.scale.length, "sigma": sigma * problem.scale.length}
    return Fit(field, resolved, history, _quality(plans, clouds, delta, problem))


def couple(
    clouds: Snapshots, delta: float, params: WFRFMParams, random_state: int
) -> list[Coupling]:
    """Return the WFR coupling of every pair of consecutive snapshots."""
    ends = zip(clouds.x, clouds.x[1:], clouds.weights, clouds.weights[1:], strict=False)
    return [
        wfr_coupling(
            x0, x1, a, b, delta, blur=params.blur, method=params.coupling, random_state=random_state
        )
        for x0, x1, a, b in ends
    ]


def regression_loss(
    field: Field, sampler: PairSampler, params: WFRFMParams, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the weighted squared errors of both fields, in units of the targets' spread."""
    batch = sampler.draw(params.batch_size, generator)
    out = field(batch.t, batch.x)
    velocity_error = (out["velocity"] - batch.velocity) / field.velocity_spread
    growth_error = (out["growth"] - batch.growth) / field.growth_spread
    velocity = (batch.weight * velocity_error.square().mean(1)).mean()
    growth = (batch.weight * growth_error.square()).mean()
    return {"loss": velocity + params.kappa * growth, "velocity": velocity, "growth": growth}


def _scaled_delta(params: WFRFMParams, problem: Problem) -> float:
    if isinstance(params.delta, str):
        return auto_delta(problem.snapshots.x)
    return params.delta / problem.scale.length


def _scaled_sigma(params: WFRFMParams, problem: Problem, clouds: Snapshots) -> float:
    if isinstance(params.sigma, str):
        # the squared length of the noise is half the mean square nearest-neighbour distance
        return typical_spacing(clouds.x) / math.sqrt(2 * clouds.dim)
    return params.sigma / problem.scale.length


def _make_field(
    clouds: Snapshots, params: WFRFMParams, generator: torch.Generator, device: torch.device
) -> Field:
    return Field(
        clouds.dim,
        {"velocity": clouds.dim, "growth": 1},
        width=params.width,
        depth=params.depth,
        span=clouds.times[-1],
        # enough to bend at every snapshot
        n_frequencies=max(4, len(clouds.durations)),
        knots=clouds.times,
        generator=generator,
        device=device,
    )


def _scale_outputs(field: Field, sampler: PairSampler, generator: torch.Generator) -> None:
    batch = sampler.draw(16_384, generator)
    weight = (batch.weight / batch.weight.sum())[:, None]
    for name, target in (("velocity", batch.velocity), ("growth", batch.growth[:, None])):
        mean = (weight * target).sum(0)
        spread = (weight * (target - mean) ** 2).mean(1).sum().sqrt()
        # identical snapshots have targets that are all zero
        field.set_output_scale(name, mean, spread.clamp_min(1e-6))


def _quality(
    plans: list[Coupling], clouds: Snapshots, delta: float, problem: Problem
) -> dict[str, float]:
    """Return the static floor of the action, per unit of initial mass, in the user's units."""
    unit = problem.scale.length**2 / problem.scale.time
    dual, primal = static_floor(plans, delta=delta, durations=clouds.durations)
    return {
        "action_floor_dual": unit * dual,
        "action_floor_primal": unit * primal,
        "coupling_gap": max(plan.gap for plan in plans),
    }


def build(config: Mapping[str, Any]) -> Field:
    """Return an untrained field from its configuration."""
    return Field(**config)


WFRFM = Solver(
    name="wfrfm",
    summary="WFR flow matching: displacement and growth regressed on unbalanced geodesics",
    learns=("velocity", "growth"),
    stochastic=False,
    params=WFRFMParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
)
