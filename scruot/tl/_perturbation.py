"""What a perturbation does to fates and populations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from scruot._checks import check_seed, whole
from scruot._keys import PERTURBATION, fate_slots, slots
from scruot.dynamics.passage import require_finite
from scruot.io.store import check_writable, writable
from scruot.tl._checks import check_step
from scruot.tl._classify import N_NEIGHBORS, classifier
from scruot.tl._fitted import FittedCells, read_fitted
from scruot.tl._groups import read_groups
from scruot.tl._paired import adjusted, paired_rows
from scruot.tl._perturb import Perturb, describe, outside, read_shift, warn_outside
from scruot.tl._start import Beginning, Start, begin

# particles that are carried at once
_PARTICLES = 100_000


@dataclass(frozen=True, eq=False)
class _Ends:
    """Where the descendants of states end: groups at a time, with the masses that count.

    Parameters
    ----------
    names
        Groups.
    time
        When the simulation ends.
    reader
        Masses (n, groups) per unit of mass of states (n, d) at that time.
    """

    names: list[str]
    time: float
    reader: Any


def perturbation(
    adata: AnnData,
    perturb: Perturb | Mapping[str, Perturb],
    *,
    groupby: str | None = None,
    fates_key: str | None = None,
    start: Start = None,
    n_cells: int | None = 1000,
    n_simulations: int = 20,
    key: str | None = None,
    loadings: str | None = None,
    stochastic: bool | None = None,
    step: float | Literal["adaptive"] | None = None,
    random_state: int = 0,
    device: str = "auto",
    key_added: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Compare the fates of perturbed cells with those of the same cells unperturbed.

    The start cells are simulated as they are and changed, with the same noise (common random
    numbers), so that what differs is the perturbation. Descendants are counted with their
    weights, for each start cell and fate. The difference of shares and the fold change of masses
    have standard errors over start cells, paired (delta method), and p-values of a t-test.

    Parameters
    ----------
    adata
        Cells with a fit.
    perturb
        ``{gene: change}``, in the units of the matrix that the representation was computed from,
        through stored loadings; or a shift of the coordinates, shape (d,), or (n, d) with one
        for each start cell. Several at once: a mapping from names to these.
    groupby
        Column of ``obs`` with groups: cells are simulated to the last fitted time and shared
        among the groups of their 15 nearest labelled cells there. By default the fates of
        :func:`scruot.tl.fate_probabilities` are read: those, and the numbers of descendants, of
        the 15 nearest observed cells, weighed by one over the distance. Without noise they are
        read where start cells are, at their own time: a flow would carry a shift along that real
        cells forget. With noise cells are simulated to the next fitted time, and read there. So
        are cells of a time of which no cell has a fate.
    fates_key
        ``key_added`` of the fates.
    start
        Start cells, as in :func:`scruot.tl.simulate`; all fitted cells of the first time by
        default.
    n_cells
        Take a random sample of so many of them; ``None`` takes all.
    n_simulations
        Simulations of each cell, where there is noise.
    key
        ``key_added`` of the fit.
    loadings
        Entry of ``varm``, as in :func:`scruot.tl.simulate`.
    stochastic
        Whether to draw noise; by default as the model has it.
    step
        Largest time step in the unit of the fit, by default 4 % of the mean interval;
        ``"adaptive"`` halves it until that changes nothing (deterministic models only).
    random_state
        Seed of the sample and of the noise.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    key_added
        Prefix of the slot that is written; by default that of the fit.
    copy
        Whether to return a copy of ``adata`` with the result instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy. One row per perturbation and group:

    ``perturbation``, ``group`` : str
    ``share``, ``share_perturbed``, ``share_change``, ``share_change_se`` : float
        Part of the descendants that ends in the group.
    ``pval``, ``qval`` : float
        Of no change in the share, and adjusted for the whole table (Benjamini-Hochberg).
    ``mass``, ``mass_perturbed``, ``mass_log2fc``, ``mass_log2fc_se`` : float
        Descendants in the group relative to all start cells.
    ``mass_pval``, ``mass_qval`` : float
        Of no change in the mass.
    ``outside`` : float
        Share of perturbed cells that lie farther from the observed ones of their time than 99 %
        of these do from each other. Near 1 the answer rests on no data.

    Written as ``adata.uns["perturbation"]``, prefixed by ``key_added`` or as the fit is:

    ``"table"`` : DataFrame
        As returned.
    ``"perturb"`` : dict
        Each perturbation as text; ``"shift"``: mean shift (d,) of each.
    ``"groupby"``, ``"key"``, ``"n_start"``, ``"start_time"``, ``"end_time"``, ``"params"``
        How it was computed.

    Raises
    ------
    KeyError
        When there is no such fit, column, gene, cell or fates, or no loadings.
    ValueError
        For a perturbation that is none, start cells at the last time, or when the
        representation has changed since the fit.
    RuntimeError
        When the model drives cells away to infinity.

    Notes
    -----
    The errors are those of a sample of start cells. The model is taken as given, and it has seen
    no perturbed cell: read the guide on trajectories before reading a small p-value as biology.

    See Also
    --------
    scruot.pl.perturbation : draw the table.

    Examples
    --------
    >>> import numpy as np
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> shift = np.array([0.5, 0.0])
    >>> table = scruot.tl.perturbation(adata, {"more": shift}, groupby="lineage")
    >>> table[["perturbation", "group"]].to_numpy().tolist()
    [['more', 'transition'], ['more', 'quiescent']]
    """
    random_state = check_seed(random_state)
    whole("n_cells", n_cells, optional=True)
    whole("n_simulations", n_simulations)
    check_step(step)
    check_writable(adata, copy=copy)
    slot = slots(key if key_added is None else key_added).table(PERTURBATION)
    cells = read_fitted(adata, key, device)
    beginning = begin(adata, cells, start, backward=False)
    begins = cells.model.times[0] if beginning.time is None else beginning.time
    noisy = cells.model.stochastic if stochastic is None else stochastic
    ends = _ends(adata, cells, begins, groupby, fates_key, here=not noisy)
    asked = _named_perturbations(perturb)
    n = len(beginning.x)
    shifts = {
        name: read_shift(adata, cells, one, loadings=loadings, n=n) for name, one in asked.items()
    }
    run = _Runner(cells, begins, ends, noisy, n_simulations if noisy else 1, step, random_state)
    everyone = n_cells is None or n_cells >= n
    seed = np.random.default_rng(random_state)
    rows = np.arange(n) if everyone else np.sort(seed.choice(n, n_cells, replace=False))
    plain = _taken(beginning, rows)
    before = run(plain.x, plain.weights)
    found = []
    for name, shift in shifts.items():
        moved = plain.x + (shift if shift.ndim == 1 else shift[rows])
        far = outside(cells, moved, beginning.time)
        warn_outside(far, name)
        after = run(moved, plain.weights)
        compared = paired_rows(ends.names, before, after)
        found += [{"perturbation": name, **row, "outside": far} for row in compared]
    table = adjusted(pd.DataFrame(found))
    result: dict[str, Any] = {
        "table": table,
        "perturb": {name: describe(one) for name, one in asked.items()},
        "shift": {name: np.atleast_2d(shift).mean(axis=0) for name, shift in shifts.items()},
        "groupby": _colored_by(adata, groupby, fates_key),
        "key": slots(key).key,
        "n_start": len(plain.x),
        "start_time": begins,
        "end_time": ends.time,
        "params": {
            "n_simulations": run.repeats,
            "stochastic": bool(noisy),
            "random_state": random_state,
            "fates": "" if groupby is not None else fate_slots(fates_key).probabilities,
        },
    }
    written = writable(adata, copy=copy)
    written.uns[slot] = result
    return written if copy else table.copy()


