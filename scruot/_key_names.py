"""How the names of slots are made, and checked."""

from __future__ import annotations


def basis_name(use_rep: str) -> str:
    """Return the basis of a representation: ``"X_pca"`` gives ``"pca"``."""
    return use_rep.removeprefix("X_")


def embedding_key(basis: str, obsm_keys: list[str]) -> str:
    """Return the ``obsm`` key of a basis given as ``"pca"`` or as ``"X_pca"``."""
    if basis in obsm_keys:
        return basis
    return f"X_{basis}"


def velocity_genes(layer: str) -> str:
    """Return the ``var`` column that tells which genes of a layer have a velocity."""
    return f"{layer}_genes"


def checked_key(key: object) -> str:
    """Return a key.

    Raises
    ------
    ValueError
        For a key that h5ad cannot hold.
    """
    if not isinstance(key, str) or not key or "/" in key:
        msg = f"Found the key {key!r}; expected a name, not empty and without '/', as in h5ad."
        raise ValueError(msg)
    return key
