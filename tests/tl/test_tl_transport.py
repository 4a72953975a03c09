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


# what each method promises


@pytest.fixture(scope="module")
def _genes():
    return scruot.datasets.three_gene(40, random_state=1, n_times=3)


@pytest.fixture
def genes(_genes):
    return _genes.copy()


def solved(adata, method="unbalanced", **options):
    """Return the stored transport, without the AnnData."""
    call = {"use_rep": "X_genes", "progress": False, "key_added": "t", "copy": True}
    return scruot.get.transport(scruot.tl.transport(adata, method, **{**call, **options}), "t")


def margins(matrix):
    return (np.asarray(matrix.sum(axis=k)).ravel() for k in (1, 0))


def test_balanced_transport_grows_all_cells_alike(genes):
    found = solved(genes, "balanced", reg=0)
    for k, matrix in enumerate(found.couplings):
        rows, cols = margins(matrix)
        ratio = found.mass[k + 1].sum() / found.mass[k].sum()
        np.testing.assert_allclose(rows, found.mass[k] * ratio, rtol=1e-6)
        np.testing.assert_allclose(cols, found.mass[k + 1], rtol=1e-6)
        np.testing.assert_allclose(found.growth(k), np.log(ratio), rtol=1e-5)
    assert (found.quality["residual"] < 1e-6).all()


def test_balanced_transport_with_a_prior_grows_as_expected(genes, rng):
    genes.obs["rate"] = rng.normal(size=genes.n_obs)
    found = solved(genes, "balanced", reg=0, growth="rate")
    for k in range(2):
        rate = genes.obs.loc[found.cells[k], "rate"]
        difference = found.growth(k) - rate
        # only differences between rates matter, since populations are given
        np.testing.assert_allclose(difference, difference.iloc[0], rtol=1e-5)


@pytest.mark.parametrize(("relaxed", "exact"), [("source", 1), ("target", 0)])
def test_semi_relaxed_transport_keeps_one_side(genes, relaxed, exact):
    found = solved(genes, "semi_relaxed", relaxed=relaxed, tau=0.5)
    matrix = found.couplings[0]
    total = found.mass[1].sum()
    prescribed = (found.mass[0] * total / found.mass[0].sum(), found.mass[1])
    kept, free = (list(margins(matrix))[k] for k in (exact, 1 - exact))
    np.testing.assert_allclose(kept, prescribed[exact], rtol=1e-4)
    assert np.abs(free / prescribed[1 - exact] - 1).max() > 0.05


@pytest.mark.parametrize("reg", ["auto", 0.05])
def test_partial_transport_moves_a_share(genes, reg):
    found = solved(genes, "partial", moved=0.7, reg=reg)
    for k, matrix in enumerate(found.couplings):
        rows, cols = margins(matrix)
        total = found.mass[k + 1].sum()
        assert matrix.sum() == pytest.approx(0.7 * total, rel=1e-6)
        assert (rows <= found.mass[k] * total / found.mass[k].sum() * (1 + 1e-6)).all()
        assert (cols <= found.mass[k + 1] * (1 + 1e-6)).all()
    assert found.quality["unexplained"].tolist() == pytest.approx([0.3, 0.3], abs=1e-6)
    # without a blur some cells do not move at all
    assert (found.quality["childless"].min() > 0) == (reg == "auto")


@pytest.mark.parametrize("penalty", ["kl", "l2", "tv", "chi2"])
def test_a_high_price_is_balanced_transport(genes, penalty):
    dear = solved(genes, penalty=penalty, tau=1e5, reg=0)
    balanced = solved(genes, "balanced", reg=0)
    for one, two in zip(dear.couplings, balanced.couplings, strict=True):
        np.testing.assert_allclose(*(next(iter(margins(m))) for m in (one, two)), rtol=1e-3)
    np.testing.assert_allclose(dear.quality["primal"], balanced.quality["primal"], rtol=1e-3)


def test_each_side_has_its_own_price(genes):
    source = solved(genes, tau=(0.1, np.inf)).quality
    target = solved(genes, tau=(np.inf, 0.1)).quality
    both = solved(genes, tau=(0.1, 0.1)).quality
    assert source["unexplained"].max() < 1e-3 < target["unexplained"].min()
    assert target["residual"].max() < 1e-3 < source["residual"].min()
    np.testing.assert_array_equal(both["primal"], solved(genes, tau=0.1).quality["primal"])


def test_a_blur_has_more_targets_and_a_gap(genes):
    sharp, blurred = (solved(genes, reg=reg).quality for reg in (0, 0.1))
    assert (blurred["effective_targets"] > 3 * sharp["effective_targets"]).all()
    assert (sharp["gap"] < 1e-6).all()
    assert (blurred["gap"] > 1e-4).all()


def test_less_can_be_kept(genes):
    some, most = (solved(genes, reg=0.1, kept_mass=k) for k in (0.8, 0.999))
    assert (some.quality["entries"] < 0.8 * most.quality["entries"]).all()
    for one, two in zip(some.couplings, most.couplings, strict=True):
        for kept, whole in zip(margins(one), margins(two), strict=True):
            np.testing.assert_allclose(kept, whole, rtol=1e-2)


def test_iterations_take_the_row_masses_as_the_next_prior(genes):
    options = {"tau": (0.5, np.inf), "reg": 0}
    once = scruot.tl.transport(
        genes, use_rep="X_genes", progress=False, growth_iterations=1, copy=True, **options
    )
    again = solved(once, growth="transport_growth", growth_iterations=1, **options)
    twice = solved(genes, growth_iterations=2, **options)
    for k in range(2):
        np.testing.assert_allclose(again.growth(k), twice.growth(k), rtol=1e-6, atol=1e-9)


