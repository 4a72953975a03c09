"""What a fit gets of an AnnData, and which cells it does not get."""

import numpy as np
import pandas as pd
import pytest
import torch

from scruot.io.read import read_cells

CALL = {"time_key": "time", "use_rep": "X_pca"}


def test_snapshots(adata):
    snapshots = read_cells(adata, **CALL).snapshots()
    assert snapshots.times == (0.0, 1.0, 3.0)
    assert snapshots.masses == (1.0, 1.25, 1.5)
    for t, x, w in zip(snapshots.times, snapshots.x, snapshots.weights, strict=True):
        here = (adata.obs["time"] == t).to_numpy()
        np.testing.assert_array_equal(x.numpy(), adata.obsm["X_pca"][here])
        assert (x.dtype, w.dtype) == (torch.float32, torch.float64)
        assert w.tolist() == [1.0] * int(here.sum())


@pytest.mark.parametrize(
    "holdout", [1, 1.0, np.int64(1), np.float32(1), [1.0], np.array([1]), iter([1])]
)
def test_holdout_of_a_time(adata, holdout):
    cells = read_cells(adata, **CALL, holdout=holdout)
    assert (cells.fitted == (adata.obs["time"] != 1.0)).all()
    assert cells.snapshots().times == (0.0, 3.0)
    assert not cells.held_out.any()


@pytest.mark.parametrize("holdout", [2.0, [0.0, 2.0], "1", "day 9", [None]])
def test_holdout_of_another_time(adata, holdout):
    with pytest.raises(ValueError, match=r"times (out of|are) \[0.0, 1.0, 3.0\]"):
        read_cells(adata, **CALL, holdout=holdout)


def test_holdout_leaves_two_times(adata):
    with pytest.raises(ValueError, match=r"Found 1 time point\(s\) to fit .* at least two"):
        read_cells(adata, **CALL, holdout=[0, 1])


def test_share_of_cells(adata):
    cells = read_cells(adata, **CALL, holdout_cells=0.2, random_state=1)
    for t, n in ((0.0, 20), (1.0, 25), (3.0, 30)):
        assert cells.held_out[cells.time == t].sum() == n // 5
    assert (cells.fitted == ~cells.held_out).all()
    # the populations are those of all cells
    assert cells.snapshots().masses == pytest.approx((1.0, 1.25, 1.5))
    assert float(cells.snapshots().weights[0].sum()) == pytest.approx(20)
    again, other = (
        read_cells(adata, **CALL, holdout_cells=0.2, random_state=s).held_out for s in (1, 2)
    )
    assert (again == cells.held_out).all()
    assert (other != cells.held_out).any()


@pytest.mark.parametrize("dtype", ["bool", "boolean"])
def test_column_of_cells(adata, dtype):
    adata.obs["test"] = pd.array(np.arange(75) % 5 == 0, dtype=dtype)
    cells = read_cells(adata, **CALL, holdout_cells="test")
    assert (cells.held_out == (np.arange(75) % 5 == 0)).all()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, True, [0.1], np.nan])
def test_wrong_shares(adata, share):
    with pytest.raises(ValueError, match="expected a share between 0 and 1, or a column"):
        read_cells(adata, **CALL, holdout_cells=share)


def test_wrong_columns_of_cells(adata):
    adata.obs["number"] = np.arange(75)
    adata.obs["gap"] = pd.array([None, *[True] * 74], dtype="boolean")
    adata.obs["late"] = adata.obs["time"] == 3.0
    for column, error, message in (
        ("kid", KeyError, "No column of held-out cells 'kid' .* Did you mean 'kind'"),
        ("number", ValueError, "expected booleans, True: held out"),
        ("gap", ValueError, "has missing values"),
        ("late", ValueError, "no cell to fit at time 3; use holdout"),
    ):
        with pytest.raises(error, match=message):
            read_cells(adata, **CALL, holdout_cells=column)


def test_cells_without_mass_are_not_fitted(adata):
    adata.obs["w"] = np.where(np.arange(75) % 2, 1.0, 0.0)
    cells = read_cells(adata, **CALL, mass="w")
    assert (cells.fitted == (adata.obs["w"] > 0)).all()
    assert not cells.held_out.any()


def test_leading_dimensions(adata):
    cells = read_cells(adata, **CALL, n_dims=2)
    np.testing.assert_array_equal(cells.x, adata.obsm["X_pca"][:, :2])


def test_a_label_without_cells_is_no_snapshot(adata):
    labels = adata.obs["time"].map("day {:g}".format)
    adata.obs["day"] = pd.Categorical(labels, categories=["day 0", "day 1", "day 2", "day 3"])
    cells = read_cells(adata, time_key="day", use_rep="X_pca", mass={0: 1, 1: 2, 2: 9, 3: 4})
    assert cells.snapshots().times == (0.0, 1.0, 3.0)
    assert cells.snapshots().masses == pytest.approx((1.0, 2.0, 4.0))
