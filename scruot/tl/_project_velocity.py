"""Carry a fitted velocity into an embedding that was not fitted."""

from __future__ import annotations

import logging
import numbers
from dataclasses import dataclass
from typing import Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from scruot._checks import whole
from scruot._keys import basis_name, embedding_key, slots
from scruot.io.representation import read_representation
from scruot.io.store import check_writable, fitted_representation, read_record, writable
from scruot.tl._genes import stored_velocity

logger = logging.getLogger(__name__)

# Rows worked on at once: bounds the memory of neighbours times dimensions.
_ROWS = 4096
# Above this, exact neighbours cost more than everything else together.
_EXACT_UP_TO = 100_000
_TINY = np.finfo(np.float32).tiny


def project_velocity(
    adata: AnnData,
    basis: str = "umap",
    *,
    key: str | None = None,
    n_neighbors: int = 30,
    softmax_scale: float | Literal["auto"] = "auto",
    copy: bool = False,
) -> AnnData | None:
    r"""Project a fitted velocity onto another embedding, for pictures.

    An embedding such as UMAP has no formula that a velocity could be pushed through. Instead each
    cell `i` is given transition probabilities to its neighbours `j` in the fitted representation,

    .. math:: p_{ij} \propto \exp(\kappa \cos(v_i, x_j - x_i)), \qquad \sum_j p_{ij} = 1,

    and its arrow is the mean of the unit vectors :math:`\hat e_{ij}` towards the neighbours in the
    embedding, less what random steps to the same neighbours would give [1]_, [2]_:

    .. math:: a_i = c \, |v_i| \sum_j (p_{ij} - \tfrac1k) \, \hat e_{ij}.

    One factor `c` for all cells turns lengths into units of the embedding per unit of time: the
    median ratio of distances between neighbours in the embedding and in the representation, over
    the median of the same sum taken along `v_i` in the representation. So lengths can be compared
    between cells: an arrow is long where the cell is fast and its neighbours in the embedding
    agree where that leads, and short where the embedding cannot show the movement.

    Parameters
    ----------
    adata
        Annotated data with a fit and the embedding.
    basis
        The embedding, as ``"umap"`` or ``"X_umap"``.
    key
        ``key_added`` of the fit.
    n_neighbors
        Neighbours of each cell. Cells at the very same point count once.
    softmax_scale
        The sharpness :math:`\kappa`; ``"auto"`` takes one over the median of the cosines'
        absolute values.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    ``None``, or the copy. Writes

    ``adata.obsm["velocity_<basis>"]`` : float32 array of shape (n, d)
        The arrows, with as many dimensions as the embedding. A new fit under the same key takes
        them away.
    ``adata.uns["dynamics"]["projection"]["<basis>"]`` : dict
        ``n_neighbors``, ``softmax_scale`` and ``length_scale`` (`c`) as used.

    Raises
    ------
    KeyError
        When there is no fit, no velocity, or no such embedding.
    ValueError
        When the embedding is the fitted representation or holds missing values, or a parameter
        is out of range.

    References
    ----------
    .. [1] La Manno et al. (2018), RNA velocity of single cells. Nature 560 :cite:p:`lamanno2018`.
    .. [2] Bergen et al. (2020), Generalizing RNA velocity to transient cell states through
       dynamical modeling. Nature Biotechnology 38 :cite:p:`bergen2020`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> adata.obsm["X_turned"] = adata.obsm["X_genes"][:, ::-1].copy()
    >>> scruot.tl.project_velocity(adata, basis="turned")
    >>> adata.obsm["velocity_turned"].shape == (adata.n_obs, 2)
    True
    """
    _check_parameters(n_neighbors, softmax_scale)
    check_writable(adata, copy=copy)
    names = slots(key)
    record = read_record(adata, key)
    fitted_rep = str(record["representation"]["use_rep"])
    target_rep = embedding_key(basis, list(adata.obsm.keys()))
    if target_rep == fitted_rep:
        msg = (
            f"Found basis={basis!r}, which is the fitted representation: its velocity is already "
            f"in adata.obsm[{names.velocity(basis_name(fitted_rep))!r}]. Expected another basis."
        )
        raise ValueError(msg)
    target = read_representation(adata, target_rep)
    x = fitted_representation(adata, record)
    v = stored_velocity(adata, names, basis_name(fitted_rep), x.shape)
    neighbors = _neighbors(x, n_neighbors)
    cosine, distance = _cosines(x, v, neighbors)
    sharpness = _sharpness(softmax_scale, cosine, neighbors.valid)
    weight = _signed_weights(cosine, neighbors.valid, sharpness)
    speed = np.linalg.norm(v, axis=1)
    arrows, length_scale = _arrows(target, speed, neighbors, weight, cosine, distance)
    adata = writable(adata, copy=copy)
    name = basis_name(target_rep)
    adata.obsm[names.velocity(name)] = arrows.astype(np.float32)
    used = {"n_neighbors": n_neighbors, "softmax_scale": sharpness, "length_scale": length_scale}
    projections = {**record.get("projection", {}), name: used}
    adata.uns[names.uns] = {**record, "projection": projections}
    return adata if copy else None


