"""Parameters of Var-RUOT."""

from __future__ import annotations

from dataclasses import dataclass

from scruot.dynamics.growth_penalty import PENALTIES
from scruot.solvers.least_action import FORMS
from scruot.solvers.params import param

__all__ = ["VarRUOTParams"]


@dataclass(frozen=True)
class VarRUOTParams:
    """Parameters of Var-RUOT; lengths are in the units of the representation."""

    alpha: float | str = param(
        "auto",
        "price of growth, a squared length: the action is |u|^2 / 2 + alpha psi(g); 'auto' is the "
        "square of the automatic delta of WFR-FM",
        above=0.0,
        choices=("auto",),
    )
    sigma: float | str | tuple[float, ...] = param(
        "auto",
        "noise per root of time, one number or one per coordinate; 'auto' lets noise over a mean "
        "interval equal the spacing of the cells, the root mean square distance to the nearest "
        "neighbour over the root of 2 d; 0 for a deterministic model",
        low=0.0,
        choices=("auto",),
        several=True,
    )
    sigma_profile: tuple[float, ...] = param(
        (),
        "factor on sigma at every fitted time, linear in between; () for noise that does not "
        "change",
        low=0.0,
        several=True,
    )
    potential: str = param(
        "interval",
        "one potential per interval, which may jump at snapshots, or one smooth global potential "
        "as in the paper",
        choices=("interval", "global"),
    )
    penalty: str = param(
        "quadratic",
        "psi: g^2 / 2, the power |g|^exponent, cosh(g) - 1, or one of your own "
        "(solvers.register_penalty), of growth per mean interval",
        choices=PENALTIES,
    )
    exponent: float = param(
        2 / 15,
        "exponent of penalty='power', not 1; below 1 (as in the paper) it is an experimental "
        "prior and no least action",
        above=0.0,
    )
    growth_cap: float | str = param(
        "auto",
        "largest growth per unit time with a power below 1; 'auto' is 3 per mean interval",
        above=0.0,
        choices=("auto",),
    )
    entropy: float = param(
        0.0,
        "entropy of the couplings: 0 for exact ones, 1 for that of the noise, with which Brownian "
        "bridges between coupled cells cost least",
        low=0.0,
    )
    smoothing: float | str = param(
        "auto",
        "standard deviation, per coordinate, of noise added to positions on the paths; 'auto' "
        "is the spacing of the cells as for sigma",
        low=0.0,
        choices=("auto",),
    )
    steps: int = param(300, "optimiser steps of the regression on paths", low=1)
    batch_size: int = param(1024, "points per step, over all intervals", low=1)
    learning_rate: float = param(0.1, "peak learning rate of the regression", above=0.0)
    optimizer: str = param("muon", "optimiser of the hidden layers", choices=("muon", "adamw"))
    ema: float = param(
        0.97, "decay of the average of the weights; 0 for none", low=0.0, high=0.9999
    )
    width: int = param(128, "width of the hidden layers", low=1)
    depth: int = param(3, "number of hidden layers", low=1)
    rollout_steps: int = param(
        16, "optimiser steps with simulation after the regression; 0 for none", low=0
    )
    rollout_rate: float = param(0.005, "peak learning rate with simulation", above=0.0)
    time_step: float = param(
        0.25, "time step of the simulation, in mean intervals", above=0.0, high=1.0
    )
    n_particles: int = param(
        1000, "most particles, and cells per snapshot, of one simulation", low=2
    )
    least_effective: float = param(
        0.5,
        "share of effective particles below which they are drawn anew at a snapshot",
        low=0.0,
        high=1.0,
    )
    hjb: str = param(
        "temporal-difference",
        "form of the residual: without Laplacian, exact, or Hutchinson's estimate",
        choices=FORMS,
    )
    match_weight: float = param(16.0, "weight of the distance to the snapshots", low=0.0)
    hjb_weight: float = param(1.0, "weight of the squared residual", low=0.0)
    action_weight: float = param(0.05, "weight of the action", low=0.0)
    path_weight: float = param(
        1.0, "weight of the regression during simulation; of a quadratic penalty alone", low=0.0
    )
    match_mass: bool = param(
        True,
        "in the end add to the potential of every interval the constant with which the simulated "
        "population ends as observed; not with a global potential or penalty='power'",
    )
    score_steps: int = param(400, "optimiser steps of the score, where there is noise", low=1)
    score_bandwidth: float | str = param(
        "auto",
        "standard deviation by which the first snapshot is blurred for the score, and least one of "
        "the noise that the score is learned with; 'auto' is the spacing of the cells, as above",
        above=0.0,
        choices=("auto",),
    )
