"""Find a file of a data set: in ``SCRUOT_DATA_DIR``, in the cache, or at its public address."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pooch

from scruot.datasets._files import File, mismatch, sha256, verify
from scruot.datasets._registry import Entry

logger = logging.getLogger(__name__)

ENVIRONMENT = "SCRUOT_DATA_DIR"
# Some hosts (Mendeley Data among them) answer only to what looks like a browser.
_HEADERS = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) scruot"}
_TIMEOUT = 60.0


def data_dir() -> Path | None:
    """Return the folder named by ``SCRUOT_DATA_DIR``, if any."""
    named = os.environ.get(ENVIRONMENT, "")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        msg = (
            f"{ENVIRONMENT} is {named!r}, which is not a folder; expected a folder with data "
            "files. Create it, or unset the variable."
        )
        raise FileNotFoundError(msg)
    return folder


def cache_dir() -> Path:
    """Return where downloads go: ``SCRUOT_DATA_DIR`` if it can be written, else the cache."""
    folder = data_dir()
    if folder is not None and os.access(folder, os.W_OK):
        return folder
    return Path(pooch.os_cache("scruot"))


def find(file: File) -> Path | None:
    """Return a verified file that is already here, or ``None``."""
    folders = [folder for folder in (data_dir(), cache_dir()) if folder is not None]
    for folder in folders:
        path = folder / file.name
        if path.is_file():
            verify(path, file)
            return path
    return None


def downloader() -> Any:
    """Return the pooch downloader that is used for every address."""
    return pooch.HTTPDownloader(headers=_HEADERS, timeout=_TIMEOUT)


def download(file: File) -> Path:
    """Download a file into the cache and verify it there."""
    folder = cache_dir()
    logger.info("downloading %s to %s", file.url, folder)
    failed: str | None = None
    temporary = f"{file.name}.download"
    try:
        found = pooch.retrieve(
            file.url, known_hash=None, fname=temporary, path=folder, downloader=downloader()
        )
    except OSError as error:  # requests' exceptions are OSErrors
        failed = f"{type(error).__name__}: {error}"
    if failed is not None:
        msg = (
            f"Could not download {file.url} ({failed[:200]}). Expected a network connection and "
            f"a folder that can be written ({folder}). Connect and call again, or fetch the file "
            f"by other means, put it as {file.name} into a folder and name that folder in "
            f"{ENVIRONMENT}, or pass path=..."
        )
        raise ConnectionError(msg)
    return _accept(Path(found), file)


def _accept(path: Path, file: File) -> Path:
    """Give a download its final name, unless it is not what it should be."""
    found = sha256(path)
    if file.sha256 is None:
        logger.warning("no hash is known for %s: got sha256 %s, unchecked", file.url, found)
    elif found != file.sha256:
        path.unlink()
        raise ValueError(mismatch(f"a download from {file.url}", file, found))
    return path.replace(path.with_name(file.name))


def given(path: str | os.PathLike[str], *, folder: bool = False) -> Path:
    """Return a path given by the user, after checking that it exists."""
    found = Path(path).expanduser()
    if folder and not found.is_dir():
        msg = f"path is {str(path)!r}; expected a folder that exists. Check the spelling."
        raise FileNotFoundError(msg)
    if not folder and not found.is_file():
        msg = f"path is {str(path)!r}; expected a file that exists. Check the spelling."
        raise FileNotFoundError(msg)
    return found


def locate(entry: Entry, path: str | os.PathLike[str] | None = None) -> Path:
    """Return the one file of a data set.

    The order is: ``path`` (not checked); the prepared copy in ``SCRUOT_DATA_DIR``; the
    original there or in the cache; the download.

    Raises
    ------
    ValueError
        If a file's hash is not the expected one.
    FileNotFoundError
        If there is no file and no public address of a single file.
    ConnectionError
        If the download failed.
    """
    if path is not None:
        return given(path)
    candidates = ((entry.prepared,) if entry.prepared else ()) + entry.originals
    for file in candidates:
        found = find(file)
        if found is not None:
            return found
    for file in entry.originals:
        if file.url is not None:
            return download(file)
    raise FileNotFoundError(missing(entry))


def missing(entry: Entry) -> str:
    """Return the message for data that cannot be downloaded by one call."""
    files = ((entry.prepared,) if entry.prepared else ()) + entry.originals
    wanted = " or ".join(file.name for file in files)
    where = os.environ.get(ENVIRONMENT) or "not set"
    return (
        f"Found no file for {entry.name!r} ({ENVIRONMENT}: {where}; cache: {cache_dir()}); "
        f"expected {wanted}. There is no public address of a single file; the data are from "
        f"{entry.source} ({entry.reference}). Put {wanted} into a folder and name it in "
        f"{ENVIRONMENT}, or pass path=... with a file of your own in the layout that "
        f"scruot.datasets.{entry.name} documents."
    )
