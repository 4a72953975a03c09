"""TIGON: velocity and growth that carry the densities of the snapshots into one another.

References
----------
Sha, Qiu, Zhou, Nie (2024), "Reconstructing growth and dynamic trajectories from single-cell
transcriptomics data", Nature Machine Intelligence 6, 25-39 :cite:p:`sha2024tigon`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from scruot.dynamics.device import make_generator
from scruot.dynamics.fields import Field
from scruot.dynamics.train import Schedule, train
from scruot.geometry import Geodesic
from scruot.solvers.kernel_density import kernel_densities
from scruot.solvers.lengths import growth_length, path_noise, scaled_delta, scaled_noise
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.params import param
from scruot.solvers.plans import solver_of_couplings
from scruot.solvers.populations import match_populations
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.regression import GrowthParams, build, kept_cells, regress
from scruot.solvers.ruot_rollout import roll_out
from scruot.solvers.tigon_objective import Objective, Trace, action, motion_of
from scruot.solvers.wfr_plans import floor_of_action, wfr_couplings
from scruot.transport import pairs

_REFERENCE = (
    "Sha, Qiu, Zhou & Nie (2024), Reconstructing growth and dynamic trajectories from single-cell "
    "transcriptomics data, Nature Machine Intelligence"
)
_BIBTEX = """@article{sha2024tigon,
  title = {Reconstructing growth and dynamic trajectories from single-cell transcriptomics data},
  author = {Sha, Yutong and Qiu, Yuchi and Zhou, Peijie and Nie, Qing},
  journal = {Nature Machine Intelligence},
  volume = {6},
  pages = {25--39},
  year = {2024},
  doi = {10.1038/s42256-023-00763-w}
}"""

# share of the second stage's steps over which the bandwidth shrinks
_SHRINKING = 0.6
# time step of the simulation whose action is reported
_FINE = 0.05
# points of the densities at which a fit is assessed
_ASSESSED = 2048


@dataclass(frozen=True)
class TIGONParams(GrowthParams):
    """Parameters of TIGON; lengths are in the units of the representation."""

    delta: float | str = growth_length()
    bandwidth: float | str = param(
        "auto",
        "final standard deviation, per coordinate, of the kernels of the densities; 'auto' is, for "
        "every snapshot, that under which each cell is most likely given all others",
        above=0.0,
        choices=("auto",),
    )
    widest: float = param(
        2.0,
        "bandwidth at the beginning of the second stage, in units of the final one, to which it "
        "shrinks",
        low=1.0,
    )
    trace: str = param(
        "auto",
        "how the divergence of the velocity is computed; 'auto' is exact up to ten coordinates",
        choices=("auto", "exact", "hutchinson"),
    )
    density_weight: float = param(
        1.0, "weight of the mismatch of densities along characteristics", low=0.0
    )
    match_weight: float = param(
        3.0, "weight of distance and mass error of the simulation from the first snapshot", low=0.0
    )
    action_weight: float = param(
        0.05, "weight of the action, in units of that of the first stage", low=0.0
    )
    rollout_steps: int = param(40, "optimiser steps of the second stage; 0 for none", low=0)
    rollout_rate: float = param(1e-3, "peak learning rate of the second stage", above=0.0)
    n_samples: int = param(
        512, "points of the densities that a step follows in each direction", low=1
    )
    n_particles: int = param(1000, "most cells of the first snapshot that a step simulates", low=2)
    n_centres: int = param(1000, "most cells of a snapshot whose kernels a step looks at", low=1)
    time_step: float = param(
        0.2, "largest step of the integration in training, in mean intervals", above=0.0
    )
    sigma: float | str = path_noise()
    coupling: str = solver_of_couplings()


def fit(problem: Problem) -> Fit:
    """Fit TIGON: regression on unbalanced geodesics first, then the objective itself.

    The second stage follows points of the densities backwards and forwards, and simulates the
    first snapshot through all times, with gradients through the whole way.
    """
    params: TIGONParams = problem.params
    clouds, left_out = kept_cells(problem)
    length = problem.scale.length
    delta = scaled_delta(params.delta, problem)
    sigma = scaled_noise(params.sigma, problem, clouds)
    plans = wfr_couplings(clouds, delta, method=params.coupling, random_state=problem.random_state)
    sampler = PairSampler(clouds, [pairs(plan) for plan in plans], Geodesic(delta), sigma)
    trained = regress(problem, clouds, left_out, sampler)
    field, history = trained.field, dict(trained.history)
    width = None if isinstance(params.bandwidth, str) else params.bandwidth / length
    objective = Objective(
        clouds,
        kernel_densities(clouds, width),
        delta,
        Trace(params.trace),
        (params.density_weight, params.match_weight, params.action_weight),
        params.n_samples,
        params.n_particles,
        params.n_centres,
        params.time_step,
    )
    before = _assess(objective, field, problem)
    if params.rollout_steps > 0:
        objective.scale = before["action"]
        found = _minimise(objective, field, problem)
        history |= {f"rollout_{name}": values for name, values in found.items()}
        if params.match_mass:
            match_populations(field, clouds)
    after = _assess(objective, field, problem)
    widths = [math.log(d.bandwidth) for d in objective.densities]
    resolved = {
        "delta": delta * length,
        "sigma": sigma * length,
        "bandwidth": math.exp(sum(widths) / len(widths)) * length,
    }
    quality = _quality(before, after, delta, problem)
    return Fit(field, resolved, history, quality | floor_of_action(plans, clouds, delta, problem))


def _minimise(objective: Objective, field: Field, problem: Problem) -> dict[str, list[float]]:
    """Train on the objective while its bandwidth shrinks; return its terms per step."""
    params: TIGONParams = problem.params
    n_shrinking = max(1.0, _SHRINKING * params.rollout_steps)

    def narrow(step: int) -> None:
        objective.widening = params.widest ** max(0.0, 1 - step / n_shrinking)

    def loss(rng: torch.Generator) -> dict[str, Tensor]:
        return objective(field, rng)

    state = train(
        field,
        loss,
        Schedule(
            steps=params.rollout_steps,
            learning_rate=params.rollout_rate,
            optimizer="adamw",
            # few steps: a shorter memory
            ema=min(params.ema, 0.9),
        ),
        # another sequence than that of the regression
        generator=make_generator(problem.device, problem.random_state + 2**31),
        before_step=narrow,
        checkpoint=_second(problem.checkpoint),
        fingerprint=f"{problem.fingerprint}/rollout",
        progress=problem.progress,
        label=f"{problem.label}, rollout",
    )
    objective.widening = 1.0
    return dict(state.history)


def _second(checkpoint: Path | None) -> Path | None:
    """Return the file of the second stage's state, beside that of the first."""
    if checkpoint is None:
        return None
    return checkpoint.with_name(f"{checkpoint.stem}.rollout{checkpoint.suffix}")


