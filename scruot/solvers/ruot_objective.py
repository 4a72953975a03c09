"""The full objective of DeepRUOT, along simulated paths."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scruot.dynamics.device import make_generator
from scruot.dynamics.snapshots import Snapshots
from scruot.solvers.growth_cost import GrowthCost
from scruot.solvers.reconstruction import cloud_error, mass_error
from scruot.solvers.ruot_energy import control_energy, fisher_energy, residual, running_cost
from scruot.solvers.ruot_field import RUOTField
from scruot.solvers.ruot_losses import (
    Densities,
    divergences,
    observed_errors,
    residual_scale,
    score_error,
)
from scruot.solvers.ruot_rollout import Nodes, roll_out
from scruot.solvers.ruot_setup import Units
from scruot.solvers.weighted_bridges import WeightedBridges

# time step of the particles, in mean intervals
_STEP = 0.2
# scale, in units of the cells' spread, below which clouds are not compared
_SOFTENING = 0.3
# points at which a fit is assessed
_ASSESSED = 4096
# share of the points of the law that lie beyond where its velocity is trusted
_BEYOND = 0.001


@dataclass(frozen=True)
class Objective:
    """The full objective ``L_energy + lambda_r L_recons + lambda_f L_FP`` of the last stage.

    Parameters
    ----------
    clouds, densities
        Observed clouds and their densities.
    bridges
        For the blur with which the score is matched along the paths.
    units
        Noise and price of growth.
    cost
        Cost of growth.
    weights
        ``lambda_r`` and ``lambda_f``.
    n_particles, n_points
        Particles that are carried, and their points at which the Fokker-Planck equation is asked.
    scale
        Energy that counts as one.
    """

    clouds: Snapshots
    densities: Densities
    bridges: WeightedBridges
    units: Units
    cost: GrowthCost
    weights: tuple[float, float]
    n_particles: int
    n_points: int
    scale: float = 1.0

    def __call__(self, field: RUOTField, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the objective and its parts."""
        x, log_w = self.start(generator)
        run = roll_out(field.motion, x, log_w, self.clouds.times, _STEP)
        energy = self.energy(field, run.nodes)
        grows = "growth" in field.flow.names
        recons = self._reconstruction(run.x, run.log_weights, generator, grows=grows)
        fokker_planck, inside = self._on_the_way(field, run.nodes, generator)
        known = self.densities.draw(self.n_points, generator)
        score = inside + sum(observed_errors(field, known))
        lambda_r, lambda_f = self.weights
        loss = energy / self.scale + lambda_r * recons + lambda_f * (fokker_planck + score)
        return {
            "loss": loss,
            "energy": energy,
            "recons": recons,
            "fokker_planck": fokker_planck,
            "score": score,
        }

    def energy(self, field: RUOTField, nodes: Nodes) -> Tensor:
        """Return the Fisher-regularised energy of weighted paths, growth included."""
        jet = field.log_density(nodes.t, nodes.x)
        mass = nodes.log_weights.exp() * nodes.duration
        # a constant added to the log density changes the energy by no more than the masses at
        # both ends say: without it the growth term is small
        level = (mass.detach() * jet.value.detach()).sum() / mass.detach().sum()
        variance, rate = self.units.variance(nodes.t)
        motion = fisher_energy(
            nodes.velocity, nodes.growth, jet._replace(value=jet.value - level - 1), variance, rate
        )
        return (mass * running_cost(motion, nodes.growth, self.units.alpha, self.cost)).sum()

    def start(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return particles at the first time, and their log weights."""
        x, w = self.clouds.x[0], self.clouds.weights[0]
        if len(x) > self.n_particles:
            u = torch.rand(self.n_particles, generator=generator, device=x.device).to(w.dtype)
            strata = (torch.arange(self.n_particles, device=x.device) + u) / self.n_particles
            bounds = w.cumsum(0) / w.sum()
            x = x[torch.searchsorted(bounds, strata).clamp_max(len(x) - 1)]
            return x, torch.full((len(x),), 1 / len(x), device=x.device).log()
        return x, (w / w.sum()).float().clamp_min(1e-12).log()

    def _reconstruction(
        self,
        states: list[Tensor],
        logs: list[Tensor],
        generator: torch.Generator,
        *,
        grows: bool,
    ) -> Tensor:
        total = states[0].new_zeros(())
        for k in range(1, len(states)):
            cells, w = self.clouds.x[k], self.clouds.weights[k]
            if len(cells) > 2 * self.n_particles:
                kept = torch.randperm(len(cells), generator=generator, device=cells.device)
                kept = kept[: 2 * self.n_particles]
                cells, w = cells[kept], w[kept]
            total = total + cloud_error(states[k], logs[k], cells, w, softening=_SOFTENING)
            if grows:
                total = total + mass_error(logs[k], self.clouds.masses[k])
        return total / (len(states) - 1)

    def _on_the_way(
        self, field: RUOTField, nodes: Nodes, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        device = nodes.t.device
        some = torch.randperm(len(nodes.t), generator=generator, device=device)[: self.n_points]
        t, x = nodes.t[some], nodes.x[some].detach()
        normal = torch.randn(x.shape, generator=generator, device=device)
        x = x + self.bridges.blur * normal
        weight = torch.softmax(nodes.log_weights[some].detach(), 0) * len(some)
        velocity, growth = field.motion(t, x)
        jet = field.log_density(t, x)
        spread = divergences(field, t, x, generator)
        left = residual(velocity, growth, spread, jet)
        scale = residual_scale(velocity, growth, spread.mean(0), jet.gradient, weight)
        # the product of two independent estimates is unbiased, a square is not
        fokker_planck = (weight * left[0] * left[1]).mean() / scale
        # bridges know the score with less noise than particles do
        inside = self.bridges.draw(self.n_points, generator)
        score = field.log_density(inside.t, inside.x).gradient
        return fokker_planck, score_error(score, inside)


def typical_growth(field: RUOTField, bridges: WeightedBridges, generator: torch.Generator) -> float:
    """Return the root mean square growth of the law, at least a hundredth."""
    batch = bridges.draw(_ASSESSED, generator)
    with torch.no_grad():
        growth = field.motion(batch.t, batch.x)[1]
    return max(0.01, float((batch.weight * growth.square()).mean().sqrt()))


@torch.no_grad()
def find_edge(field: RUOTField, bridges: WeightedBridges, generator: torch.Generator) -> None:
    """Let the field trust its velocity down to the log density of nearly all points of the law."""
    batch = bridges.draw(_ASSESSED, generator)
    field.edge.copy_(torch.quantile(field.log_density(batch.t, batch.x).value, _BEYOND))


def assess(objective: Objective, field: RUOTField, random_state: int) -> dict[str, float]:
    """Return the parts of the objective, the cost of control, and the error of the masses.

    ``"cost"`` is ``|b|^2 / 2 + alpha Psi(g)`` along the paths; ``"density_mass_error"`` the
    largest relative error of the integral of the density at an observed time.
    """
    device = objective.clouds.x[0].device
    generator = make_generator(device, random_state)
    with torch.no_grad():
        x, log_w = objective.start(generator)
        run = roll_out(field.motion, x, log_w, objective.clouds.times, _STEP)
        nodes = run.nodes
        jet = field.log_density(nodes.t, nodes.x)
        motion = control_energy(nodes.velocity, jet, objective.units.variance(nodes.t)[0])
        price = running_cost(motion, nodes.growth, objective.units.alpha, objective.cost)
        parts = replace(objective, n_points=_ASSESSED)(field, generator)
        values = {name: float(value) for name, value in parts.items()}
        values["cost"] = float((nodes.log_weights.exp() * nodes.duration * price).sum())
        values["density_mass_error"] = _mass_error_of_density(objective, field, generator)
    return values


def _mass_error_of_density(
    objective: Objective, field: RUOTField, generator: torch.Generator
) -> float:
    """Integrate the density at the observed times, by points drawn from the clouds' mixtures."""
    worst = 0.0
    for time, cloud in zip(objective.clouds.times, objective.densities.clouds, strict=True):
        x = cloud.sample(_ASSESSED, generator)
        ratio = field.log_density(torch.full_like(x[:, 0], time), x).value - cloud.log(x)
        worst = max(worst, abs(float(ratio.exp().mean()) - 1))
    return worst
