"""Snapshots in which every cell changes few genes, with the genes known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA

from scruot._checks import whole
from scruot._messages import unknown
from scruot.datasets import _displacement_laws as laws
from scruot.datasets._checks import generator, positive
from scruot.datasets._displacement_laws import Array, Snapshot
from scruot.datasets._registry import ENTRIES

_KINDS = ("jumping", "continuum", "gradual", "uniform")
_NOISES = ("gaussian", "counts")
_IDLE = {"jumping": 0.5, "continuum": 0.5, "gradual": 0.5}
_MOST_LOG = 8.0  # of the mean of a Poisson count


def sparse_displacement(
    kind: str = "jumping",
    n_cells: int = 800,
    *,
    n_genes: int = 1000,
    n_times: int = 5,
    noise: str = "gaussian",
    composition: bool = False,
    effect: float = 1.0,
    growth: float = 0.0,
    idle_std: float | None = None,
    noise_std: float = 0.5,
    mean_count: float = 3.0,
    random_state: int | np.random.Generator = 0,
) -> AnnData:
    """Draw snapshots in which every cell changes few genes, and keep which.

    All kinds hide the displaced genes among others that vary more: ten idle factors on which
    nothing depends.

    Parameters
    ----------
    kind
        ``"jumping"``: two snapshots of eight cell types, each with ten own genes that jump between
        them, half of these shared with another type in which they jump the other way (a mean
        difference cancels). ``"continuum"``: no types but a continuum, along which forty genes
        are displaced in bumps. ``"gradual"``: several snapshots of two lineages that start as one
        and separate along thirty own genes each, while the idle factors, on three tenths of the
        genes, hold most of the variance. ``"uniform"``: the set of Chen et al., ``U[0, 1]``, with
        ``100 U[0, 1]`` added to a thirtieth of the genes and ``U[0, 1]`` to two thirds.
    n_cells
        Cells of each snapshot.
    n_genes
        Genes.
    n_times
        Snapshots of ``"gradual"``; the others have two.
    noise
        ``"gaussian"``, or ``"counts"``: Poisson counts; the genes are then ``ln(1 + count)``.
    composition
        Whether half of the types (or a part of the continuum) is rarer in the second snapshot, and
        the rest more frequent, so that whole populations differ where no gene is displaced.
    effect
        Size of the displacements, in units of natural logarithms; 0 displaces nothing.
    growth
        With ``"gradual"``: logarithm of how many times as frequent the first lineage is in the
        end.
    idle_std
        Standard deviation that the idle factors give to a gene; 0.5 by default.
    noise_std
        Standard deviation of Gaussian noise.
    mean_count
        Mean count of a gene.
    random_state
        Seed or generator; the same seed gives the same data.

    Returns
    -------
    AnnData (cells, n_genes) with

    * ``X``: the genes, float32; with counts ``layers["counts"]``.
    * ``obs["time"]``: 0.0, 1.0, ...; ``obs["cell_type"]``, ``obs["lineage"]`` or
      ``obs["position"]``.
    * ``layers["displacement_true"]``: sparse, what the genes of each cell change until the next
      snapshot; empty rows in the last.
    * ``var["displaced_true"]``, and ``var["lineage"]`` of ``"gradual"``.
    * ``obsm["X_pca"]``: 30 principal components of ``X`` (fewer of less data).
    * ``uns["dataset"]``: source, reference, licence.

    Raises
    ------
    ValueError
        For an unknown kind or noise, and numbers out of range.

    References
    ----------
    Chen, Xie and Zhang (2025), *Displacement-sparse neural optimal transport*, arXiv:2502.01889
    :cite:p:`chen2025disnot`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.sparse_displacement("jumping", n_cells=100, n_genes=200)
    >>> int(adata.var["displaced_true"].sum())
    60
    """
    if kind not in _KINDS:
        raise ValueError(unknown("kind", str(kind), _KINDS))
    if noise not in _NOISES:
        raise ValueError(unknown("noise", str(noise), _NOISES))
    whole("n_cells", n_cells, least=20)
    whole("n_genes", n_genes, least=laws.fewest_genes(kind))
    whole("n_times", n_times, least=2)
    std = _IDLE.get(kind, 0.0) if idle_std is None else idle_std
    for name, value in (("effect", effect), ("idle_std", std), ("noise_std", noise_std)):
        positive(name, value, zero=True)
    positive("mean_count", mean_count)
    if not np.isfinite(growth):
        msg = f"growth is {growth!r}; expected a finite number."
        raise ValueError(msg)
    rng = generator(random_state)
    if kind == "uniform":
        return _uniform(rng, n_cells, n_genes, effect)
    own = None
    size = (rng, n_cells, n_genes)
    if kind == "gradual":
        snapshots, own = laws.gradual(
            *size, n_times=n_times, effect=effect, growth=growth, idle_std=std
        )
    else:
        law = laws.jumping if kind == "jumping" else laws.continuum
        snapshots = law(*size, effect=effect, composition=composition, idle_std=std)
    mean = np.concatenate([s.mean for s in snapshots])
    layers = {}
    if noise == "counts":
        level = np.log(mean_count) - np.log(np.exp(snapshots[0].mean).mean())
        counts = rng.poisson(np.exp(np.minimum(mean + level, _MOST_LOG)))
        layers["counts"] = counts.astype(np.float32)
        genes = np.log1p(counts)
    else:
        genes = mean + noise_std * rng.standard_normal(mean.shape)
    adata = _assembled(genes, snapshots, _state(kind, snapshots))
    adata.layers.update(layers)
    if own is not None:
        lineage = np.full(n_genes, -1)
        for k, members in enumerate(own):
            lineage[members] = k
        adata.var["lineage"] = pd.Categorical.from_codes(lineage, pd.Index(["A", "B"]))
    return adata


def _state(kind: str, snapshots: list[Snapshot]) -> dict[str, object]:
    state = np.concatenate([s.state for s in snapshots])
    if kind == "continuum":
        return {"position": state}
    if kind == "gradual":
        return {"lineage": pd.Categorical.from_codes(state, pd.Index(["A", "B"]))}
    names = pd.Index([f"type{k + 1}" for k in range(laws.N_TYPES)])
    return {"cell_type": pd.Categorical.from_codes(state, names)}


def _uniform(rng: np.random.Generator, n: int, d: int, effect: float) -> AnnData:
    """Return the published set: the treated cells are the control cells, and more."""
    control = rng.random((n, d))
    order = rng.permutation(d)
    moved = order[: max(1, round(d / 30))]
    others = rng.permutation(d)[: round(2 * d / 3)]
    added = np.zeros((n, d))
    added[:, moved] = 100 * effect * rng.random((n, len(moved)))
    blur = np.zeros((n, d))
    blur[:, others] = rng.random((n, len(others)))
    snapshots = [
        Snapshot(0.0, control, added, np.zeros(n)),
        Snapshot(1.0, control + added + blur, 0.0 * added, np.zeros(n)),
    ]
    return _assembled(np.concatenate([s.mean for s in snapshots]), snapshots, {})


def _assembled(genes: Array, snapshots: list[Snapshot], state: dict[str, object]) -> AnnData:
    moves = csr_matrix(np.concatenate([s.displacement for s in snapshots]).astype(np.float32))
    n, d = genes.shape
    x = genes.astype(np.float32)
    time = np.concatenate([np.full(len(s.mean), s.time) for s in snapshots])
    # a fixed seed: the components are a function of the data
    pca = PCA(min(30, n, d), svd_solver="randomized", random_state=0)
    return AnnData(
        X=x,
        obs=pd.DataFrame({"time": time, **state}, index=[f"cell{i}" for i in range(n)]),
        var=pd.DataFrame(
            {"displaced_true": np.asarray(abs(moves).sum(axis=0)).ravel() > 0},
            index=[f"gene{j}" for j in range(d)],
        ),
        obsm={"X_pca": pca.fit_transform(x).astype(np.float32)},
        layers={"displacement_true": moves},
        uns={"dataset": ENTRIES["sparse_displacement"].provenance("")},
    )
