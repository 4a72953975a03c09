"""VGFM: joint velocity and growth flow matching on semi-relaxed optimal transport.

References
----------
Wang, Jiang, Zhang, Gu, Zhou, Sun (2025), "Joint Velocity-Growth Flow Matching for Single-Cell
Dynamics Modeling", NeurIPS 2025, arXiv:2505.13413 :cite:p:`wang2025vgfm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scruot.dynamics.device import make_generator
from scruot.dynamics.fields import Field
from scruot.dynamics.snapshots import Snapshots
from scruot.dynamics.train import Schedule, train
from scruot.geometry import Bridge
from scruot.solvers.fitting import fit_loss
from scruot.solvers.lengths import path_noise, scaled_noise
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.params import param
from scruot.solvers.plans import (
    EXACT,
    gap_of,
    price_of_mass,
    scaled_price,
    solver_of_couplings,
    squared_couplings,
)
from scruot.solvers.populations import match_populations
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.regression import GrowthParams, build, kept_cells, regress
from scruot.transport import Penalty, pairs

_REFERENCE = (
    "Wang et al. (2025), Joint Velocity-Growth Flow Matching for Single-Cell Dynamics Modeling, "
    "NeurIPS"
)
_BIBTEX = """@inproceedings{wang2025vgfm,
  title = {Joint Velocity-Growth Flow Matching for Single-Cell Dynamics Modeling},
  author = {Wang, Dongyi and Jiang, Yuanwei and Zhang, Zhenyi and Gu, Xiang and Zhou, Peijie and
            Sun, Jian},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2025},
  eprint = {2505.13413},
  archivePrefix = {arXiv}
}"""

# time step of the simulations of the fine-tuning, in mean intervals
_STEP = 0.2


@dataclass(frozen=True)
class VGFMParams(GrowthParams):
    """Parameters of VGFM; lengths are in the units of the representation."""

    tau: float | str = price_of_mass("the source marginal", "2 delta^2")
    finetune_steps: int = param(
        15, "steps on the fit of the simulated cloud to the snapshots; 0 for none", low=0
    )
    finetune_cells: int = param(1000, "most cells of a snapshot in such a step", low=2)
    finetune_rate: float = param(3e-4, "peak learning rate of these steps", above=0.0)
    sigma: float | str = path_noise()
    coupling: str = solver_of_couplings()


def fit(problem: Problem) -> Fit:
    """Couple with the source relaxed, regress velocity and growth, then fit the simulation."""
    params: VGFMParams = problem.params
    clouds, left_out = kept_cells(problem)
    sigma = scaled_noise(params.sigma, problem, clouds)
    tau = scaled_price(params.tau, problem, sides=1)
    plans = squared_couplings(
        clouds,
        source=Penalty("kl", tau),
        target=EXACT,
        method=params.coupling,
        random_state=problem.random_state,
    )
    sampler = PairSampler(clouds, [pairs(plan) for plan in plans], Bridge(), sigma)
    trained = regress(problem, clouds, left_out, sampler)
    history = dict(trained.history)
    if params.finetune_steps > 0:
        history |= finetune(problem, trained.field, clouds)
    length = problem.scale.length
    resolved = {"tau": tau * length**2, "sigma": sigma * length}
    return Fit(trained.field, resolved, history, gap_of(plans))


def finetune(problem: Problem, field: Field, clouds: Snapshots) -> dict[str, list[float]]:
    """Train on the fit of the simulated, weighted cloud to every snapshot.

    Returns
    -------
    The terms of this loss per step, named ``finetune...``.
    """
    params: VGFMParams = problem.params

    def loss(rng: torch.Generator) -> dict[str, Tensor]:
        return fit_loss(field, clouds, params.finetune_cells, _STEP, rng)

    state = train(
        field,
        loss,
        Schedule(
            steps=params.finetune_steps,
            learning_rate=params.finetune_rate,
            optimizer="adamw",
            ema=min(params.ema, 0.9),
        ),
        # another sequence than that of the regression
        generator=make_generator(problem.device, problem.random_state + 2**31),
        checkpoint=_second(problem.checkpoint),
        fingerprint=f"{problem.fingerprint}/finetune",
        progress=problem.progress,
        label=f"{problem.label}, fine-tuning",
    )
    if params.match_mass:
        match_populations(field, clouds)
    names = {"loss": "finetune", "distance": "finetune_distance", "mass": "finetune_mass"}
    return {names[name]: values for name, values in state.history.items()}


def _second(checkpoint: Path | None) -> Path | None:
    """Return the file of the second training's state, beside that of the first."""
    if checkpoint is None:
        return None
    return checkpoint.with_name(f"{checkpoint.stem}.finetune{checkpoint.suffix}")


VGFM = Solver(
    name="vgfm",
    summary="Velocity-growth flow matching: straight lines of semi-relaxed transport with growth "
    "at the source, fine-tuned on the snapshots",
    learns=("velocity", "growth"),
    stochastic=False,
    params=VGFMParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
    coupled=True,
)
