"""Output that is there in full or not at all, and refused before anything is computed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_file", "check_folder", "replacing"]


def check_file(path: Path) -> None:
    """Refuse an output file that could not be written.

    Raises
    ------
    OSError
        When its folder is not there or cannot be written to, or it is a folder itself.
    """
    if path.is_dir():
        msg = f"Cannot write {path}: it is a folder; expected the name of a file."
        raise IsADirectoryError(msg)
    _try_writing(path.resolve().parent, f"Cannot write {path}")


def check_folder(path: Path) -> None:
    """Make an output folder, or refuse one that could not be written to.

    Raises
    ------
    OSError
        When it is a file, or cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"Cannot write into {path}: it, or what it should lie in, is a file and no folder."
        raise NotADirectoryError(msg) from error
    _try_writing(path, f"Cannot write into {path}")


def _try_writing(folder: Path, what: str) -> None:
    if not folder.exists():
        msg = f"{what}: the folder {folder} does not exist; make it first."
        raise FileNotFoundError(msg)
    if not folder.is_dir():
        msg = f"{what}: {folder} is a file and no folder."
        raise NotADirectoryError(msg)
    try:
        # permissions tell too little: file systems may be read-only or full
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"{what}: {error.strerror} in {folder}."
        raise OSError(msg) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that takes its place at the end, if all is well."""
    # behind a link is the file that is meant
    target = path.resolve()
    # the suffix stays last: it may name the format
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
