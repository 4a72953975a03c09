"""The checks of a diagnosis: each a figure, two thresholds, a verdict and a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

GOOD, DOUBTFUL, BAD, UNCHECKED = "good", "doubtful", "bad", "not checked"

# (good up to, bad beyond); see the guide for where they come from
_OBSERVED = (1.25, 2.0)
_HELD_OUT_CELLS = (1.1, 1.3)
_HELD_OUT_TIMES = (1.0, 1.2)
_MASS = (0.05, 0.15)
_GROUPS = (0.10, 0.25)
_ACTION = (1.2, 1.5)
_BELOW_FLOOR = 0.95
_SHARE = (0.3, 0.1)
_GROWTH = (0.5, 1.0)
_GAP = (0.01, 0.05)
# groups with a smaller share of the population are noise
_SMALL = 0.05

_RATIO = "{:.2f} times"
_PERCENT = "{:.1%}"


@dataclass(frozen=True)
class Check:
    """One line of a diagnosis."""

    check: str
    value: float
    good: float
    bad: float
    verdict: str
    finding: str
    remedy: str = ""


def judged(
    check: str, value: float, limits: tuple[float, float], *, finding: str, remedy: str
) -> Check:
    """Return a check with its verdict: good up to the first limit, bad beyond the second.

    Where the first limit is the larger one, large values are good.
    """
    good, bad = limits
    sign = 1.0 if good <= bad else -1.0
    if not math.isfinite(value):
        verdict = BAD
    elif sign * value <= sign * good:
        verdict = GOOD
    else:
        verdict = BAD if sign * value > sign * bad else DOUBTFUL
    return Check(check, value, good, bad, verdict, finding, "" if verdict == GOOD else remedy)


def unchecked(check: str, finding: str, remedy: str) -> Check:
    """Return a check that could not be made, and what would make it possible."""
    return Check(check, math.nan, math.nan, math.nan, UNCHECKED, finding, remedy)


def observed(table: pd.DataFrame) -> Check:
    """Compare observed cells with simulated ones, in units of the noise of sampling."""
    ratio = _ratios(table, "observed", "noise floor", "w1")
    if not len(ratio):
        return unchecked("observed cells", "no observed time was evaluated", "tl.evaluate")
    return judged(
        "observed cells",
        float(ratio.max()),
        _OBSERVED,
        finding=f"W1 is {_RATIO.format(ratio.max())} the sampling noise at time "
        f"{ratio.idxmax():g}, the worst",
        remedy="the model misses snapshots: train longer (steps), or raise delta; cells that "
        "appear out of reach need a time between",
    )


def held_out_cells(table: pd.DataFrame) -> Check:
    """Compare cells that the fit has not seen."""
    ratio = _ratios(table, "held-out cells", "noise floor", "w1")
    if not len(ratio):
        return unchecked(
            "held-out cells",
            "the fit has seen all cells",
            "fit with holdout_cells=0.5 and evaluate, or diagnose with compute=True",
        )
    return judged(
        "held-out cells",
        float(ratio.mean()),
        _HELD_OUT_CELLS,
        finding=f"W1 is {_RATIO.format(ratio.mean())} the sampling noise (mean over times)",
        remedy="the model fits cells and not their distribution: fewer steps, validation=0.1, or a "
        "larger sigma or bandwidth",
    )


def held_out_times(rows: pd.DataFrame) -> Check:
    """Compare times that were left out with the best null, or with the noise where it is larger.

    ``rows`` has energy distances: columns ``time``, ``model``, ``noise floor`` and the nulls.
    """
    if not len(rows):
        return unchecked(
            "held-out times",
            "no time was left out",
            "tl.cross_validate (three times at least), or diagnose with compute=True",
        )
    mean = rows.mean()
    others = mean.drop(["time", "model"])
    nulls = others.drop("noise floor", errors="ignore")
    best, least = f"the best null, {nulls.idxmin()!r}", float(nulls.min())
    if others.get("noise floor", 0.0) > least:
        # below the noise there is nothing to be better at
        best = "the sampling noise, which the best null is below"
        least = float(others["noise floor"])
    ratio = float(mean["model"] / least)
    return judged(
        "held-out times",
        ratio,
        _HELD_OUT_TIMES,
        finding=f"energy distance is {_RATIO.format(ratio)} that of {best} (mean over {len(rows)} "
        "times)",
        remedy="straight lines, or a neighbouring snapshot, predict as well: compare methods and "
        "delta with tl.cross_validate; do not interpret the path between these times",
    )


def population(table: pd.DataFrame) -> Check:
    """Compare the predicted population with the observed one."""
    rows = table[(table["comparison"] == "model") & table["mass_error"].notna()]
    if not len(rows):
        return unchecked("population", "no population was evaluated", "tl.evaluate")
    worst = rows.iloc[int(rows["mass_error"].argmax())]
    return judged(
        "population",
        float(worst["mass_error"]),
        _MASS,
        finding=f"off by {_PERCENT.format(worst['mass_error'])} at time {worst['time']:g}, the "
        "worst",
        remedy="match_mass=True, a larger delta, or mass='equal' where counts are not populations",
    )


def groups(table: pd.DataFrame | None, cells: Mapping[float, int] | None = None) -> Check:
    """Compare the populations of groups: a right total can hide a wrong split.

    With `cells`, the number of observed cells of every time, two standard errors of an observed
    share are forgiven.
    """
    if table is None:
        return unchecked(
            "mass per group", "no groups were named", "diagnose with groupby, e.g. cell types"
        )
    share = table["mass_observed"] / table.groupby("time")["mass_observed"].transform("sum")
    rows = table[(share > _SMALL) & table["mass_error"].notna()]
    if not len(rows):
        return unchecked("mass per group", "no group holds 5 % of a population", "coarser groups")
    n = rows["time"].map(dict(cells)) if cells is not None else np.inf
    held = share[rows.index]
    chance = 2 * ((1 - held) / (held * n)) ** 0.5
    beyond = (rows["mass_error"] - chance).clip(lower=0)
    place = int(beyond.argmax())
    worst, allowed = rows.iloc[place], float(chance.iloc[place])
    sampling = f", of which {_PERCENT.format(allowed)} may be sampling" if cells is not None else ""
    return judged(
        "mass per group",
        float(beyond.iloc[place]),
        _GROUPS,
        finding=f"{worst['group']!r} is off by {_PERCENT.format(worst['mass_error'])} at time "
        f"{worst['time']:g}, the worst{sampling}",
        remedy="growth and movement are confused between groups: another delta (see "
        "tl.cross_validate), or a growth prior",
    )


def action(figures: Mapping[str, Any], *, stochastic: bool, observed: str) -> Check:
    """Compare the action with the least that any dynamics through the snapshots spend.

    `observed` is the verdict on observed cells. The floor is that of these very cells, whose chance
    places cost something, too: a smooth law that passes within the noise of sampling is cheaper.
    """
    model, dual, primal = (
        float(figures.get(k, np.nan)) for k in ("model", "floor_dual", "floor_primal")
    )
    name = "action / floor"
    if not (math.isfinite(model) and math.isfinite(primal) and primal > 0):
        return unchecked(
            name,
            "the method has no delta or no floor of the action",
            "only methods of the Wasserstein-Fisher-Rao family have one (wfrfm, wfr, varruot)",
        )
    ratio = model / primal
    finding = f"{_RATIO.format(ratio)} the least possible"
    if stochastic or model >= _BELOW_FLOOR * dual:
        return judged(
            name,
            ratio,
            _ACTION,
            finding=finding,
            remedy="cells take detours: train longer, a smaller learning_rate, or fewer dimensions",
        )
    if observed == GOOD:
        return Check(
            name,
            ratio,
            *_ACTION,
            GOOD,
            f"{finding} through these very cells; they are met within the noise of sampling, "
            "whose roughness a smooth law need not follow",
        )
    return Check(
        name,
        ratio,
        *_ACTION,
        BAD if observed == BAD else DOUBTFUL,
        f"{finding}: snapshots are missed, for no dynamics through them are that cheap",
        "train longer (steps); or snapshots of few cells are rougher than any model, and fewer "
        "dimensions (n_dims) help",
    )


def sample_size(weights: np.ndarray[Any, Any], n_cells: int) -> Check:
    """Ask how many simulated cells the last population rests on."""
    share = weights.sum() ** 2 / (weights**2).sum() / len(weights)
    return judged(
        "effective cells",
        float(share),
        _SHARE,
        finding=f"the last population rests on {share:.0%} of {n_cells} simulated cells",
        remedy="few lineages carry all mass: more cells at the first time, or a larger delta; do "
        "not trust late proportions",
    )


def growth_level(mass: Any, *, learned: bool) -> Check:
    """Say what the level of growth rests on."""
    name, none = "growth: level", (math.nan,) * 3
    if not learned:
        return Check(
            name,
            *none,
            DOUBTFUL,
            "the method learns no growth: all populations change by moving",
            "use a method with growth where groups expand (wfrfm, wfr)",
        )
    if isinstance(mass, str) and mass == "counts":
        return Check(
            name,
            *none,
            DOUBTFUL,
            "numbers of captured cells are taken for populations",
            "give true sizes, mass={time: size}; otherwise trust differences between cells only",
        )
    if isinstance(mass, str) and mass == "equal":
        return Check(
            name,
            *none,
            DOUBTFUL,
            "populations are taken as constant: growth is relative",
            "give true sizes, mass={time: size}; otherwise trust differences between cells only",
        )
    return Check(name, *none, GOOD, "sizes of the populations were given")


def growth_differences(growth: np.ndarray[Any, Any], std: np.ndarray[Any, Any] | None) -> Check:
    """Compare the uncertainty of growth with its differences between cells."""
    name = "growth: differences"
    if std is None:
        return unchecked(
            name,
            "one model says nothing about uncertainty",
            "fit with n_models=10, better with replicate_key, too",
        )
    spread = float(np.std(growth))
    ratio = float(np.median(std)) / spread if spread > 0 else math.inf
    return judged(
        name,
        ratio,
        _GROWTH,
        finding=f"its uncertainty is {_RATIO.format(ratio)} its spread between cells",
        remedy="differences in growth are within their uncertainty: more cells or replicates, a "
        "growth prior, or a larger delta",
    )


def couplings(figures: Mapping[str, Any]) -> Check:
    """Report how far couplings may be from the best ones."""
    gap = float(figures.get("coupling_gap", np.nan))
    if not math.isfinite(gap):
        return unchecked("couplings", "the method reports no gap of its couplings", "")
    return judged(
        "couplings",
        gap,
        _GAP,
        finding=f"they may cost up to {_PERCENT.format(max(gap, 0.0))} more than the best ones",
        remedy="coupling='exact', or less blur",
    )


def _ratios(table: pd.DataFrame, split: str, null: str, figure: str) -> pd.Series:
    """Return a figure of the model over that of a null, by time."""
    rows = table[table["split"] == split]
    by_time = rows.pivot_table(index="time", columns="comparison", values=figure)
    if not {"model", null} <= set(by_time.columns):
        return pd.Series(dtype=float)
    return (by_time["model"] / by_time[null]).dropna()
