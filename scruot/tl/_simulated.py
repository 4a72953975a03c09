"""Simulated cells as AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scruot._keys import FATE, ORIGIN, SIMULATION, group_colors_key
from scruot.dynamics.simulate import Trajectories
from scruot.tl._classify import Classifier
from scruot.tl._express import Expresser
from scruot.tl._start import Beginning


@dataclass(frozen=True)
class Labels:
    """How simulated cells get the groups of a column.

    Parameters
    ----------
    groupby
        Name of the column.
    names
        Its groups.
    classify
        Gives the probability of each group at a time.
    """

    groupby: str
    names: list[str]
    classify: Classifier


def as_anndata(
    adata: AnnData,
    run: Trajectories,
    chosen: Beginning,
    settings: dict[str, Any],
    *,
    labels: Labels | None = None,
    express: Expresser | None = None,
) -> AnnData:
    """Return one row per simulated cell and time, time by time."""
    n_times, n, dim = run.x.shape
    obs = pd.DataFrame(
        {
            "time": np.repeat(run.times.numpy(), n),
            "weight": run.weights.double().numpy().ravel(),
            "start_cell": pd.Categorical(np.tile(chosen.names, n_times)),
            "trajectory": np.tile(np.arange(n), n_times),
        },
        index=[f"trajectory{i}_time{k}" for k in range(n_times) for i in range(n)],
    )
    uns: dict[str, Any] = {SIMULATION: settings}
    if labels is not None:
        end = ORIGIN if settings["direction"] == "backward" else FATE
        group = _groups(run, labels)
        obs[labels.groupby] = pd.Categorical.from_codes(group.ravel(), pd.Index(labels.names))
        obs[end] = pd.Categorical.from_codes(np.tile(group[-1], n_times), pd.Index(labels.names))
        uns |= _colors(adata, labels, end)
    states = run.x.numpy().astype(np.float32).reshape(n_times * n, dim)
    use_rep = settings["use_rep"]
    if use_rep == "X":
        var = pd.DataFrame(index=adata.var_names[:dim])
        return AnnData(states, obs=obs, var=var, uns=uns)
    if express is None:
        return AnnData(obs=obs, obsm={use_rep: states}, uns=uns)
    settings["genes_via"] = express.via
    var = pd.DataFrame(index=pd.Index(express.genes))
    return AnnData(express(states), obs=obs, var=var, obsm={use_rep: states}, uns=uns)


def _groups(run: Trajectories, labels: Labels) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the likeliest group of every particle at every time, shape (T, n)."""
    each = [
        labels.classify.at(float(t), x.numpy()).argmax(axis=1)
        for t, x in zip(run.times, run.x, strict=True)
    ]
    return np.stack(each).astype(np.int64)


def _colors(adata: AnnData, labels: Labels, end: str) -> dict[str, Any]:
    """Return the stored colours of the groups under the names of both columns."""
    stored = adata.uns.get(group_colors_key(labels.groupby))
    column = adata.obs[labels.groupby].astype("category")
    if stored is None or len(stored) < len(column.cat.categories):
        return {}
    known = dict(zip(map(str, column.cat.categories), map(str, stored), strict=False))
    colors = np.array([known[name] for name in labels.names], dtype=object)
    return {group_colors_key(labels.groupby): colors, group_colors_key(end): colors.copy()}
