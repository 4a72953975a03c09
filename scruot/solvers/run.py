"""From snapshots to a fitted model, for any registered solver."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from scruot.dynamics.fields import Ensemble
from scruot.dynamics.model import Dynamics
from scruot.dynamics.snapshots import Scale, Snapshots
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.resample import Replicates, bootstrap_cells, bootstrap_replicates

_FORMAT = 1


@dataclass(frozen=True)
class FittedModel:
    """A model and everything that is known about its fit."""

    dynamics: Dynamics
    resolved: dict[str, float | str]
    history: dict[str, list[float]]
    quality: dict[str, float]


def fit_snapshots(
    snapshots: Snapshots,
    solver: Solver,
    params: Any,
    *,
    device: torch.device,
    n_models: int = 1,
    replicates: Replicates | None = None,
    random_state: int = 0,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> FittedModel:
    """Fit one model, or an ensemble on bootstrap samples of the cells or of replicates.

    Parameters
    ----------
    snapshots
        Clouds in the user's units.
    solver, params
        The method and its parameters.
    device
        Where to compute.
    n_models
        Members: each beyond one is fitted with its own seed on cells drawn with
        replacement, so that their spread shows what the sample leaves open.
    replicates
        Draw these, and not cells.
    random_state
        Seed of the first member.
    checkpoint
        File of the training state; member ``i`` appends ``.i`` to its stem.
    progress
        Whether to show bars.
    """
    scaled, scale = snapshots.standardised()
    mark = _fingerprint(scaled, scale, solver.name, params, replicates)
    fits: list[Fit] = []
    for member in range(n_models):
        seed = random_state + member
        clouds = _sample(scaled, replicates, seed) if n_models > 1 else scaled
        problem = Problem(
            snapshots=clouds.to(device),
            scale=scale,
            params=params,
            device=device,
            random_state=seed,
            checkpoint=_member_path(checkpoint, member, n_models),
            fingerprint=f"{mark}/{seed}/{n_models}/{device.type}",
            progress=progress,
            label=solver.name if n_models == 1 else f"{solver.name} {member + 1}/{n_models}",
        )
        fits.append(solver.fit(problem))
    field: nn.Module = fits[0].field if n_models == 1 else Ensemble([f.field for f in fits])
    dynamics = Dynamics(
        field,
        scale,
        method=solver.name,
        learns=solver.learns if fits[0].learns is None else fits[0].learns,
        times=snapshots.times,
        masses=snapshots.masses,
        sigma=fits[0].sigma,
        sigma_profile=fits[0].sigma_profile,
        device=device,
    )
    first = fits[0]
    return FittedModel(dynamics, dict(first.resolved), dict(first.history), dict(first.quality))


def to_arrays(dynamics: Dynamics) -> tuple[str, dict[str, np.ndarray]]:
    """Return a model as a JSON text and plain arrays."""
    field = dynamics.field
    members = list(field.members) if isinstance(field, Ensemble) else [field]
    spec = {
        "format": _FORMAT,
        "scale": asdict(dynamics.scale),
        "fields": [member.config for member in members],
        "times": list(dynamics.times),
        "masses": list(dynamics.masses),
        "sigma": dynamics.scaled_sigma,
        "sigma_profile": list(dynamics.sigma_profile),
        "learns": list(dynamics.learns),
    }
    weights = {k: v.detach().cpu().numpy() for k, v in field.state_dict().items()}
    return json.dumps(spec), weights


def from_arrays(
    solver: Solver, text: str, weights: dict[str, np.ndarray], device: torch.device
) -> Dynamics:
    """Rebuild a model from what :func:`to_arrays` returned.

    Raises
    ------
    ValueError
        When the text or the arrays are not of such a model.
    """
    try:
        spec = json.loads(text)
        if spec["format"] > _FORMAT:
            msg = (
                f"The model was written by a newer scruot (format {spec['format']}); update scruot."
            )
            raise ValueError(msg)
        members = [solver.build(config) for config in spec["fields"]]
        field: nn.Module = members[0] if len(members) == 1 else Ensemble(members)
        field.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
        scale = dict(spec["scale"], shift=tuple(spec["scale"]["shift"]))
        sigma = spec["sigma"]
        return Dynamics(
            field,
            Scale(**scale),
            method=solver.name,
            # models written before these two were stored have neither
            learns=tuple(spec.get("learns", solver.learns)),
            times=tuple(spec["times"]),
            masses=tuple(spec["masses"]),
            sigma=tuple(sigma) if isinstance(sigma, list) else sigma,
            sigma_profile=tuple(spec.get("sigma_profile", ())),
            device=device,
        )
    except (KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        what = " ".join(str(error).split())
        msg = f"The stored model is damaged or was not written by scruot ({what}); fit again."
        raise ValueError(msg) from error


def _sample(snapshots: Snapshots, replicates: Replicates | None, seed: int) -> Snapshots:
    if replicates is None:
        return bootstrap_cells(snapshots, seed)
    return bootstrap_replicates(snapshots, replicates, seed)


def _member_path(checkpoint: Path | None, member: int, n_models: int) -> Path | None:
    if checkpoint is None or n_models == 1:
        return checkpoint
    return checkpoint.with_name(f"{checkpoint.stem}.{member}{checkpoint.suffix}")


def _fingerprint(
    snapshots: Snapshots, scale: Scale, method: str, params: Any, replicates: Replicates | None
) -> str:
    # with the scale: parameters in the user's units mean something else in another unit
    parts = [method, asdict(params), asdict(scale), snapshots.times]
    digest = hashlib.sha256(json.dumps(parts).encode())
    for tensor in (*snapshots.x, *snapshots.weights, *snapshots.batch):
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    if replicates is not None:
        digest.update(b"given" if replicates.sizes_given else b"counted")
        for labels in replicates.labels:
            digest.update(labels.tobytes())
    return digest.hexdigest()
