"""Var-RUOT: one scalar potential from which both drift and growth follow.

References
----------
Sun, Zhang, Wang, Li, Zhou (2025), "Variational Regularized Unbalanced Optimal Transport: Single
Network, Least Action", NeurIPS 2025, arXiv:2505.11823 :cite:p:`sun2025varruot`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scruot.dynamics.device import make_generator
from scruot.dynamics.noise import Noise
from scruot.dynamics.score import learn_score
from scruot.dynamics.snapshots import Snapshots
from scruot.dynamics.train import Schedule, train
from scruot.geometry.neighbours import nearest_distance, typical_spacing
from scruot.solvers.least_action import LeastAction
from scruot.solvers.path_mixture import PathMixture
from scruot.solvers.potential_field import PotentialField
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.simulated_law import fit_quality, match_populations, simulate_law
from scruot.solvers.sobolev import SobolevRegression
from scruot.solvers.varruot_params import VarRUOTParams
from scruot.transport import Coupling, auto_delta, pairs, static_floor, wfr_coupling

_REFERENCE = (
    "Sun et al. (2025), Variational Regularized Unbalanced Optimal Transport: Single Network, "
    "Least Action, NeurIPS"
)
_BIBTEX = """@inproceedings{sun2025varruot,
  title = {Variational Regularized Unbalanced Optimal Transport: Single Network, Least Action},
  author = {Sun, Yuhao and Zhang, Zhenyi and Wang, Zihan and Li, Tiejun and Zhou, Peijie},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2025},
  eprint = {2505.11823},
  archivePrefix = {arXiv}
}"""

# step of the simulation that the score is learned from, in mean intervals
_SCORE_STEP = 0.1
_AUTO_CAP = 3.0  # of growth per mean interval: twenty times as many cells


def fit(problem: Problem) -> Fit:
    """Fit Var-RUOT: regress the potential on geodesics, then let it meet snapshots and equation."""
    params: VarRUOTParams = problem.params
    clouds = problem.snapshots
    _check(params, clouds)
    lengths = _lengths(params, problem)
    noise = _noise(params, problem, lengths["spacing"])
    delta = math.sqrt(lengths["alpha"])
    generator = make_generator(problem.device, problem.random_state)
    plans = [_couple(clouds, k, delta, problem) for k in range(len(clouds.durations))]
    blurs = [_blur(clouds, k, delta, params.entropy, noise) for k in range(len(plans))]
    tables = [
        pairs(_couple(clouds, k, delta, problem, blur) if blur > 0 else plan)
        for k, (plan, blur) in enumerate(zip(plans, blurs, strict=True))
    ]
    paths = PathMixture(clouds, tables, delta, lengths["smoothing"], noise)
    field = _make_field(problem, lengths, noise, generator)
    history = _learn_potential(problem, field, paths, generator)
    if params.match_mass and params.potential == "interval" and params.penalty != "power":
        match_populations(field, clouds, noise, generator)
    if field.score is not None:
        history["score"] = _learn_score(problem, field, noise, lengths["bandwidth"], generator)
    quality = fit_quality(field, clouds, noise, generator)
    unit = problem.scale.length**2 / problem.scale.time
    quality["w1"] *= problem.scale.length
    if "action" in quality:
        quality["action"] *= unit
    if params.penalty == "quadratic":
        dual, primal = static_floor(plans, delta=delta, durations=clouds.durations)
        quality |= {"action_floor_dual": unit * dual, "action_floor_primal": unit * primal}
    quality["coupling_gap"] = max(plan.gap for plan in plans)
    return Fit(
        field,
        _resolved(params, problem, lengths, noise),
        history,
        quality,
        sigma=noise.sigma,
        sigma_profile=noise.profile,
        learns=VARRUOT.learns if noise else ("drift", "growth", "potential"),
    )


def _check(params: VarRUOTParams, clouds: Snapshots) -> None:
    if isinstance(params.sigma, tuple) and len(params.sigma) != clouds.dim:
        msg = (
            f"varruot: found sigma={params.sigma} of {len(params.sigma)} values; expected one "
            f"number, or one for each of the {clouds.dim} coordinates."
        )
        raise ValueError(msg)
    if params.sigma_profile and len(params.sigma_profile) != len(clouds.times):
        msg = (
            f"varruot: found sigma_profile={params.sigma_profile} of {len(params.sigma_profile)} "
            f"values; expected one for each of the {len(clouds.times)} fitted times."
        )
        raise ValueError(msg)
    if params.penalty == "power" and params.exponent == 1:
        msg = (
            "varruot: found exponent=1; expected another number: the potential would not "
            "determine growth."
        )
        raise ValueError(msg)


def _lengths(params: VarRUOTParams, problem: Problem) -> dict[str, float]:
    """Return what every scale-like parameter is in the problem's units."""
    clouds, scale = problem.snapshots, problem.scale
    # coinciding cells have no spacing
    spacing = max(typical_spacing(clouds.x) / math.sqrt(2 * clouds.dim), 1e-3)

    def length(value: float | str, automatic: float) -> float:
        return max(automatic, 1e-3) if isinstance(value, str) else value / scale.length

    alpha, cap = params.alpha, params.growth_cap
    return {
        "spacing": spacing,
        "alpha": auto_delta(clouds.x) ** 2 if isinstance(alpha, str) else alpha / scale.length**2,
        "cap": _AUTO_CAP if isinstance(cap, str) else cap * scale.time,
        "smoothing": length(params.smoothing, spacing),
        "bandwidth": length(params.score_bandwidth, spacing),
    }