def test_waddington_ot_improves_on_a_timid_prior_and_on_none():
    adata = scruot.datasets.three_gene(100, random_state=0, n_times=4)
    truth = adata.obs["growth_true"]
    adata.obs["growth_prior"] = truth / 2
    early = adata.obs["time"] < 3

    def r_and_slope(**options):
        call = {"use_rep": "X_genes", "progress": False, "tau": (30.0, np.inf), "reg": 0}
        scruot.tl.transport(adata, **call, **options)
        found = adata.obs.loc[early, "transport_growth"]
        return truth[early].corr(found), np.polyfit(truth[early], found, 1)[0]

    r_without, slope_without = r_and_slope()
    r_once, slope_once = r_and_slope(growth="growth_prior", growth_iterations=1)
    r_thrice, slope_thrice = r_and_slope(growth="growth_prior")
    assert adata.uns["transport"]["params"]["growth"] == "growth_prior"
    # populations as a whole give some of both even to balanced transport
    assert r_without + 0.1 < r_once
    assert r_thrice > 0.95
    assert slope_without + 0.2 < slope_once
    assert slope_once + 0.1 < slope_thrice < 1.05


def test_scale_and_unit_of_time_do_not_matter(genes):
    large = genes.copy()
    large.obsm["X_genes"] = large.obsm["X_genes"] * 8
    large.obs["time"] = large.obs["time"] * 2
    for method in ("unbalanced", "wfr"):
        one, two = solved(genes, method), solved(large, method)
        np.testing.assert_allclose(two.growth(0), one.growth(0) / 2, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            two.couplings[1].toarray(), one.couplings[1].toarray(), rtol=1e-3, atol=1e-6
        )


def test_the_log_says_what_auto_became(genes, caplog):
    with caplog.at_level("INFO", logger="scruot"):
        solved(genes)
        solved(genes, tau=1.0, reg=0.1)
        solved(genes, "wfr")
    said = [r.message for r in caplog.records if r.name == "scruot.tl._transport"]
    assert "'auto' became tau_source = " in said[0]
    assert "reg = " in said[0]
    assert "(unit of cost: " in said[0]
    assert "mass='counts' takes cell counts as populations" in said[0]
    assert "no parameter was 'auto'" in said[1]
    assert "'auto' became delta = " in said[2]


def test_unconverged_solves_are_reported(genes, caplog, monkeypatch):
    def stopped(*args, **kwargs):
        import dataclasses

        from scruot.transport import couple

        return dataclasses.replace(couple(*args, **kwargs), converged=False)

    monkeypatch.setattr("scruot.tl._couple.couple", stopped)
    found = solved(genes, reg=0.1)
    assert not found.quality["converged"].any()


def test_the_solver_can_be_chosen(genes):
    for method in ("unbalanced", "wfr"):
        found = {s: solved(genes, method, solver=s).quality for s in ("exact", "hierarchical")}
        assert set(found["hierarchical"]["solver"]) == {"hierarchical"}
        assert "hierarchical" not in set(found["exact"]["solver"])


def test_the_device_is_asked_for(genes):
    with pytest.raises(ValueError, match="Unknown device 'gpu'"):
        solved(genes, device="gpu")


@pytest.mark.parametrize("name", ["emt", "mef_reprogramming"])
def test_published_data(name):
    adata = getattr(scruot.datasets, name)()
    adata = adata[:: max(1, adata.n_obs // 1500)].copy()
    rep = next(iter(adata.obsm))
    scruot.tl.transport(adata, use_rep=rep, n_dims=5, progress=False)
    found = scruot.get.transport(adata)
    assert found.quality["converged"].all()
    for k, matrix in enumerate(found.couplings):
        np.testing.assert_allclose(list(margins(matrix))[1], found.mass[k + 1], rtol=1e-3)
    growth = adata.obs.loc[adata.obs["time"] < adata.obs["time"].max(), "transport_growth"]
    assert np.isfinite(growth).all()
    early, late = found.times[0], found.times[-1]
    assert found.pull(source_time=early, target_time=late).sum() == pytest.approx(
        found.mass[-1].sum(), rel=1e-3
    )


def test_columns_of_the_user_are_not_taken_for_results_of_an_earlier_transport(genes):
    genes.obs["descendants"] = 3.0
    genes.uns["transition_table"] = {"mine": 1}
    scruot.tl.transport(genes, "wfr", use_rep="X_genes", progress=False)
    assert (genes.obs["descendants"] == 3).all()
    assert genes.uns["transition_table"] == {"mine": 1}
    scruot.tl.transport(genes, "wfr", use_rep="X_genes", progress=False)
    assert "descendants" not in genes.obs


def test_wfr_says_that_nothing_moves(genes):
    with pytest.raises(ValueError, match=r"Nothing moves in interval 0.*Raise delta"):
        scruot.tl.transport(genes, "wfr", delta=1e-6, use_rep="X_genes", progress=False)
    assert "transport" not in genes.uns


def test_prices_may_be_an_array(genes):
    plans = [solved(genes, tau=tau, reg=0.1) for tau in ((1.0, np.inf), np.array([1.0, np.inf]))]
    assert (plans[0].couplings[0] != plans[1].couplings[0]).nnz == 0


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_masses_that_are_pushed_are_checked(coupled, value):
    found = scruot.get.transport(coupled)
    mass = np.full(len(found.cells[0]), value)
    with pytest.raises(ValueError, match="expected masses >= 0"):
        found.push(mass, source_time=found.times[0], target_time=found.times[1])
    twice = pd.Series([1.0, 2.0], index=found.cells[0][[0, 0]])
    with pytest.raises(ValueError, match="several values for the cell"):
        found.push(twice, source_time=found.times[0], target_time=found.times[1])
