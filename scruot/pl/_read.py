"""What a picture needs from AnnData, and clear errors where it is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import Slots, basis_name, embedding_key, slots
from scruot._messages import did_you_mean, unknown
from scruot.io.store import fitted_times, read_record

__all__ = [
    "Fit",
    "cell_mask",
    "embedding",
    "evaluation",
    "fit",
    "matrix",
    "pick",
    "positions",
    "result",
    "time_labels",
    "time_text",
    "times_of",
    "vectors",
    "wanted_times",
]


@dataclass(frozen=True)
class Fit:
    """Names under which one fit left its results."""

    slots: Slots
    use_rep: str
    time_key: str

    @property
    def basis(self) -> str:
        """The fitted representation without its ``X_``."""
        return basis_name(self.use_rep)

    @property
    def key_argument(self) -> str:
        """What a remedy has to pass besides ``adata``."""
        return "" if self.slots == Slots() else f", key={self.slots.key!r}"


def fit(adata: AnnData, key: str | None) -> Fit:
    """Read which representation and which time column a fit used."""
    record = read_record(adata, key)
    return Fit(
        slots=slots(key),
        use_rep=str(record["representation"]["use_rep"]),
        time_key=str(record["params"]["time_key"]),
    )


def matrix(adata: AnnData, use_rep: str) -> NDArray[np.float64]:
    """Return a representation as a dense array, whatever it is stored as."""
    values: Any = adata.X if use_rep == "X" else adata.obsm[use_rep]
    if hasattr(values, "toarray"):
        values = values.toarray()
    return np.asarray(values, dtype=np.float64)


def embedding(adata: AnnData, fitted: Fit, basis: str | None) -> tuple[str, NDArray[np.float64]]:
    """Return the name of a basis (the fitted one by default) and every cell's position in it."""
    return positions(adata, fitted.use_rep, basis)


def positions(
    adata: AnnData, default: str | None, basis: str | None
) -> tuple[str, NDArray[np.float64]]:
    """Return the name of a basis and every cell's position in it.

    `default` is an ``obsm`` key; ``None`` where the result knows no representation, as an imported
    transport does not.
    """
    known = list(adata.obsm.keys())
    options = [basis_name(name) for name in known if name.startswith("X_")]
    use_rep = default if basis is None else embedding_key(basis, known)
    if use_rep is None:
        msg = f"Found basis=None for a result without a representation; name one of {options}."
        raise ValueError(msg)
    if use_rep != "X" and use_rep not in adata.obsm:
        msg = unknown("basis", basis_name(use_rep), options)
        raise KeyError(msg)
    return basis_name(use_rep), matrix(adata, use_rep)


def velocity(adata: AnnData, fitted: Fit, basis: str) -> NDArray[np.float64]:
    """Return the stored velocity in a basis, or say how to store it."""
    name = fitted.slots.velocity(basis)
    if name in adata.obsm:
        return matrix(adata, name)
    if basis == fitted.basis:
        remedy = f"Run scruot.tl.fit_dynamics(adata, use_rep={fitted.use_rep!r}) first."
    else:
        remedy = (
            f"The fit is in {fitted.basis!r}: run "
            f"scruot.tl.project_velocity(adata, basis={basis!r}{fitted.key_argument}) first."
        )
    msg = f"Found no velocity in the basis {basis!r} (adata.obsm[{name!r}] is missing). {remedy}"
    raise KeyError(msg)


def vectors(adata: AnnData, fitted: Fit, basis: str, field: str) -> NDArray[np.float64]:
    """Return the stored velocity, drift or score in a basis, or say what is in the way."""
    kinds = {"drift": fitted.slots.drift, "score": fitted.slots.score}
    if field == "velocity":
        return velocity(adata, fitted, basis)
    if field not in kinds:
        raise ValueError(unknown("field", field, ("velocity", *kinds)))
    name = kinds[field](basis)
    if name in adata.obsm:
        return matrix(adata, name)
    if basis != fitted.basis:
        remedy = f"Only the velocity can be projected: draw it in basis={fitted.basis!r}."
    else:
        remedy = (
            "Models with noise have one: run scruot.tl.fit_dynamics(adata, method, sigma=...) "
            "with a method such as 'deepruot' or 'varruot' first."
        )
    msg = f"Found no {field} in the basis {basis!r} (adata.obsm[{name!r}] is missing). {remedy}"
    raise KeyError(msg)


