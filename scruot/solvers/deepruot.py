"""DeepRUOT: velocity, growth and log density of regularised unbalanced optimal transport.

References
----------
Zhang, Li, Zhou (2025), "Learning stochastic dynamics from snapshots through regularized
unbalanced optimal transport", ICLR 2025, arXiv:2410.00844 :cite:p:`zhang2025deepruot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scruot.dynamics.checkpoint import State
from scruot.dynamics.device import make_generator
from scruot.dynamics.snapshots import Snapshots
from scruot.dynamics.train import Loss, Schedule, train
from scruot.solvers.bridge_moments import sharpened_law
from scruot.solvers.cloud_density import fit_clouds
from scruot.solvers.growth_cost import COSTS, GrowthCost
from scruot.solvers.params import param
from scruot.solvers.populations import match_populations
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.ruot_field import Motion, RUOTField
from scruot.solvers.ruot_losses import Densities, density_loss, matching_loss
from scruot.solvers.ruot_objective import Objective, assess, find_edge, typical_growth
from scruot.solvers.ruot_setup import (
    Units,
    blob_bridges,
    couple,
    make_field,
    scale_outputs,
    scaled_units,
)
from scruot.solvers.weighted_bridges import WeightedBridges

_LEARNS = ("velocity", "growth", "score", "log_density")
_REFERENCE = (
    "Zhang, Li & Zhou (2025), Learning stochastic dynamics from snapshots through regularized "
    "unbalanced optimal transport, ICLR"
)
_BIBTEX = """@inproceedings{zhang2025deepruot,
  title = {Learning stochastic dynamics from snapshots through regularized unbalanced optimal
           transport},
  author = {Zhang, Zhenyi and Li, Tiejun and Zhou, Peijie},
  booktitle = {International Conference on Learning Representations},
  year = {2025},
  eprint = {2410.00844},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True)
class DeepRUOTParams:
    """Parameters of DeepRUOT; lengths are in the units of the representation."""

    sigma: float | str = param(
        "auto",
        "noise, a length per root of time; 'auto' is a tenth of the cells' spread per root of the "
        "mean interval, 0 gives unbalanced optimal transport",
        low=0.0,
        choices=("auto",),
    )
    sigma_end: float | str = param(
        "same",
        "noise at the last time, towards which it changes linearly in time",
        low=0.0,
        choices=("same",),
    )
    alpha: float | str = param(
        "auto",
        "price of growth beside half the squared drift, a squared length: beyond pi sqrt(2 alpha) "
        "cells die and are born instead of moving",
        above=0.0,
        choices=("auto",),
    )
    growth: bool = param(True, "whether cells grow and die; without, clouds count as of equal mass")
    growth_cost: str = param(
        "quadratic",
        "how the cost of growth rises with its rate, or one of your own (solvers.register_penalty)",
        choices=COSTS,
    )
    growth_rate: float | str = param(
        "auto",
        "rate, per unit of time, beyond which the growth costs other than 'quadratic' depart from "
        "it; 'auto' is the root mean square growth after the first stage",
        above=0.0,
        choices=("auto",),
    )
    blur: float | str = param(
        "auto",
        "standard deviation, per coordinate, by which observed clouds are blurred; 'auto' is the "
        "root mean square distance to the nearest neighbour over the root of 2 d, at most 0.15 of "
        "the spread of the cells within their clouds, at least a tenth of the noise of a mean "
        "interval",
        above=0.0,
        choices=("auto",),
    )
    coupling: str = param(
        "auto", "solver of the couplings", choices=("auto", "exact", "hierarchical")
    )
    recons: float = param(
        300.0, "weight of the distance to the observed clouds in the objective", low=0.0
    )
    fokker_planck: float = param(
        10.0, "weight of the Fokker-Planck residual and of the score in the objective", low=0.0
    )
    match_mass: bool = param(
        True,
        "after training, add to the growth of every interval the constant with which the "
        "simulated population ends as observed",
    )
    steps: int = param(800, "optimiser steps of each of the first two stages", low=1)
    training: float = param(
        0.1,
        "steps of the last stage, which minimises the objective, per step of the first",
        low=0.0,
    )
    batch_size: int = param(1024, "points per step, over all intervals", low=1)
    n_particles: int = param(512, "particles that the last stage carries through time", low=1)
    learning_rate: float = param(0.1, "peak learning rate of the first two stages", above=0.0)
    training_rate: float = param(0.001, "peak learning rate of the last stage", above=0.0)
    ema: float = param(
        0.99, "decay of the average of the weights; 0 for none", low=0.0, high=0.9999
    )
    width: int = param(128, "width of the hidden layers", low=1)
    depth: int = param(3, "number of hidden layers", low=1)


