"""A file of a data set and how it is checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pooch


@dataclass(frozen=True)
class File:
    """A file by name.

    Parameters
    ----------
    name
        Name in ``SCRUOT_DATA_DIR`` and in the cache.
    sha256
        Expected hash; ``None`` where the source publishes none.
    url
        Public address; ``None`` where the file has to be placed by hand.
    reported
        Whether the hash was taken from third-party code instead of a download of ours.
    """

    name: str
    sha256: str | None
    url: str | None = None
    reported: bool = False


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file."""
    return str(pooch.file_hash(str(path), alg="sha256"))


def mismatch(where: str, file: File, found: str) -> str:
    """Return the message for a file that is not what it should be."""
    doubt = " (as reported by third-party code, not confirmed by us)" if file.reported else ""
    return (
        f"Found {where} with sha256 {found}, but expected {file.sha256}{doubt}: the file is "
        "damaged, or its source has changed it. Delete the file and call again, or point the "
        "loader at a local copy that you trust with path=..., which is not checked."
    )


def verify(path: Path, file: File) -> None:
    """Raise ``ValueError`` if a file is not what it should be; no hash known, no check."""
    if file.sha256 is None:
        return
    found = sha256(path)
    if found != file.sha256:
        raise ValueError(mismatch(f"{path}", file, found))
