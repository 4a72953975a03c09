"""Static couplings on AnnData: what is written, conservation, and small known answers."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scruot


def on_a_line(positions, *, times=(0.0, 2.0)):
    """Return cells at the given positions of each time, the same in two dimensions."""
    time = np.repeat(times, [len(p) for p in positions])
    x = np.concatenate([np.asarray(p, dtype=np.float32) for p in positions])
    obs = pd.DataFrame({"time": time}, index=[f"c{i}" for i in range(len(x))])
    return AnnData(obs=obs, obsm={"X_pca": np.column_stack([x, np.zeros_like(x)])})


@pytest.fixture(scope="module")
def _coupled():
    adata = scruot.datasets.three_gene(60, random_state=0, n_times=4)
    scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    return adata


@pytest.fixture
def coupled(_coupled):
    return _coupled.copy()


def test_a_cell_that_doubles_grows_by_log_two_over_the_duration():
    adata = on_a_line([[0.0, 100.0], [0.0, 0.0, 100.0]])
    scruot.tl.transport(adata, "wfr", delta=1.0, progress=False)
    growth = adata.obs["transport_growth"]
    np.testing.assert_allclose(growth[:2], [np.log(2) / 2, 0.0], atol=1e-6)
    assert growth[2:].isna().all()


def test_cells_without_a_partner_have_no_descendants_or_no_ancestors():
    adata = on_a_line([[0.0, 50.0], [0.0, -50.0]])
    scruot.tl.transport(adata, "wfr", delta=1.0, progress=False)
    quality = scruot.get.transport(adata).quality
    assert adata.obs["transport_growth"].iloc[1] == -np.inf
    assert quality["childless"].item() == pytest.approx(0.5)
    assert quality["unexplained"].item() == pytest.approx(0.5)


def test_pushing_everything_gives_the_observed_masses(coupled):
    found = scruot.get.transport(coupled)
    for target in found.times[1:]:
        k = found.index(target)
        pushed = found.push(source_time=found.times[0], target_time=target)
        np.testing.assert_allclose(pushed, found.mass[k], rtol=1e-9)
        assert pushed.index.equals(found.cells[k])


def test_composition_conserves_mass_and_agrees_with_push_and_pull(coupled):
    found = scruot.get.transport(coupled)
    composed = found.coupling(0, 3)
    assert composed.obs_names.equals(found.cells[0])
    assert composed.var_names.equals(found.cells[3])
    assert composed.X.sum() == pytest.approx(found.mass[3].sum(), rel=1e-9)
    rows = np.asarray(composed.X.sum(axis=1)).ravel()
    np.testing.assert_allclose(found.pull(source_time=0, target_time=3), rows, rtol=1e-9)
    one = pd.Series({found.cells[0][5]: found.mass[0][5]})
    pushed = found.push(one, source_time=0, target_time=3)
    np.testing.assert_allclose(pushed, composed.X[[5]].toarray().ravel(), atol=1e-12)


def test_push_and_pull_are_adjoint(coupled, rng):
    found = scruot.get.transport(coupled)
    first, last = rng.random(len(found.mass[0])), rng.random(len(found.mass[3]))
    pushed = found.push(first, source_time=0, target_time=3)
    pulled = found.pull(last, source_time=0, target_time=3)
    forward = (pushed * last / found.mass[3]).sum()
    assert forward == pytest.approx((pulled * first / found.mass[0]).sum(), rel=1e-12)


def test_growth_is_the_mass_of_the_rows(coupled):
    found = scruot.get.transport(coupled)
    rows = np.asarray(found.couplings[1].sum(axis=1)).ravel()
    expected = np.log(rows / found.mass[1])
    np.testing.assert_allclose(coupled.obs.loc[found.cells[1], "transport_growth"], expected)


def test_growth_follows_the_true_rates(coupled):
    early = coupled.obs["time"] < 3
    obs = coupled.obs[early & np.isfinite(coupled.obs["transport_growth"])]
    assert obs["transport_growth"].corr(obs["growth_true"]) > 0.8


def test_a_file_holds_all_of_it(coupled, tmp_path):
    coupled.write_h5ad(tmp_path / "a.h5ad")
    before, after = (
        scruot.get.transport(a) for a in (coupled, anndata.read_h5ad(tmp_path / "a.h5ad"))
    )
    np.testing.assert_array_equal(before.times, after.times)
    pd.testing.assert_frame_equal(before.quality, after.quality)
    for one, two in zip(before.couplings, after.couplings, strict=True):
        assert (one != two).nnz == 0
    for one, two in zip(before.cells, after.cells, strict=True):
        assert list(one) == list(two)


def test_backed_files_and_views_are_coupled_alike(coupled, tmp_path):
    part = coupled[coupled.obs["time"] < 3]
    whole = part.copy()
    with pytest.warns(anndata.ImplicitModificationWarning):
        scruot.tl.transport(part, "wfr", use_rep="X_genes", progress=False)
    whole.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    scruot.tl.transport(backed, "wfr", use_rep="X_genes", progress=False)
    np.testing.assert_array_equal(backed.uns["transport"]["times"], [0, 1, 2])
    in_file = backed.obs["transport_growth"].to_numpy()
    backed.file.close()
    np.testing.assert_array_equal(part.obs["transport_growth"], in_file)
    assert len(coupled.uns["transport"]["couplings"]) == 3


def test_cells_are_matched_by_name(coupled, rng):
    found = scruot.get.transport(coupled)
    shuffled = coupled[rng.permutation(coupled.n_obs)].copy()
    scruot.tl.transport(shuffled, "wfr", use_rep="X_genes", progress=False)
    again = scruot.get.transport(shuffled)
    pushed, expected = (t.push(source_time=0, target_time=3) for t in (again, found))
    pd.testing.assert_series_equal(pushed.sort_index(), expected.sort_index(), rtol=1e-6)


def test_keys_live_side_by_side_and_copies_leave_the_original_alone(coupled):
    del coupled.uns["transport"], coupled.obs["transport_growth"]
    call = {"use_rep": "X_genes", "progress": False, "copy": True}
    other = scruot.tl.transport(coupled, "wfr", delta=3.0, key_added="wide", **call)
    both = scruot.tl.transport(other, "wfr", **call)
    assert not coupled.uns.keys() & {"transport", "wide"}
    assert {"transport", "wide"} <= both.uns.keys()
    assert {"transport_growth", "wide_transport_growth"} <= set(both.obs)
    assert scruot.get.transport(both, "wide").quality["primal"].sum() < (
        scruot.get.transport(both).quality["primal"].sum()
    )