def _noise(params: VarRUOTParams, problem: Problem, spacing: float) -> Noise:
    unit = math.sqrt(problem.scale.time) / problem.scale.length
    sigma: float | tuple[float, ...]
    if isinstance(params.sigma, str):
        sigma = spacing
    elif isinstance(params.sigma, tuple):
        sigma = tuple(unit * level for level in params.sigma)
    else:
        sigma = unit * params.sigma
    return Noise(sigma, params.sigma_profile, problem.snapshots.times)


def _resolved(
    params: VarRUOTParams, problem: Problem, lengths: Mapping[str, float], noise: Noise
) -> dict[str, float | str]:
    scale = problem.scale
    resolved: dict[str, float | str] = {
        "alpha": lengths["alpha"] * scale.length**2,
        "smoothing": lengths["smoothing"] * scale.length,
        "score_bandwidth": lengths["bandwidth"] * scale.length,
        "growth_cap": lengths["cap"] / scale.time,
    }
    if isinstance(noise.sigma, float):
        resolved["sigma"] = scale.sigma_out(noise.sigma)
    if params.penalty == "quadratic":
        resolved["delta"] = math.sqrt(lengths["alpha"]) * scale.length
    return resolved


def _couple(
    clouds: Snapshots, k: int, delta: float, problem: Problem, blur: float = 0.0
) -> Coupling:
    x, w = clouds.x, clouds.weights
    return wfr_coupling(
        x[k], x[k + 1], w[k], w[k + 1], delta, blur=blur, random_state=problem.random_state
    )


def _blur(clouds: Snapshots, k: int, delta: float, entropy: float, noise: Noise) -> float:
    """Return the blur of a coupling whose bridges of this noise cost least."""
    if not noise or entropy == 0:
        return 0.0
    whole = noise.accumulated(torch.tensor([k]), torch.ones(1))
    variance = float(noise.levels(clouds.x[k]).square().mean()) * float(whole)
    # entropy at the price sigma^2 tau of |x - y|^2 / 2, in units of the cost of WFR; its solver
    # wants it relative to the typical least cost of a cell
    ends = clouds.x[k], clouds.x[k + 1]
    nearest = torch.cat([nearest_distance(*ends), nearest_distance(*ends[::-1])])
    angle = (nearest.double() / (2 * delta)).clamp_max(1.5)
    typical = float((-2 * torch.log(torch.cos(angle))).median())
    return entropy * variance / (2 * delta**2) / typical if typical > 0 else 0.0


def _make_field(
    problem: Problem, lengths: Mapping[str, float], noise: Noise, generator: torch.Generator
) -> PotentialField:
    params: VarRUOTParams = problem.params
    return PotentialField(
        problem.snapshots.dim,
        problem.snapshots.times,
        alpha=lengths["alpha"],
        penalty=params.penalty,
        exponent=params.exponent,
        cap=lengths["cap"],
        shared=params.potential == "global",
        scored=bool(noise),
        width=params.width,
        depth=params.depth,
        generator=generator,
        device=problem.device,
    )


