"""Three-gene toggle with proliferation: a generator with known drift, growth and noise."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from scruot._checks import whole
from scruot.datasets._checks import generator, positive
from scruot.datasets._registry import ENTRIES

logger = logging.getLogger(__name__)

Array: TypeAlias = npt.NDArray[np.float64]
Triple: TypeAlias = tuple[float, float, float]

_LINEAGES = ("transition", "quiescent")
_MAX_CELLS = 10_000_000


@dataclass(frozen=True)
class _Law:
    """Parameters of drift, noise and growth, per physical unit of time."""

    activation: Triple
    inhibition: Triple
    basal: float
    decay: Triple
    noise: Triple
    division_noise: float
    growth_rate: float

    def drift(self, x: Array) -> Array:
        squared = x**2
        (a1, a2, a3), (g1, g2, g3), b = self.activation, self.inhibition, self.basal
        x1, x2, x3 = squared.T
        first = (a1 * x1 + b) / (1 + a1 * x1 + g2 * x2 + g3 * x3 + b)
        second = (a2 * x2 + b) / (1 + g1 * x1 + a2 * x2 + g3 * x3 + b)
        third = a3 * x3 / (1 + a3 * x3)
        return np.stack((first, second, third), axis=1) - np.asarray(self.decay) * x

    def growth(self, x: Array) -> Array:
        squared = x[:, 1] ** 2
        return np.asarray(self.growth_rate * squared / (1 + squared), dtype=np.float64)


def three_gene(
    n_cells: int = 400,
    *,
    random_state: int | np.random.Generator = 0,
    n_times: int = 5,
    n_genes: int = 2,
    fraction_transition: float = 0.5,
    start_transition: Triple = (2.0, 0.2, 0.0),
    start_quiescent: Triple = (0.0, 0.0, 2.0),
    start_std: float = 0.1,
    activation: Triple = (0.5, 1.0, 1.0),
    inhibition: Triple = (0.5, 1.0, 10.0),
    basal: float = 1.0,
    decay: Triple = (0.4, 0.4, 0.4),
    noise: Triple = (0.05, 0.05, 0.01),
    division_noise: float = 0.014,
    growth_rate: float = 0.065,
    dt: float = 0.1,
    time_unit: float = 8.0,
) -> AnnData:
    r"""Simulate the three-gene toggle with proliferation and keep its truth.

    Genes 1 and 2 activate themselves and repress each other, gene 3 represses both. Cells that
    start with high gene 1 go over to high gene 2 and then divide; cells with high gene 3 rest.

    .. math::

       f_1 &= \frac{a_1 x_1^2 + b}{1 + a_1 x_1^2 + g_2 x_2^2 + g_3 x_3^2 + b} - d_1 x_1 \\
       f_2 &= \frac{a_2 x_2^2 + b}{1 + g_1 x_1^2 + a_2 x_2^2 + g_3 x_3^2 + b} - d_2 x_2 \\
       f_3 &= \frac{a_3 x_3^2}{1 + a_3 x_3^2} - d_3 x_3, \qquad
       dx_i = f_i\,dt + \eta_i\,dW_i, \quad x_i \ge 0,

    and a cell divides at rate :math:`\alpha_g x_2^2 / (1 + x_2^2)`; nothing dies. The snapshots
    are the whole population of one growing simulation at times 0, 1, 2, ..., so cell counts are
    masses. With the defaults, counts, means and spreads agree with the published table
    (:func:`scruot.datasets.three_gene_table`) within sampling error, but for the exact values of
    the resting cells near zero. ``growth_rate`` and ``dt`` were fitted to that table.

    Parameters
    ----------
    n_cells
        Number of cells at time 0.
    random_state
        Seed or generator; the same seed gives the same data.
    n_times
        Number of snapshots, at times 0, 1, ..., ``n_times - 1``.
    n_genes
        2 keeps genes 1 and 2, as the published table; 3 keeps all.
    fraction_transition
        Share of the cells at time 0 that will go over from gene 1 to gene 2; the others rest.
    start_transition, start_quiescent
        Mean expression of the two kinds of cell at time 0.
    start_std
        Standard deviation of each gene around these means.
    activation
        :math:`a_1, a_2, a_3`: self-activation.
    inhibition
        :math:`g_1, g_2, g_3`: repression by each gene.
    basal
        :math:`b`.
    decay
        :math:`d_1, d_2, d_3`, per physical unit of time.
    noise
        :math:`\eta_1, \eta_2, \eta_3`, per square root of a physical unit.
    division_noise
        Standard deviation of a daughter around its mother.
    growth_rate
        :math:`\alpha_g`, largest division rate per physical unit.
    dt
        Step of the simulation in physical units; ``time_unit`` must be a multiple of it.
    time_unit
        Physical units between snapshots: one unit of ``obs["time"]``.

    Returns
    -------
    AnnData (n, n_genes) with, in units of ``obs["time"]``:

    * ``X`` and ``obsm["X_genes"]`` (n, n_genes), float32: expression.
    * ``obs["time"]``: 0.0, 1.0, ...; ``obs["lineage"]``: ``"transition"`` or ``"quiescent"``,
      inherited; ``obs["founder"]``: number of the ancestor at time 0.
    * ``obs["growth_true"]``: division rate per unit of time.
    * ``obsm["drift_true_genes"]`` (n, n_genes): drift per unit of time, computed with all three
      genes. (The velocity of a snapshot is the drift minus half the squared noise times the
      score, which has no closed form here.)
    * ``uns["truth"]``: ``"sigma"`` (n_genes,) per square root of a unit of time, ``"units"``,
      ``"population"`` with ``"time"`` and ``"size"``, and every parameter in ``"parameters"``.
    * ``uns["dataset"]``: source, reference, licence.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Sha, Qiu, Zhou & Nie (2024), Nature Machine Intelligence 6:25 (TIGON) :cite:p:`sha2024tigon`.
    Zhang, Li & Zhou (2025), ICLR (DeepRUOT) :cite:p:`zhang2025deepruot`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(100, random_state=1)
    >>> int((adata.obs["time"] == 0).sum())
    100
    >>> population = adata.uns["truth"]["population"]
    >>> mass = dict(zip(population["time"], population["size"]))  # for tl.fit_dynamics(mass=...)
    """
    law = _Law(activation, inhibition, basal, decay, noise, division_noise, growth_rate)
    _check(law, n_cells, n_times, n_genes, fraction_transition, start_std, dt, time_unit)
    rng = generator(random_state)
    n_transition = round(n_cells * fraction_transition)
    counts = [n_transition, n_cells - n_transition]
    means = np.repeat(np.array([start_transition, start_quiescent], dtype=float), counts, axis=0)
    start = np.maximum(means + start_std * rng.standard_normal(means.shape), 0.0)
    snapshots = _simulate(law, start, n_times, round(time_unit / dt), dt, rng)
    parameters = asdict(law) | {
        "n_cells": n_cells,
        "fraction_transition": fraction_transition,
        "start_transition": start_transition,
        "start_quiescent": start_quiescent,
        "start_std": start_std,
        "dt": dt,
        "time_unit": time_unit,
    }
    return _assemble(law, snapshots, n_transition, n_genes, time_unit, parameters)


def _check(
    law: _Law,
    n_cells: int,
    n_times: int,
    n_genes: int,
    fraction_transition: float,
    start_std: float,
    dt: float,
    time_unit: float,
) -> None:
    """Refuse parameters that make no simulation."""
    whole("n_cells", n_cells, least=1)
    whole("n_times", n_times, least=1)
    if n_genes not in (2, 3):
        msg = f"n_genes is {n_genes!r}; expected 2 (as published) or 3 (all genes)."
        raise ValueError(msg)
    if not 0 <= fraction_transition <= 1:
        msg = f"fraction_transition is {fraction_transition!r}; expected a number from 0 to 1."
        raise ValueError(msg)
    positive("start_std", start_std, zero=True)
    positive("division_noise", law.division_noise, zero=True)
    positive("growth_rate", law.growth_rate, zero=True)
    positive("dt", dt)
    positive("time_unit", time_unit)
    steps = time_unit / dt
    if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
        msg = f"time_unit / dt is {steps:g}; expected a whole number of steps. Change dt."
        raise ValueError(msg)
    if law.growth_rate * dt > 1:
        msg = (
            f"growth_rate * dt is {law.growth_rate * dt:g}; expected at most 1, a probability. "
            "Make dt smaller."
        )
        raise ValueError(msg)
    bound = n_cells * np.exp(min(law.growth_rate * time_unit * (n_times - 1), 100.0))
    if bound > _MAX_CELLS:
        msg = (
            f"The population may reach {bound:.1e} cells; expected at most {_MAX_CELLS:.0e}. Make "
            "growth_rate, n_times or n_cells smaller."
        )
        raise ValueError(msg)


def _simulate(
    law: _Law, start: Array, n_times: int, n_steps: int, dt: float, rng: np.random.Generator
) -> list[tuple[Array, npt.NDArray[np.int64]]]:
    """Return the population (all three genes, founders) at each label time."""
    x, founder = start, np.arange(len(start))
    snapshots = [(x, founder)]
    scale = np.asarray(law.noise) * np.sqrt(dt)
    for _ in range(n_times - 1):
        for _ in range(n_steps):
            divides = rng.random(len(x)) < law.growth(x) * dt
            x = np.maximum(x + law.drift(x) * dt + scale * rng.standard_normal(x.shape), 0.0)
            x, founder = _divide(x, founder, divides, law.division_noise, rng)
        snapshots.append((x, founder))
    return snapshots


def _divide(
    x: Array,
    founder: npt.NDArray[np.int64],
    divides: npt.NDArray[np.bool_],
    spread: float,
    rng: np.random.Generator,
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Replace each dividing cell by two daughters near it."""
    mothers = x[divides]
    daughters = np.concatenate((mothers, mothers))
    daughters = np.maximum(daughters + spread * rng.standard_normal(daughters.shape), 0.0)
    stays = ~divides
    return (
        np.concatenate((x[stays], daughters)),
        np.concatenate((founder[stays], founder[divides], founder[divides])),
    )