def fit(problem: Problem) -> Fit:
    """Fit DeepRUOT in three stages.

    Velocity and growth are regressed on weighted bridges between coupled cells; the log density
    is fitted to them; then all three minimise the full objective along simulated paths.
    """
    params: DeepRUOTParams = problem.params
    clouds = problem.snapshots if params.growth else _equal_masses(problem.snapshots)
    units = scaled_units(params, problem, clouds)
    tables = couple(clouds, units, params.coupling, problem.random_state)
    bridges = WeightedBridges(clouds, tables, units.delta, blob_bridges(clouds, units))
    densities = Densities(clouds.times, fit_clouds(clouds, units.blur, problem.random_state))
    generator = make_generator(problem.device, problem.random_state)
    field = make_field(params, bridges, generator)
    scale_outputs(field, bridges, densities, generator)

    history = _match(field, bridges, problem, generator)
    if params.match_mass and params.growth:
        match_populations(Motion(field), clouds)
    history |= _learn_density(field, bridges, densities, problem, generator)
    sharp = sharpened_law(field.law, bridges, make_generator(problem.device, problem.random_state))
    field.law.load_state_dict(sharp.state_dict())
    rate = typical_growth(field, bridges, generator)
    if not isinstance(params.growth_rate, str):
        rate = params.growth_rate * problem.scale.time
    objective = Objective(
        clouds,
        densities,
        bridges,
        units,
        GrowthCost(params.growth_cost, rate),
        (params.recons, params.fokker_planck),
        min(params.n_particles, 8 * params.batch_size),
        max(1, params.batch_size // 2),
    )
    before = assess(objective, field, problem.random_state)
    history |= _minimise(objective, field, before["energy"], problem, generator)
    find_edge(field, bridges, make_generator(problem.device, problem.random_state))
    if params.match_mass and params.growth:
        match_populations(Motion(field), clouds)
    after = assess(objective, field, problem.random_state)
    return Fit(
        field,
        _resolved(units, rate, problem),
        history,
        _quality(before, after, problem),
        units.noise.sigma,
        units.noise.profile,
        None if params.growth else tuple(name for name in _LEARNS if name != "growth"),
    )


def _equal_masses(clouds: Snapshots) -> Snapshots:
    return Snapshots(clouds.times, clouds.x, tuple(w / w.sum() for w in clouds.weights))


def _match(
    field: RUOTField,
    bridges: WeightedBridges,
    problem: Problem,
    generator: torch.Generator,
) -> dict[str, list[float]]:
    """First stage: velocity and growth of the weighted bridges."""
    n = problem.params.batch_size
    state = _train(
        field.flow,
        lambda rng: matching_loss(field, bridges.draw(n, rng)),
        _schedule(problem.params),
        problem,
        generator,
        stage="",
    )
    return dict(state.history)


def _learn_density(
    field: RUOTField,
    bridges: WeightedBridges,
    densities: Densities,
    problem: Problem,
    generator: torch.Generator,
) -> dict[str, list[float]]:
    """Second stage: the log density of the law that velocity and growth carry."""
    n = max(1, problem.params.batch_size // 2)
    state = _train(
        field.density,
        lambda rng: density_loss(field, bridges, densities, n, rng),
        _schedule(problem.params),
        problem,
        generator,
        stage="density",
    )
    return {f"density_{name}": values for name, values in state.history.items()}


def _minimise(
    objective: Objective,
    field: RUOTField,
    energy: float,
    problem: Problem,
    generator: torch.Generator,
) -> dict[str, list[float]]:
    """Third stage: the full objective, in units of the energy so far."""
    params: DeepRUOTParams = problem.params
    steps = round(params.training * params.steps)
    if steps == 0:
        return {}
    scaled = replace(objective, scale=_energy_scale(energy))
    schedule = Schedule(
        steps=steps,
        learning_rate=params.training_rate,
        optimizer="adamw",
        # it averages over the last tenth of the steps
        ema=max(0.0, 1 - 10 / steps) if params.ema > 0 else 0.0,
    )
    state = _train(
        field, lambda rng: scaled(field, rng), schedule, problem, generator, stage="training"
    )
    return {f"training_{name}": values for name, values in state.history.items()}


def _energy_scale(energy: float) -> float:
    return max(abs(energy), 1e-6)


def _schedule(params: DeepRUOTParams) -> Schedule:
    return Schedule(steps=params.steps, learning_rate=params.learning_rate, ema=params.ema)


def _train(
    module: nn.Module,
    loss: Loss,
    schedule: Schedule,
    problem: Problem,
    generator: torch.Generator,
    *,
    stage: str,
) -> State:
    """Train with a checkpoint and a label of the stage's own."""
    path: Path | None = problem.checkpoint
    if path is not None and stage:
        path = path.with_name(f"{path.stem}.{stage}{path.suffix}")
    return train(
        module,
        loss,
        schedule,
        generator=generator,
        checkpoint=path,
        fingerprint=f"{problem.fingerprint}/{stage}",
        progress=problem.progress,
        label=f"{problem.label} {stage}".strip(),
    )


def _resolved(units: Units, rate: float, problem: Problem) -> dict[str, float | str]:
    scale = problem.scale
    sigma, sigma_end = units.noise_at_ends()
    resolved: dict[str, float | str] = {
        "sigma": scale.sigma_out(sigma),
        "sigma_end": scale.sigma_out(sigma_end),
        "alpha": units.alpha * scale.length**2,
        "growth_rate": rate / scale.time,
        "blur": units.blur * scale.length,
    }
    if problem.params.growth:
        resolved["delta"] = units.delta * scale.length
    return resolved


def _quality(
    before: Mapping[str, float], after: Mapping[str, float], problem: Problem
) -> dict[str, float]:
    """Return what the last stage changed, energies per unit of initial mass in the user's units."""
    unit = problem.scale.length**2 / problem.scale.time
    quality = {}
    scale = _energy_scale(before["energy"])
    for suffix, values in (("_before_training", before), ("", after)):
        constraints = values["loss"] - values["energy"]
        quality[f"objective{suffix}"] = values["energy"] / scale + constraints
        for name in ("cost", "energy"):
            quality[f"{name}{suffix}"] = unit * values[name]
        for name in ("recons", "fokker_planck", "density_mass_error"):
            quality[f"{name}{suffix}"] = values[name]
    return quality


def build(config: Mapping[str, Any]) -> RUOTField:
    """Return an untrained field from its configuration."""
    return RUOTField(**config)


DEEPRUOT = Solver(
    name="deepruot",
    summary="regularised unbalanced optimal transport: velocity, growth and log density minimise "
    "one objective",
    learns=_LEARNS,
    stochastic=True,
    params=DeepRUOTParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
)
