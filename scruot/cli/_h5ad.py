"""h5ad files without their matrices: what a step reads, and the slots it adds.

A step needs ``obs``, ``obsm`` and ``uns``. ``X``, ``layers``, ``raw`` and the rest are never
loaded: the output is a copy of the input file in which the changed slots are replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, write_elem

from scruot._keys import slots, transport_slots
from scruot.cli._files import replacing

__all__ = ["Cells", "read", "read_fitted"]


@dataclass(frozen=True)
class Cells:
    """A file and what was read of it.

    Parameters
    ----------
    path
        The file.
    adata
        Its ``obs``, ``obsm`` and ``uns``; a step may change them.
    obs, obsm, uns
        The same as they are in the file.
    """

    path: Path
    adata: AnnData
    obs: pd.DataFrame
    obsm: Mapping[str, Any]
    uns: Mapping[str, Any]

    def save(self, output: Path) -> None:
        """Write the whole input file with the changed slots; ``output`` may be the input.

        Raises
        ------
        ValueError
            When the input no longer holds the cells that were read.
        OSError
            When it cannot be written.
        """
        columns = {str(k): v.values for k, v in self.adata.obs.items()}
        same = {k for k in columns if k in self.obs and self.obs[k].equals(self.adata.obs[k])}
        changes: dict[str, tuple[dict[str, Any], set[str]]] = {
            "obs": (
                {k: v for k, v in columns.items() if k not in same},
                {str(k) for k in self.obs if k not in same},
            ),
            "obsm": _changes(self.obsm, dict(self.adata.obsm)),
            "uns": _changes(self.uns, dict(self.adata.uns)),
        }
        with replacing(output) as temporary:
            shutil.copyfile(self.path, temporary)
            with h5py.File(temporary, "r+") as file:
                self._check_cells(file)
                for name, (new, old) in changes.items():
                    _replace(file, name, new, old)
                # h5py keeps arrays short of 64 kB in an attribute, like anndata itself
                file["obs"].attrs["column-order"] = list(columns)

    def _check_cells(self, file: h5py.File) -> None:
        names = read_elem(file["obs"][file["obs"].attrs["_index"]])
        if not np.array_equal(np.asarray(names, dtype=str), self.obs.index.to_numpy(dtype=str)):
            msg = f"{self.path} has other cells than when it was read; run the step again."
            raise ValueError(msg)


def read(path: Path, *, use_rep: str | None = None, key: str | None = None) -> Cells:
    """Read ``obs``, ``obsm`` and ``uns``, and ``X`` only where it is the representation.

    Parameters
    ----------
    path
        The file.
    use_rep
        The representation; by default that of the fit or of the transport, if the file has one.
    key
        ``key_added`` of that.

    Raises
    ------
    OSError, ValueError
        When the file is not there, is damaged, or is no h5ad file.
    """
    with _opened(path) as file:
        return _read(path, file, use_rep or _stored_representation(file, key))


def read_fitted(path: Path, key: str | None, *, genes: Collection[str] = ()) -> Cells:
    """Read what :func:`read` reads of a file that holds a fit, in the fit's representation.

    Parameters
    ----------
    path
        The file.
    key
        ``key_added`` of the fit.
    genes
        What else is needed: of ``"X"``, ``"layers"``, ``"varm"``.
    """
    with _opened(path) as file:
        return _read(path, file, _stored_representation(file, key), genes)


def _stored_representation(file: h5py.File, key: str | None) -> str | None:
    """Return the representation of a fit, or else of a transport."""
    fit, transport = slots(key).uns, transport_slots(key).uns
    for name in (f"uns/{fit}/representation/use_rep", f"uns/{transport}/params/use_rep"):
        if name in file:
            return str(read_elem(file[name]))
    return None


def _opened(path: Path) -> h5py.File:
    if path.is_dir():
        msg = f"{path} is a folder; expected an h5ad file."
        raise IsADirectoryError(msg)
    if not path.exists():
        msg = f"{path} does not exist; expected an h5ad file."
        raise FileNotFoundError(msg)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        msg = f"Cannot read {path} as h5ad: {error}. Is the file complete?"
        raise OSError(msg) from error


def _read(path: Path, file: h5py.File, use_rep: str | None, genes: Collection[str] = ()) -> Cells:
    if not isinstance(file.get("obs"), h5py.Group):
        what = (
            "its obs is in the format of anndata before 0.7" if "obs" in file else "it has no obs"
        )
        msg = f"{path} is no h5ad file that scruot reads ({what}); write it again with anndata."
        raise ValueError(msg)
    try:
        parts = {k: read_elem(file[k]) if k in file else {} for k in ("obs", "obsm", "uns")}
        more = {*genes, *(["X"] if use_rep == "X" and "X" in file else [])}
        if more:
            parts |= {k: read_elem(file[k]) for k in sorted(more | {"var"}) if k in file}
    except (OSError, RuntimeError) as error:
        msg = f"Cannot read {path}: {error}. The file is damaged."
        raise OSError(msg) from error
    adata = AnnData(**parts)
    return Cells(path, adata, adata.obs.copy(), dict(adata.obsm), dict(adata.uns))


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Return what is new, and the names of what has to go; nothing is changed in place."""
    new = {k: v for k, v in after.items() if before.get(k) is not v}
    return new, {k for k in before if k in new or k not in after}


def _replace(file: h5py.File, name: str, new: Mapping[str, Any], old: set[str]) -> None:
    if name not in file:
        write_elem(file, name, {})
    # delete first: HDF5 then uses the space again
    for key in old:
        del file[name][key]
    for key, value in new.items():
        write_elem(file[name], key, value)
