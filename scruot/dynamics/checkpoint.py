"""Checkpoints of a training run as plain ``npz`` files; nothing in them is executable."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass
class State:
    """Everything that a resumed run needs to end as an uninterrupted one."""

    step: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=lambda: {"step": [], "value": []})
    average: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_value: float = math.inf
    stale: int = 0


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    generator: torch.Generator,
    state: State,
    fingerprint: str,
) -> None:
    """Write everything that a resumed run needs, under a temporary name first."""
    arrays: dict[str, np.ndarray] = {"generator": generator.get_state().cpu().numpy()}
    for name, value in model.state_dict().items():
        arrays[f"model/{name}"] = value.detach().cpu().numpy()
    for i, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            for slot, value in slots.items():
                arrays[f"optimizer/{i}/{index}/{slot}"] = torch.as_tensor(value).cpu().numpy()
    for part in ("average", "best"):
        for name, value in getattr(state, part).items():
            arrays[f"{part}/{name}"] = value.cpu().numpy()
    for part in ("history", "validation"):
        for name, value in getattr(state, part).items():
            arrays[f"{part}/{name}"] = np.asarray(value, dtype=np.float64)
    scalars = {k: getattr(state, k) for k in ("step", "best_value", "stale")}
    arrays["meta"] = np.array(json.dumps({"fingerprint": fingerprint, **scalars}))
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    generator: torch.Generator,
    fingerprint: str,
) -> State:
    """Restore model, optimisers and generator in place, and return the state."""
    groups = _read(path)
    meta = json.loads(str(groups["meta"]))
    if meta["fingerprint"] != fingerprint:
        msg = (
            f"The checkpoint {path} belongs to other data or other parameters; "
            "delete it or give another path."
        )
        raise ValueError(msg)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in groups["model"].items()})
    generator.set_state(torch.from_numpy(groups["generator"]))
    for i, optimizer in enumerate(optimizers):
        saved: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in groups["optimizer"].items():
            number, index, slot = name.split("/")
            if int(number) == i:
                saved.setdefault(int(index), {})[slot] = torch.from_numpy(value)
        optimizer.load_state_dict(
            {"state": saved, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    device = next(model.parameters()).device

    def tensors(part: str) -> dict[str, Tensor]:
        return {k: torch.from_numpy(v).to(device) for k, v in groups.get(part, {}).items()}

    def lists(part: str) -> dict[str, list[float]]:
        return {k: v.tolist() for k, v in groups.get(part, {}).items()}

    return State(
        step=meta["step"],
        history=lists("history"),
        validation=lists("validation"),
        average=tensors("average"),
        best=tensors("best"),
        best_value=meta["best_value"],
        stale=meta["stale"],
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            flat = {name: file[name] for name in file.files}
        if not {"meta", "generator"} <= flat.keys():
            msg = f"found arrays {sorted(flat)[:5]}"
            raise ValueError(msg)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, AttributeError, TypeError) as error:
        msg = f"{path} is not a readable checkpoint ({error}); delete it or give another path."
        raise ValueError(msg) from error
    groups: dict[str, Any] = {}
    for name, value in flat.items():
        head, _, tail = name.partition("/")
        if tail:
            groups.setdefault(head, {})[tail] = value
        else:
            groups[head] = value
    return groups
