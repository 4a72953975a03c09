"""Coordinates of every kind, and whether they are still what they were."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scruot.io.representation import (
    check_unchanged,
    fingerprint,
    read_representation,
    require_variation,
)

X = np.random.default_rng(0).normal(size=(8, 5))
NAMES = pd.Index([f"c{i}" for i in range(8)])

FORMS = {
    "float32": X.astype(np.float32),
    "float64": X,
    "fortran": np.asfortranarray(X),
    "frame": pd.DataFrame(X, index=NAMES, columns=list("abcde")),
    "csr": sparse.csr_matrix(X),
    "csc array": sparse.csc_array(X),
}


def holding(values):
    adata = AnnData(np.zeros((8, 2), dtype=np.float32), obs=pd.DataFrame(index=NAMES))
    adata.obsm["X_pca"] = values
    return adata


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    x = read_representation(holding(FORMS[form]), "X_pca")
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, X.astype(np.float32))
    first = read_representation(holding(FORMS[form]), "X_pca", 2)
    np.testing.assert_array_equal(first, X[:, :2].astype(np.float32))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_the_matrix_itself(kind):
    adata = AnnData(kind(X.astype(np.float32)), obs=pd.DataFrame(index=NAMES))
    np.testing.assert_array_equal(read_representation(adata, "X"), X.astype(np.float32))


def test_integers():
    adata = holding(np.arange(16).reshape(8, 2))
    assert read_representation(adata, "X_pca").dtype == np.float32


def test_no_such_representation():
    message = r"No representation 'X_pcs' in obsm \(found \['X_pca'\].*Did you mean 'X_pca'\?"
    with pytest.raises(KeyError, match=message):
        read_representation(holding(X), "X_pcs")


@pytest.mark.parametrize(
    ("name", "maker"), [("X_umap", "scanpy.tl.umap"), ("X_scVI", "scanpy.pp.pca")]
)
def test_what_makes_a_representation_is_named(name, maker):
    adata = holding(X)[:, :0].copy()  # without genes 'X' is no way out
    with pytest.raises(KeyError, match=rf"{name}.*compute it first, e\.g\. with .*{maker},"):
        read_representation(adata, name)
    with pytest.raises(KeyError, match=r"\(found \['X_pca'\]\)"):
        read_representation(adata, name)


@pytest.mark.parametrize("n_dims", [0, 6, -1, 2.5, "3", 2.0])
def test_wrong_number_of_dimensions(n_dims):
    with pytest.raises(ValueError, match="expected a whole number from 1 to 5"):
        read_representation(holding(X), "X_pca", n_dims)


def test_numpy_integers_are_numbers():
    assert read_representation(holding(X), "X_pca", np.int64(3)).shape == (8, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e60])
def test_not_finite(bad):
    x = X.copy()
    x[3, 1] = bad
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 cells \(first: 'c3'\)"):
        read_representation(holding(x), "X_pca")


def test_words_are_no_coordinates():
    frame = pd.DataFrame({"a": list("abcdefgh")}, index=NAMES)
    with pytest.raises(ValueError, match="expected numbers"):
        read_representation(holding(frame), "X_pca")


def test_variation():
    require_variation(np.array([[1.0, 2.0], [1.0, 2.1]], dtype=np.float32), "X_pca")
    with pytest.raises(ValueError, match="All cells have the same coordinates in 'X_pca'"):
        require_variation(np.ones((4, 2), dtype=np.float32), "X_pca")


# fingerprints


@pytest.fixture(params=[0.0, 1e5], ids=["at zero", "far off"])
def cloud(request):
    return (X + request.param).astype(np.float32)


def test_unchanged(cloud):
    stored = fingerprint(cloud, NAMES)
    check_unchanged(cloud, NAMES, stored, "X_pca")
    order = [3, 1, 7, 0]
    check_unchanged(cloud[order], NAMES[order], stored, "X_pca")
    check_unchanged(cloud[:0], NAMES[:0], stored, "X_pca")


def test_new_cells_are_not_compared(cloud):
    stored = fingerprint(cloud[:4], NAMES[:4])
    other = cloud.copy()
    other[4:] += 1
    check_unchanged(other, NAMES, stored, "X_pca")


CHANGES = {
    "values": lambda x: x + np.float32(0.5),
    "scale": lambda x: 1.01 * x,
    "permuted columns": lambda x: x[:, [1, 0, 2, 3, 4]],
    "flipped sign": lambda x: x * np.array([1, 1, -1, 1, 1], dtype=np.float32),
    "shuffled rows": lambda x: x[::-1],
    "one cell": lambda x: x + np.eye(8, 5, dtype=np.float32)[[0, *[7] * 7]] * [1, 0, 0, 0, 0],
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(cloud, change):
    stored = fingerprint(cloud, NAMES)
    now = CHANGES[change](cloud)
    assert not np.array_equal(now, cloud)
    with pytest.raises(
        ValueError, match=r"'X_pca' has changed since the fit: \d of 8 fitted cells"
    ):
        check_unchanged(now.astype(np.float32), NAMES, stored, "X_pca")