def pick(values: NDArray[np.float64], components: Sequence[int], what: str) -> NDArray[np.float64]:
    """Return the two columns to draw; `components` count from 1, as the axes' labels do."""
    chosen = tuple(components)
    n_dims = values.shape[1]
    valid = len(chosen) == 2 and chosen[0] != chosen[1] and min(chosen) >= 1
    if not valid or max(chosen) > n_dims:
        msg = (
            f"Found components={chosen} for {what}, which has {n_dims} dimension(s). "
            f"Expected two different numbers from 1 to {n_dims}."
        )
        raise ValueError(msg)
    return values[:, [chosen[0] - 1, chosen[1] - 1]]


def times_of(adata: AnnData, fitted: Fit) -> NDArray[np.float64]:
    """Return the time of every cell in the user's unit."""
    return fitted_times(adata, read_record(adata, fitted.slots.key))


def time_labels(adata: AnnData, fitted: Fit) -> dict[float, str]:
    """Return the observed times, early to late, each with the label that the user gave it."""
    numbers = times_of(adata, fitted)
    unique, first = np.unique(numbers, return_index=True)
    labels = adata.obs[fitted.time_key].iloc[first]
    return {
        float(t): label if isinstance(label, str) else time_text(t)
        for t, label in zip(unique, labels, strict=True)
    }


def time_text(time: float) -> str:
    """Return a time as it is written in a picture: 1/3 is "0.333"."""
    return f"{time:.3g}" if abs(time) < 1 else f"{round(time, 3):g}"


def cell_mask(adata: AnnData, fitted: Fit, times: Iterable[Any] | None) -> NDArray[np.bool_]:
    """Mark the cells of some times, given as numbers or by their labels."""
    if times is None:
        return np.ones(adata.n_obs, dtype=bool)
    shown = wanted_times(time_labels(adata, fitted), times, "cells")
    return np.isin(times_of(adata, fitted), shown)


def wanted_times(
    labels: Mapping[float, str], times: Iterable[Any] | None, what: str
) -> list[float]:
    """Return times that are given as numbers or by their labels, as they are asked for; or all.

    Raises
    ------
    ValueError
        For times that are none of them, or none at all.
    """
    if times is None:
        return list(labels)
    known: dict[Any, float] = {t: t for t in labels} | {name: t for t, name in labels.items()}
    asked = [times] if isinstance(times, str) or np.isscalar(times) else list(times)
    lost = [time for time in asked if time not in known]
    if lost or not asked:
        names = list(labels.values())
        hint = did_you_mean(str(lost[0]), names) if lost else ""
        msg = f"Found no {what} at times={lost or asked}; expected some of {names}.{hint}"
        raise ValueError(msg)
    return [known[time] for time in asked]


def evaluation(adata: AnnData, fitted: Fit, entry: str) -> Any:
    """Return one entry of what ``tl.evaluate`` stored, or say how to store it."""
    groupby = ", groupby=..." if entry == "groups" else ""
    stored = adata.uns.get(fitted.slots.evaluation, {})
    if entry not in stored:
        msg = (
            f"Found no {entry!r} in adata.uns[{fitted.slots.evaluation!r}]. "
            f"Run scruot.tl.evaluate(adata{groupby}{fitted.key_argument}) first."
        )
        raise KeyError(msg)
    return stored[entry]


def result(adata: AnnData, name: str, key: str | None, call: str) -> Mapping[str, Any]:
    """Return what a tool has stored in ``uns``, or say how to store it.

    Parameters
    ----------
    adata
        The object.
    name
        Slot without a prefix.
    key
        ``key_added`` of the result, or of the fit that it is about.
    call
        The tool with its first arguments, up to where ``key_added`` goes.
    """
    slot = slots(key).table(name)
    stored = adata.uns.get(slot)
    if not isinstance(stored, Mapping) or "table" not in stored:
        others = [k for k in adata.uns if str(k).endswith(name)]
        asked = "" if key is None else f", key_added={key!r}"
        msg = (
            f"Found no adata.uns[{slot!r}].{did_you_mean(slot, others)} Run "
            f"scruot.tl.{call}{asked}) first."
        )
        raise KeyError(msg)
    return stored