@torch.no_grad()
def _assess(objective: Objective, field: Field, problem: Problem) -> dict[str, float]:
    """Return action and mismatch of densities, always from the same draws."""
    generator = make_generator(problem.device, problem.random_state)
    x, log_w = objective.start(generator)
    run = roll_out(motion_of(field), x, log_w, objective.clouds.times, _FINE)
    fine = replace(objective, n_samples=_ASSESSED)
    return {
        "action": float(action(run.nodes, objective.delta)),
        "density_error": float(fine.density_error(field, generator)),
    }


def _quality(
    before: dict[str, float], after: dict[str, float], delta: float, problem: Problem
) -> dict[str, float]:
    """Return both figures before and after the second stage, the action in the user's units."""
    scale = problem.scale
    span = problem.snapshots.times[-1]
    return {
        "action": scale.length**2 / scale.time * after["action"],
        "action_before_rollout": scale.length**2 / scale.time * before["action"],
        # T int int (|v|^2 + g^2) rho in units of delta and of the whole duration
        "dimensionless_action": 2 * span * after["action"] / delta**2,
        "density_error": after["density_error"],
        "density_error_before_rollout": before["density_error"],
    }


TIGON = Solver(
    name="tigon",
    summary="TIGON: velocity and growth that carry the densities of the snapshots into one another "
    "with little Wasserstein-Fisher-Rao action",
    learns=("velocity", "growth"),
    stochastic=False,
    params=TIGONParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
)