def _named_perturbations(perturb: Perturb | Mapping[str, Perturb]) -> dict[str, Perturb]:
    """Return perturbations by name; one alone is named by what it changes."""
    if not isinstance(perturb, Mapping):
        return {"shift": perturb}
    several = [isinstance(v, Mapping) or np.ndim(v) > 0 for v in perturb.values()]
    if several and all(several):
        for name in perturb:
            if "/" in str(name):
                msg = f"Found the name {name!r} of a perturbation; expected none with '/'."
                raise ValueError(msg)
        return {str(name): one for name, one in perturb.items()}  # type: ignore[misc]
    if any(several):
        msg = (
            "Found numbers beside perturbations in perturb; expected {gene: change}, or names with "
            "one such mapping (or a shift) each."
        )
        raise ValueError(msg)
    try:
        label = ", ".join(f"{gene} {float(change):+g}" for gene, change in perturb.items())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        label = "perturbation"
    return {label.replace("/", "|") or "perturbation": perturb}  # type: ignore[dict-item]


def _taken(start: Beginning, rows: NDArray[np.integer]) -> Beginning:
    weights = start.weights[rows]
    if not weights.sum() > 0:
        msg = f"The {len(rows)} cells drawn have no mass; draw more with n_cells."
        raise ValueError(msg)
    return replace(start, x=start.x[rows], weights=weights / weights.sum(), names=start.names[rows])