def _learn_potential(
    problem: Problem,
    field: PotentialField,
    paths: PathMixture,
    generator: torch.Generator,
) -> dict[str, list[float]]:
    """Train on paths, then with simulation; return the terms of both."""
    params: VarRUOTParams = problem.params
    regression = SobolevRegression(field, paths, generator)

    def on_paths(rng: torch.Generator) -> dict[str, Tensor]:
        return regression.loss(params.batch_size, rng)

    simulation = LeastAction(
        field,
        problem.snapshots,
        paths.noise,
        params.hjb,
        params.time_step,
        params.n_particles,
        params.batch_size,
        params.least_effective,
        regression.total,
    )
    path_weight = params.path_weight if params.penalty == "quadratic" else 0.0

    def simulated(rng: torch.Generator) -> dict[str, Tensor]:
        terms = simulation.terms(rng)
        loss = (
            params.match_weight * (terms["matching"] + terms["mass"])
            + params.hjb_weight * terms["hjb"]
            + params.action_weight * terms["action"]
        )
        if path_weight > 0:
            loss = loss + path_weight * on_paths(rng)["loss"]
        return {"loss": loss, **terms}

    stages: list[tuple[str, Callable[[torch.Generator], dict[str, Tensor]], int, float, float]] = [
        ("paths", on_paths, params.steps, params.learning_rate, params.ema),
        # few steps: a shorter memory
        ("rollout", simulated, params.rollout_steps, params.rollout_rate, min(params.ema, 0.9)),
    ]
    history: dict[str, list[float]] = {}
    for name, loss, steps, rate, ema in stages:
        if steps:
            schedule = Schedule(
                steps=steps, learning_rate=rate, optimizer=params.optimizer, ema=ema
            )
            found = _train(problem, name, field.potential, loss, schedule, generator)
            prefix = "" if name == "paths" else "rollout_"
            history |= {prefix + term: values for term, values in found.items()}
    return history


def _train(
    problem: Problem,
    stage: str,
    model: nn.Module,
    loss: Callable[[torch.Generator], dict[str, Tensor]],
    schedule: Schedule,
    generator: torch.Generator,
) -> dict[str, list[float]]:
    state = train(
        model,
        loss,
        schedule,
        generator=generator,
        checkpoint=_stage_file(problem.checkpoint, stage),
        fingerprint=f"{problem.fingerprint} {stage}",
        progress=problem.progress,
        label=f"{problem.label}: {stage}",
    )
    return state.history


def _stage_file(checkpoint: Path | None, stage: str) -> Path | None:
    """Return the file of a stage; the first has the name that the user gave."""
    if checkpoint is None or stage == "paths":
        return checkpoint
    return checkpoint.with_name(f"{checkpoint.stem}.{stage}{checkpoint.suffix}")


def _learn_score(
    problem: Problem,
    field: PotentialField,
    noise: Noise,
    bandwidth: float,
    generator: torch.Generator,
) -> list[float]:
    params: VarRUOTParams = problem.params
    assert field.score is not None
    # the wider a step's noise, the less random the score of one particle
    law = simulate_law(field, problem.snapshots, noise, generator, blur=bandwidth, step=_SCORE_STEP)
    state = learn_score(
        field.score,
        law.particles,
        Schedule(
            steps=params.score_steps,
            # a smooth target without noise: slower is closer in the end
            learning_rate=0.5 * params.learning_rate,
            optimizer=params.optimizer,
            ema=params.ema,
        ),
        batch_size=max(1, params.batch_size // 2),
        generator=generator,
        checkpoint=_stage_file(problem.checkpoint, "score"),
        fingerprint=f"{problem.fingerprint} score",
        progress=problem.progress,
        label=f"{problem.label}: score",
    )
    return state.history["loss"]


def build(config: Mapping[str, Any]) -> PotentialField:
    """Return an untrained field from its configuration."""
    return PotentialField(**config)


VARRUOT = Solver(
    name="varruot",
    summary="Var-RUOT: drift and growth of least action from one scalar potential, with noise",
    learns=("drift", "growth", "score", "potential"),
    stochastic=True,
    params=VarRUOTParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
)
