"""Birth-death SDE with two nested forks: a generator with known drift, growth and fates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from scruot._checks import whole
from scruot.datasets import _forks as forks
from scruot.datasets._checks import generator, positive
from scruot.datasets._forks import Array, Forks
from scruot.datasets._registry import ENTRIES

_SAMPLING = ("proportional", "equal")
_MAX_CELLS = 10_000_000


def branching(
    n_cells: int = 2000,
    n_dims: int = 10,
    *,
    n_times: int = 5,
    random_state: int | np.random.Generator = 0,
    duration: float = 4.0,
    sampling: str = "proportional",
    n_founders: int | None = None,
    growth_rates: tuple[float, float, float] = (0.6, 0.4, -0.1),
    turnover: float = 0.1,
    sigma: float = 0.3,
    bias: float = 0.15,
    lean: float = 0.5,
    relaxation: float = 0.5,
    rotate: bool = True,
    n_continue: int = 128,
    dt: float = 0.025,
) -> AnnData:
    """Simulate a birth-death SDE with two nested forks (three fates) and keep its truth.

    Three core coordinates carry the process: progress ``s``, a first fork ``u`` (fate A, or on)
    and, on one of its sides, a second fork ``w`` (fates B and C). The other dimensions are
    stationary Ornstein-Uhlenbeck noise without meaning. Cells divide and die at rates that
    depend on their state. Each snapshot is a sample, without replacement, of the population at
    its time; the population sizes are in the truth, and counts are masses (up to a factor) only
    with ``sampling="proportional"``.

    The true fate probabilities of a cell are those of its descendants at the last time: from the
    cell, ``n_continue`` particles are continued to the last time and weighted by their expected
    number of descendants.

    Parameters
    ----------
    n_cells
        Number of observed cells, over all times.
    n_dims
        Number of observed dimensions, at least 3.
    n_times
        Number of snapshots, evenly spaced from 0 to ``duration``.
    random_state
        Seed or generator; the same seed gives the same data.
    duration
        Last observed time. The first fork opens at 0.7, the second at 2.
    sampling
        ``"proportional"``: as many cells per snapshot as its share of the population;
        ``"equal"``: the same number in each.
    n_founders
        Size of the population at time 0; ``None`` means ``2 * n_cells``.
    growth_rates
        Birth minus death of fates A, B and C per unit of time; progenitors have none.
    turnover
        Rate at which every cell both divides and dies, per unit of time.
    sigma
        Noise of the SDE in every dimension, per square root of a unit of time.
    bias
        Drift towards fates B and C at the first fork.
    lean
        Slope of the midline between the fates: with 0, progenitors lie between the fates, and
        the nearest final cells already tell the fate of many early ones.
    relaxation
        Rate of return of the dimensions without meaning, whose standard deviation is
        ``sigma / sqrt(2 * relaxation)``.
    rotate
        Whether to turn everything by a random orthogonal map, so that no axis is special.
    n_continue
        Particles per cell for the true fates; 0 leaves them out.
    dt
        Step of the simulation, rounded down so that it divides the interval.

    Returns
    -------
    AnnData (n_cells, n_dims) with

    * ``X`` and ``obsm["X_sim"]`` (n, n_dims), float32; ``obsm["X_core"]`` (n, 3): the core
      coordinates before rotation.
    * ``obs["time"]``; ``obs["cell_type"]``: the fate (``"A"``, ``"B"``, ``"C"``) at the last
      time; before it the nearest of ``"progenitor"``, ``"bipotent"`` and the fates.
    * ``obs["growth_true"]``: birth minus death, per unit of time.
    * ``obsm["drift_true_sim"]`` (n, n_dims): drift of the SDE per unit of time. (The velocity of
      a snapshot differs from it by half the squared noise times the score.)
    * with ``n_continue > 0``, ``obsm["fate_true"]`` (n, 3), columns as in
      ``uns["truth"]["fates"]``, and ``obs["descendants_true"]``: expected descendants at the
      last time. At the last time a cell's fate is certain.
    * ``uns["truth"]``: ``"fates"``, ``"sigma"``, ``"population"`` (``"time"``, ``"size"``),
      ``"rotation"`` (n_dims, n_dims; ``X_sim = [core, noise] @ rotation.T``), ``"parameters"``.
    * ``uns["dataset"]``: source, licence.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the population dies out.

    References
    ----------
    Lavenant, Zhang, Kim & Schiebinger (2024), Annals of Applied Probability 34:428
    :cite:p:`lavenant2024` (snapshots of branching SDEs).

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(300, 5, n_continue=16)
    >>> adata.obsm["fate_true"].shape
    (300, 3)
    >>> population = adata.uns["truth"]["population"]
    >>> mass = dict(zip(population["time"], population["size"]))  # for tl.fit_dynamics(mass=...)
    """
    law = Forks(growth_rates, bias, turnover, sigma, lean)
    _check(
        law, n_cells, n_dims, n_times, duration, sampling, n_founders, relaxation, n_continue, dt
    )
    n_founders = 2 * n_cells if n_founders is None else n_founders
    rng = generator(random_state)
    times = np.linspace(0.0, duration, n_times)
    populations = _simulate(law, times, n_founders, dt, rng)
    sizes = np.array([len(cells) for cells in populations])
    counts = _counts(n_cells, sizes, sampling, times)
    core = np.concatenate(
        [
            cells[rng.choice(len(cells), n, replace=False)]
            for cells, n in zip(populations, counts, strict=True)
        ]
    )
    spread = sigma / np.sqrt(2 * relaxation)
    noise = spread * rng.standard_normal((n_cells, n_dims - forks.N_CORE))
    rotation = _orthogonal(n_dims, rng) if rotate else np.eye(n_dims)
    adata = _assemble(law, core, noise, np.repeat(times, counts), relaxation, rotation)
    adata.uns["truth"] = {
        "fates": np.array(forks.FATES, dtype=object),
        "sigma": sigma,
        "population": {"time": times, "size": sizes},
        "rotation": rotation,
        "parameters": {
            "growth_rates": np.asarray(growth_rates, dtype=np.float64),
            "turnover": turnover,
            "bias": bias,
            "lean": lean,
            "relaxation": relaxation,
            "sampling": sampling,
            "n_founders": n_founders,
            "n_continue": n_continue,
            "dt": dt,
        },
    }
    if n_continue:
        _continue(adata, law, core, n_continue, dt, rng)
    return adata


def _check(
    law: Forks,
    n_cells: int,
    n_dims: int,
    n_times: int,
    duration: float,
    sampling: str,
    n_founders: int | None,
    relaxation: float,
    n_continue: int,
    dt: float,
) -> None:
    """Refuse parameters that make no simulation."""
    whole("n_times", n_times, least=2)
    whole("n_cells", n_cells, least=n_times)
    whole("n_dims", n_dims, least=forks.N_CORE)
    whole("n_founders", n_founders, least=n_cells, optional=True)
    whole("n_continue", n_continue, least=0)
    positive("sigma", law.sigma, zero=True)
    positive("turnover", law.turnover, zero=True)
    for name, value in (("duration", duration), ("relaxation", relaxation), ("dt", dt)):
        positive(name, value)
    positive("abs(bias)", abs(law.bias), zero=True)
    positive("abs(lean)", abs(law.lean), zero=True)
    if sampling not in _SAMPLING:
        msg = f"sampling is {sampling!r}; expected one of {_SAMPLING}."
        raise ValueError(msg)
    rates = np.asarray(law.growth_rates, dtype=np.float64)
    if rates.shape != (len(forks.FATES),) or not np.isfinite(rates).all():
        msg = f"growth_rates is {law.growth_rates!r}; expected three finite numbers."
        raise ValueError(msg)
    if dt * (2 * law.turnover + np.abs(rates).max()) > 1:
        msg = f"dt is {dt!r}; expected so small that a cell divides or dies at most once a step."
        raise ValueError(msg)
    founders = 2 * n_cells if n_founders is None else n_founders
    bound = founders * np.exp(min(max(float(rates.max()), 0.0) * duration, 100.0))
    if bound > _MAX_CELLS:
        msg = (
            f"The population may reach {bound:.1e} cells; expected at most {_MAX_CELLS:.0e}. Make "
            "growth_rates, duration, n_cells or n_founders smaller."
        )
        raise ValueError(msg)


def _simulate(
    law: Forks, times: Array, n_founders: int, dt: float, rng: np.random.Generator
) -> list[Array]:
    """Return the population's core coordinates at each time."""
    core = forks.START_STD * rng.standard_normal((n_founders, forks.N_CORE))
    populations = [core]
    for interval in np.diff(times):
        n_steps = int(np.ceil(interval / dt - 1e-9))
        for _ in range(n_steps):
            core = law.move(core, interval / n_steps, rng)
            core = law.reproduce(core, interval / n_steps, rng)
        populations.append(core)
    return populations