def _ends(
    adata: AnnData,
    cells: FittedCells,
    begins: float,
    groupby: str | None,
    fates_key: str | None,
    *,
    here: bool,
) -> _Ends:
    """Return where descendants are counted; ``here`` prefers fates of the cells of the start."""
    later = [t for t in cells.model.times if t > begins]
    if not later:
        msg = (
            f"The start cells are at time {begins:g}, the last fitted one: there is nothing left "
            "to simulate. Start from earlier cells."
        )
        raise ValueError(msg)
    if groupby is not None:
        groups = read_groups(adata, groupby)
        votes, end = classifier(groups, cells), later[-1]
        # groups that no labelled cell has there get no vote
        there = np.flatnonzero(np.any(votes.at(end, votes.x), axis=0))
        present = [str(name) for name in groups.categories[there]]
        return _Ends(present, end, lambda x: votes.at(end, x)[:, there])
    names = fate_slots(fates_key)
    if names.probabilities not in adata.obsm:
        asked = "" if fates_key is None else f", key_added={fates_key!r}"
        msg = (
            f"Found no obsm[{names.probabilities!r}]: run scruot.tl.fate_probabilities(adata, "
            f"groupby=...{asked}) first, or give groupby to simulate to the end."
        )
        raise KeyError(msg)
    table = pd.DataFrame(adata.obsm[names.probabilities])
    mass = table.to_numpy(dtype=float) * adata.obs[names.descendants].to_numpy(float)[:, None]
    usable = np.isfinite(mass).all(axis=1) & (cells.mass > 0)
    time = begins if here and (usable & (cells.time == begins)).any() else later[0]
    known = usable & (cells.time == time)
    if not known.any():
        msg = (
            f"No cell at time {later[0]:g}, the next after the start cells, has a fate; expected "
            "some: compute fates of the same cells, or give groupby to simulate to the end."
        )
        raise ValueError(msg)
    return _Ends([str(c) for c in table.columns], time, _Reader(cells.x[known], mass[known]))


class _Reader:
    """Fates of states from those of the nearest observed cells."""

    def __init__(self, x: NDArray[np.floating], mass: NDArray[np.float64]) -> None:
        self._mass = mass
        self._nearest = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(x))).fit(x)

    def __call__(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        distance, index = self._nearest.kneighbors(x)
        weight = 1 / np.maximum(distance, 1e-6 * (distance[:, -1:] + np.finfo(float).tiny))
        weight /= weight.sum(axis=1, keepdims=True)
        return np.asarray(np.einsum("nk,nkf->nf", weight, self._mass[index]))


@dataclass(frozen=True, eq=False)
class _Runner:
    """Simulate start cells and count their descendants; the same noise at every call."""

    cells: FittedCells
    begins: float
    ends: _Ends
    noisy: bool
    repeats: int
    step: float | str | None
    random_state: int

    def __call__(
        self, x: NDArray[np.floating], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        if self.ends.time == self.begins:
            return np.asarray(self.ends.reader(x) * weights[:, None])
        rows = max(1, _PARTICLES // self.repeats)
        parts = []
        for block, first in enumerate(range(0, len(x), rows)):
            here = slice(first, first + rows)
            run = self.cells.model.simulate(
                np.repeat(np.asarray(x[here]), self.repeats, axis=0),
                [self.begins, self.ends.time],
                weights=np.repeat(weights[here] / self.repeats, self.repeats),
                stochastic=self.noisy,
                step=self.step,
                random_state=self.random_state + block,
            )
            require_finite(run)
            mass = self.ends.reader(run.x[-1].numpy()) * run.weights[-1].double().numpy()[:, None]
            parts.append(mass.reshape(-1, self.repeats, mass.shape[1]).sum(axis=1))
        return np.concatenate(parts)


def _colored_by(adata: AnnData, groupby: str | None, fates_key: str | None) -> str:
    """Return the column whose stored colours the groups have."""
    if groupby is not None:
        return groupby
    names = fate_slots(fates_key)
    return names.fate if names.fate in adata.obs else ""