@dataclass(frozen=True)
class _Neighbors:
    """Neighbours of each cell among the distinct points, as (n, k) arrays.

    Attributes
    ----------
    index
        A cell at each neighbouring point.
    valid
        False for the cell's own point.
    """

    index: NDArray[np.int64]
    valid: NDArray[np.bool_]


def _check_parameters(n_neighbors: int, softmax_scale: float | Literal["auto"]) -> None:
    whole("n_neighbors", n_neighbors, least=2)
    number = isinstance(softmax_scale, numbers.Real)
    if softmax_scale != "auto" and not (number and 0 < softmax_scale < np.inf):
        msg = f"Found softmax_scale={softmax_scale!r}; expected a number above 0, or 'auto'."
        raise ValueError(msg)


def _neighbors(x: NDArray[np.float32], n_neighbors: int) -> _Neighbors:
    """Search among distinct points: a duplicate says nothing about a direction."""
    _, first, inverse = np.unique(x, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    k = min(n_neighbors + 1, len(first))
    points = x[first]
    if len(points) <= _EXACT_UP_TO:
        index = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(x, return_distance=False)
    else:
        # Imported late: it compiles at import and is needed for large data only.
        from pynndescent import NNDescent

        index = NNDescent(points, n_neighbors=k, random_state=0).neighbor_graph[0][inverse]
    return _Neighbors(first[index], index != inverse[:, None])


def _unit(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return directions and lengths; a vector of length zero has the direction zero."""
    length = np.linalg.norm(vectors, axis=-1)
    return vectors / np.maximum(length, _TINY)[..., None], length


def _cosines(
    x: NDArray[np.float32], v: NDArray[np.float32], neighbors: _Neighbors
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cosines between velocities and ways to neighbours, and their lengths: (n, k) each."""
    cosine = np.empty(neighbors.index.shape, dtype=np.float32)
    distance = np.empty_like(cosine)
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        way, distance[rows] = _unit(x[neighbors.index[rows]] - x[rows, None])
        cosine[rows] = np.einsum("nkd,nd->nk", way, _unit(v[rows])[0])
    return cosine, distance


def _sharpness(
    asked: float | Literal["auto"], cosine: NDArray[np.float32], valid: NDArray[np.bool_]
) -> float:
    if asked != "auto":
        return float(asked)
    usual = float(np.median(np.abs(cosine[valid]))) if valid.any() else 0.0
    found = 1.0 / usual if usual > 0 else 1.0
    logger.info("project_velocity: 'auto' became softmax_scale = %.4g", found)
    return found


def _signed_weights(
    cosine: NDArray[np.float32], valid: NDArray[np.bool_], sharpness: float
) -> NDArray[np.float32]:
    """Return transition probabilities less those of random steps, shape (n, k)."""
    n_valid = np.maximum(valid.sum(1, keepdims=True), 1)
    # The largest exponent is 0, so nothing overflows.
    probability = np.where(valid, np.exp(sharpness * (cosine - 1.0)), 0.0)
    probability /= np.maximum(probability.sum(1, keepdims=True), _TINY)
    return (probability - valid / n_valid).astype(np.float32)


def _arrows(
    target: NDArray[np.float32],
    speed: NDArray[np.float32],
    neighbors: _Neighbors,
    weight: NDArray[np.float32],
    cosine: NDArray[np.float32],
    distance: NDArray[np.float32],
) -> tuple[NDArray[np.float32], float]:
    """Return the arrows, shape (n, m), and the factor that gives them their unit."""
    way, length = _unit(target[neighbors.index] - target[:, None])
    direction = np.einsum("nk,nkm->nm", weight, way)
    # What the same sum amounts to where every neighbour lies as the velocity sees it.
    along = np.einsum("nk,nk->n", weight, cosine)[speed > 0]
    ratio = length[neighbors.valid] / distance[neighbors.valid]
    usual = float(np.median(along)) if along.size else 0.0
    scale = float(np.median(ratio)) / usual if usual > 0 else 0.0
    return scale * speed[:, None] * direction, scale