def _counts(
    n_cells: int, sizes: npt.NDArray[np.int64], sampling: str, times: Array
) -> npt.NDArray[np.int64]:
    """Return how many cells each snapshot has; they add up to ``n_cells``."""
    share = (
        sizes / sizes.sum() if sampling == "proportional" else np.full(len(sizes), 1 / len(sizes))
    )
    edges = np.round(n_cells * np.cumsum(share)).astype(int)
    counts = np.diff(edges, prepend=0)
    short = (counts > sizes) | (counts == 0)
    if short.any():
        k = int(np.flatnonzero(short)[0])
        msg = (
            f"The population at time {times[k]:g} has {sizes[k]} cells, of {counts[k]} to be "
            "sampled; expected enough, and at least one. Raise n_cells, n_founders or "
            "growth_rates."
        )
        raise ValueError(msg)
    return counts


def _orthogonal(n_dims: int, rng: np.random.Generator) -> Array:
    """Return a random orthogonal matrix (uniform, through the QR of a Gaussian)."""
    q, r = np.linalg.qr(rng.standard_normal((n_dims, n_dims)))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float64)


def _assemble(
    law: Forks, core: Array, noise: Array, time: Array, relaxation: float, rotation: Array
) -> AnnData:
    """Write cells, drift and growth into an AnnData."""
    x = (np.hstack((core, noise)) @ rotation.T).astype(np.float32)
    drift = np.hstack((law.drift(core), -relaxation * noise)) @ rotation.T
    cell_type = pd.Categorical.from_codes(_cell_types(law, core, time), pd.Index(forks.STATES))
    return AnnData(
        X=x,
        obs=pd.DataFrame(
            {"time": time, "cell_type": cell_type, "growth_true": law.growth(core)},
            index=[f"cell{i}" for i in range(len(x))],
        ),
        var=pd.DataFrame(index=[f"x{i + 1}" for i in range(x.shape[1])]),
        obsm={
            "X_sim": x.copy(),
            "X_core": core.astype(np.float32),
            "drift_true_sim": drift.astype(np.float32),
        },
        uns={"dataset": ENTRIES["branching"].provenance("")},
    )


def _cell_types(law: Forks, core: Array, time: Array) -> npt.NDArray[np.int64]:
    """Return fates at the last time and the nearest state before it, as indices of states."""
    first_fate = len(forks.STATES) - len(forks.FATES)
    codes = np.where(time == time.max(), first_fate + law.fate(core), law.state(core))
    return codes.astype(np.int64)


def _continue(
    adata: AnnData, law: Forks, core: Array, n: int, dt: float, rng: np.random.Generator
) -> None:
    """Write true fates and descendants by continuing every cell to the last time."""
    time = adata.obs["time"].to_numpy()
    fates = np.eye(len(forks.FATES))[law.fate(core)]
    descendants = np.ones(len(core))
    for t in np.unique(time)[:-1]:
        here = time == t
        fates[here], descendants[here] = forks.continue_cells(
            law, core[here], float(time.max() - t), n, dt, rng
        )
    adata.obsm["fate_true"] = fates
    adata.obs["descendants_true"] = descendants