def _assemble(
    law: _Law,
    snapshots: list[tuple[Array, npt.NDArray[np.int64]]],
    n_transition: int,
    n_genes: int,
    time_unit: float,
    parameters: dict[str, float | Triple],
) -> AnnData:
    """Write data and truth, in label time, into an AnnData."""
    x = np.concatenate([cells for cells, _ in snapshots])
    founder = np.concatenate([ancestors for _, ancestors in snapshots])
    sizes = np.array([len(cells) for cells, _ in snapshots])
    times = np.arange(len(sizes), dtype=np.float64)
    lineage = pd.Categorical.from_codes(
        (founder >= n_transition).astype(np.int64), pd.Index(_LINEAGES)
    )
    obs = pd.DataFrame(
        {
            "time": np.repeat(times, sizes),
            "lineage": lineage,
            "founder": founder,
            "growth_true": time_unit * law.growth(x),
        },
        index=[f"cell{i}" for i in range(len(x))],
    )
    genes = x[:, :n_genes].astype(np.float32)
    drift = (time_unit * law.drift(x)[:, :n_genes]).astype(np.float32)
    truth = {
        "sigma": np.sqrt(time_unit) * np.asarray(law.noise)[:n_genes],
        "units": "per unit of obs['time']; sigma per square root of it",
        "population": {"time": times, "size": sizes},
        "parameters": {
            key: np.asarray(value, dtype=np.float64) if isinstance(value, tuple) else value
            for key, value in parameters.items()
        },
    }
    return AnnData(
        X=genes,
        obs=obs,
        var=pd.DataFrame(index=[f"x{i + 1}" for i in range(n_genes)]),
        obsm={"X_genes": genes.copy(), "drift_true_genes": drift},
        uns={"truth": truth, "dataset": ENTRIES["three_gene"].provenance("")},
    )
