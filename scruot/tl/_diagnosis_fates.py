"""The checks of fates in a diagnosis: progenitors, losses, and whether probabilities come true."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scruot.tl._diagnosis import Check, judged, unchecked
from scruot.tl._fate_trust import ALIKE

_PROGENITORS = 2.0, 1.5  # good up to, bad beyond so many times that
_LOST = (0.05, 0.2)
_EARLY = (0.1, ALIKE)
_MISCALIBRATED = (0.05, 0.15)
_SKILL = (0.3, 0.0)
_FEW = 5  # cells of a bin that tell no rate
_FORGIVEN = 2.0  # standard errors of an observed rate

_RATIO = "{:.2f} times"
_PERCENT = "{:.1%}"


def fates(
    record: Mapping[str, Any] | None, curve: tuple[pd.DataFrame, Mapping[str, float]] | None
) -> list[Check]:
    """Report what the computation of fates said about itself, and whether they come true.

    ``curve`` is a table of :func:`scruot.tl.fate_calibration` and its scores.
    """
    if record is None:
        return [unchecked("fates", "none were computed", "tl.fate_probabilities")]
    figures = record.get("quality", {})
    ratio = float(figures.get("spread_over_near", np.nan))
    limit = float(figures.get("progenitor_limit", _PROGENITORS[0]))
    lost = float(figures.get("none_share", np.nan))
    found = []
    if math.isfinite(ratio):
        found.append(
            judged(
                "fates: progenitors",
                ratio,
                (limit, _PROGENITORS[1] * limit),
                finding=f"the narrowest snapshot is {_RATIO.format(ratio)} as wide as its near "
                "distances",
                remedy="no snapshot looks like progenitors, so early fates are overconfident or "
                "blurred: add an earlier snapshot",
            )
        )
    else:
        found.append(
            unchecked(
                "fates: progenitors",
                "couplings that were given say nothing about noise",
                "compute fates with source='dynamics', or transport with method='fate'",
            )
        )
    found.append(
        judged(
            "fates: lost",
            lost,
            _LOST,
            finding=f"{_PERCENT.format(lost)} of the descendants end in no terminal state",
            remedy="name more terminal states, or look at them with none=True",
        )
    )
    return [*found, _early(figures), *calibration(curve)]


def _early(figures: Mapping[str, Any]) -> Check:
    """Ask whether early cells are told apart at all, however sound the noise is."""
    name = "fates: early cells"
    spread = float(figures.get("early_spread", np.nan))
    if not math.isfinite(spread):
        return unchecked(
            name, "nothing says how far their probabilities differ", "tl.fate_probabilities again"
        )
    return judged(
        name,
        spread,
        _EARLY,
        finding=f"probabilities at time {float(figures['early_time']):g} differ between cells by "
        f"{spread:.3f} of what certain fates do",
        remedy="cells there are told the shares of the ends: read later times, or give what tells "
        "them apart (clones or RNA velocity through tl.import_couplings, another representation)",
    )


def calibration(curve: tuple[pd.DataFrame, Mapping[str, float]] | None) -> list[Check]:
    """Read a reliability curve: how far it is from the diagonal, and what probabilities are worth.

    Two standard errors of an observed rate are forgiven in every bin.
    """
    name = "fates: calibration"
    if curve is None:
        return [
            unchecked(
                name,
                "nothing says whether probabilities come true",
                "where fates of some cells are known (clones, a time lapse), diagnose with "
                "fates_truth, or tl.fate_calibration",
            )
        ]
    table, scores = curve
    table = table[(table["n_cells"] >= _FEW) & np.isfinite(table["se"])]
    if not len(table):
        return [unchecked(name, "fates of too few cells are known", "name more known fates")]
    gap = table["predicted"] - table["observed"]
    beyond = (gap.abs() - _FORGIVEN * table["se"]).clip(lower=0.0)
    value = float(np.average(beyond, weights=table["n_cells"]))
    worst = table.loc[(beyond * table["n_cells"]).idxmax()]
    skill = float(scores["skill"])
    found = judged(
        name,
        value,
        _MISCALIBRATED,
        finding=f"off by {_PERCENT.format(value)} beyond chance, {_tendency(table)}; worst for "
        f"{worst['fate']!r}, {worst['observed']:.2f} where {worst['predicted']:.2f} was told",
        remedy="probabilities do not come true: see pl.fate_calibration; stochastic=False, true "
        "sizes as mass, or other terminal states",
    )
    if not math.isfinite(skill):
        return [found, unchecked("fates: skill", "all known fates are alike", "name others")]
    worth = judged(
        "fates: skill",
        skill,
        _SKILL,
        finding=f"{skill:.2f} beyond telling every cell the mean (1 is perfect)",
        remedy="fates of single cells say little; look at means of groups",
    )
    return [found, worth]


def _tendency(table: pd.DataFrame) -> str:
    """Say whether probabilities are too sure, from the slope of observed over predicted."""
    x = table["predicted"] - np.average(table["predicted"], weights=table["n_cells"])
    spread = float((table["n_cells"] * x**2).sum())
    if not spread > 0:
        return "all alike"
    slope = float((table["n_cells"] * x * table["observed"]).sum() / spread)
    if math.isclose(slope, 1.0, abs_tol=0.1):
        return f"neither too sure nor too cautious (slope {slope:.2f})"
    return f"too {'sure' if slope < 1 else 'cautious'} (slope {slope:.2f})"
