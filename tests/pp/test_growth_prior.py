"""Birth and death scores: known answers, names of genes, kinds of AnnData, real data, bad input."""

import logging
import os

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.special import expit
from scipy.stats import spearmanr

from scruot import datasets, pp, tl
from scruot.pp._gene_score import gene_score
from scruot.pp._gene_sets import FORMER_SYMBOLS, built_in

BIRTH = ["MKI67", "TOP2A", "PCNA", "MCM5", "CDK1"]
DEATH = ["BAX", "FAS", "CASP3", "TP53"]
WRITTEN = ["birth_score", "death_score", "growth_prior"]


def cells(x, names):
    return AnnData(np.asarray(x, dtype=float), var=pd.DataFrame(index=list(names)))


@pytest.fixture
def noisy(rng):
    """Return 200 cells with two programmes of 5 and 4 genes, noise, and genes of no interest."""
    programme = rng.normal(size=(200, 2))
    birth = programme[:, :1] * rng.uniform(0.5, 2, 5) + rng.normal(size=(200, 5)) + 3
    death = programme[:, 1:] * rng.uniform(0.5, 2, 4) + rng.normal(size=(200, 4)) + 5
    other = rng.normal(size=(200, 6))
    x = np.maximum(np.hstack([birth, death, other]), 0)
    return cells(x, [*BIRTH, *DEATH, *(f"OTHER{i}" for i in range(6))])


def scores(adata, **kwargs):
    kwargs = {"time_unit": "day", **kwargs}
    return pp.growth_prior(adata, copy=True, **kwargs).obs[WRITTEN]


def expected_score(x):
    """Return Kelley's estimate from the covariance of the clipped z-scores."""
    z = np.clip((x - x.mean(0)) / x.std(0), -5, 5)
    covariance = np.cov(z.T)
    g = len(covariance)
    alpha = g / (g - 1) * (1 - np.trace(covariance) / covariance.sum())
    return max(alpha, 0) * (z.mean(1) - z.mean()), alpha


# --- known answers --------------------------------------------------------------------------------


def test_two_states_have_the_rates_of_the_formula():
    """Genes that only differ by scale are one gene: score +1 or -1, all of it shared."""
    birth, death = np.repeat([0.0, 1.0], 20), np.tile([0.0, 1.0], 20)
    x = np.column_stack([birth, 3 * birth + 1, 0.1 * birth, death, 7 * death, death])
    adata = cells(x, ["MKI67", "TOP2A", "PCNA", "BAX", "FAS", "CASP3"])
    found = scores(adata)
    np.testing.assert_allclose(found["birth_score"], 2 * birth - 1, atol=1e-12)
    np.testing.assert_allclose(found["death_score"], 2 * death - 1, atol=1e-12)
    beta = 0.3 + 1.4 / (1 + np.exp(-8 * (found["birth_score"] - 0.25)))
    delta = 0.3 + 1.4 / (1 + np.exp(-20 * (found["death_score"] - 0.1)))
    np.testing.assert_allclose(found["growth_prior"], beta - delta, rtol=1e-12)


def test_scores_are_shrunken_means_of_z_scores(noisy):
    found = pp.growth_prior(noisy, time_unit="day", copy=True)
    for kind, column, genes in (
        ("proliferation", "birth_score", BIRTH),
        ("apoptosis", "death_score", DEATH),
    ):
        score, alpha = expected_score(noisy[:, genes].X)
        assert 0.5 < alpha < 1
        np.testing.assert_allclose(found.obs[column], score, atol=1e-10)
        assert found.uns["growth_prior"][kind]["reliability"] == pytest.approx(alpha, rel=1e-10)


def test_scores_estimate_what_the_genes_share(rng):
    """The regression of the shared part on the score has slope 1: neither blown up nor shrunk."""
    shared = rng.normal(size=4000)
    x = 0.4 * shared[:, None] + rng.normal(size=(4000, 10))
    score = gene_score(x)
    truth = 0.4 * shared / np.hypot(0.4, 1)
    assert np.polyfit(score.values, truth, 1)[0] == pytest.approx(1, abs=0.05)


def test_genes_without_a_programme_make_all_cells_alike(rng):
    x = rng.normal(size=(500, 8))
    score = gene_score(x)
    assert score.reliability < 0.2
    assert score.values.std() < 0.25 * (x / x.std(0)).mean(1).std()


def test_a_gene_seen_in_one_cell_is_not_the_score():
    x = np.zeros((10_000, 1))
    x[0] = 1
    assert gene_score(x).values.max() == pytest.approx(5, abs=1e-2)


def test_scale_of_the_expression_does_not_matter(noisy, rng):
    scaled = noisy.copy()
    scaled.X = noisy.X * rng.uniform(0.1, 10, noisy.n_vars) + rng.normal(size=noisy.n_vars)
    pd.testing.assert_frame_equal(scores(noisy), scores(scaled), rtol=1e-9, atol=1e-9)


def test_order_of_genes_and_other_genes_do_not_matter(noisy, rng):
    turned = noisy[:, rng.permutation(noisy.n_vars)].copy()
    pd.testing.assert_frame_equal(scores(noisy), scores(turned), rtol=1e-9, atol=1e-12)
    alone = noisy[:, [*BIRTH, *DEATH]].copy()
    pd.testing.assert_frame_equal(scores(noisy), scores(alone), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("unit", "days"),
    [("minute", 1 / 1440), ("hours", 1 / 24), ("Day", 1), ("week", 7), (3.5, 3.5)],
)
def test_rates_are_per_unit_of_the_users_time(noisy, unit, days):
    per_day, other = scores(noisy), scores(noisy, time_unit=unit)
    np.testing.assert_allclose(other["growth_prior"], days * per_day["growth_prior"], rtol=1e-12)
    np.testing.assert_array_equal(other["birth_score"], per_day["birth_score"])


def test_parameters_of_the_logistics(noisy):
    own = {"beta_min": 0.1, "beta_max": 0.9, "beta_center": -0.2, "beta_slope": 3.0}
    dying = {"delta_min": 0.0, "delta_max": 0.4, "delta_center": 0.5, "delta_slope": 1.5}
    found = scores(noisy, **own, **dying)
    beta = 0.1 + 0.8 * expit(3 * (found["birth_score"] + 0.2))
    delta = 0.4 * expit(1.5 * (found["death_score"] - 0.5))
    np.testing.assert_allclose(found["growth_prior"], beta - delta, rtol=1e-12)


def test_an_empty_list_leaves_a_set_out(noisy):
    found = pp.growth_prior(noisy, time_unit="day", apoptosis_genes=[], copy=True)
    assert (found.obs["death_score"] == 0).all()
    beta = 0.3 + 1.4 * expit(8 * (found.obs["birth_score"] - 0.25))
    delta = 0.3 + 1.4 * expit(20 * (0 - 0.1))
    np.testing.assert_allclose(found.obs["growth_prior"], beta - delta, rtol=1e-12)


# --- names of genes -------------------------------------------------------------------------------


def test_sets_name_each_gene_once_in_both_species():
    for kind, n_human, n_mouse in (("proliferation", 97, 97), ("apoptosis", 53, 50)):
        human, mouse = built_in(kind, "human"), built_in(kind, "mouse")
        assert (len(set(human)), len(set(mouse))) == (n_human, n_mouse)
        assert all(symbol == symbol.upper() for symbol in human)
        assert all(symbol[0].isupper() and symbol == symbol.capitalize() for symbol in mouse)
    mouse = built_in("apoptosis", "mouse")
    assert {"Trp53", "Fasl", "Trp53inp1"} <= set(mouse)
    assert not {"Tp53", "Faslg", "Casp10", "Tnfrsf10a", "Tp53aip1"} & set(mouse)
    both = {*built_in("proliferation", "human"), *built_in("apoptosis", "human")}
    assert set(FORMER_SYMBOLS) <= both
    assert not both & {name for names in FORMER_SYMBOLS.values() for name in names}


def mouse_names(adata):
    adata = adata.copy()
    names = adata.var_names.str.capitalize()
    adata.var_names = ["Trp53" if name == "Tp53" else name for name in names]
    return adata


def test_human_and_mouse_are_told_apart(noisy, caplog):
    caplog.set_level(logging.INFO, logger="scruot")
    human = pp.growth_prior(noisy, time_unit="day", copy=True)
    mouse = pp.growth_prior(mouse_names(noisy), time_unit="day", copy=True)
    assert human.uns["growth_prior"]["organism"] == "human"
    assert mouse.uns["growth_prior"]["organism"] == "mouse"
    pd.testing.assert_frame_equal(human.obs[WRITTEN], mouse.obs[WRITTEN])
    genes = set(mouse.uns["growth_prior"]["apoptosis"]["genes"])
    assert genes == {"Casp3", "Bax", "Fas", "Trp53"}
    assert "Organism: mouse (of the genes of the sets, 0 as in human and 9 as in mouse)" in (
        caplog.text
    )
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_the_wrong_organism_is_said_and_does_no_harm(noisy, caplog):
    wrong = pp.growth_prior(mouse_names(noisy), time_unit="day", organism="human", copy=True)
    assert "organism='human', but the genes are spelled as in mouse, e.g." in caplog.text
    assert "pass organism='mouse'" in caplog.text
    assert "Mki67" in wrong.uns["growth_prior"]["proliferation"]["genes"]
    assert "TP53" in wrong.uns["growth_prior"]["apoptosis"]["missing"]
    right = scores(mouse_names(noisy))
    np.testing.assert_allclose(wrong.obs["birth_score"], right["birth_score"], atol=1e-12)


def test_mouse_genes_in_capitals(noisy, caplog):
    upper = noisy.copy()
    upper.var_names = ["TRP53" if name == "TP53" else name for name in noisy.var_names]
    found = pp.growth_prior(upper, time_unit="day", organism="mouse", copy=True)
    assert "spelled as in human" in caplog.text
    assert "TRP53" in found.uns["growth_prior"]["apoptosis"]["genes"]
    pd.testing.assert_frame_equal(found.obs[WRITTEN], scores(noisy))


def test_names_in_small_letters(noisy):
    lower = noisy.copy()
    lower.var_names = noisy.var_names.str.lower()
    pd.testing.assert_frame_equal(scores(lower), scores(noisy))


def test_a_human_set_of_the_users_on_mouse_cells(noisy, caplog):
    given = {"proliferation_genes": BIRTH, "apoptosis_genes": ["BAX", "FAS"]}
    found = pp.growth_prior(mouse_names(noisy), time_unit="day", **given, copy=True)
    assert "5 of 5 proliferation genes are found in other case only (MKI67 as Mki67" in caplog.text
    assert "right species?" in caplog.text
    assert found.uns["growth_prior"]["organism"] == ""
    np.testing.assert_allclose(found.obs["birth_score"], scores(noisy)["birth_score"], atol=1e-12)


def test_former_symbols_are_understood():
    x = np.repeat(np.random.default_rng(0).normal(size=(30, 1)), 6, axis=1)
    adata = cells(x, ["MLF1IP", "CDC2", "FAM64A", "PIDD", "BAX", "FAS"])
    found = pp.growth_prior(adata, time_unit="day", copy=True).uns["growth_prior"]
    assert set(found["proliferation"]["genes"]) == {"MLF1IP", "CDC2", "FAM64A"}
    assert set(found["apoptosis"]["genes"]) == {"PIDD", "BAX", "FAS"}
    assert "CENPU" not in found["proliferation"]["missing"]


def test_the_users_own_former_or_present_symbol(noisy):
    renamed = noisy.copy()
    renamed.var_names = ["JPT1" if name == "CDK1" else name for name in noisy.var_names]
    given = {"proliferation_genes": [*BIRTH[:4], "HN1"]}
    pd.testing.assert_frame_equal(scores(renamed, **given), scores(noisy))


def test_missing_and_constant_genes_are_named(noisy, caplog):
    caplog.set_level(logging.INFO, logger="scruot")
    noisy.X[:, noisy.var_names.get_loc("CDK1")] = 2.5
    found = pp.growth_prior(noisy, time_unit="day", copy=True).uns["growth_prior"]["proliferation"]
    assert list(found["constant"]) == ["CDK1"]
    assert set(found["genes"]) == set(BIRTH) - {"CDK1"}
    assert sorted([*found["genes"], *found["constant"], *found["missing"]]) == sorted(
        built_in("proliferation", "human")
    )
    assert "Proliferation: 4 of 97 genes" in caplog.text
    assert all(gene in caplog.text for gene in found["missing"])
    assert "the same in all cells: CDK1" in caplog.text


def test_a_small_panel_of_the_users(noisy):
    found = scores(
        noisy,
        proliferation_genes=["MKI67"],
        apoptosis_genes=["BAX", "NOT_THERE", "FAS"] * 2 + ["TP53"],
    )
    x = noisy[:, "MKI67"].X[:, 0]
    np.testing.assert_allclose(found["birth_score"], (x - x.mean()) / x.std(), atol=1e-12)


def test_symbols_in_a_column_of_var(noisy):
    named = noisy.copy()
    named.var["symbol"] = noisy.var_names
    named.var["length"] = 1.0
    named.var_names = [f"ENSG{i:011d}" for i in range(noisy.n_vars)]
    with pytest.raises(ValueError, match="pass gene_symbols='symbol'"):
        scores(named)
    pd.testing.assert_frame_equal(scores(named, gene_symbols="symbol"), scores(noisy))
    named.var["symbol"] = pd.Categorical(named.var["symbol"])
    named.var.loc[named.var_names[-1], "symbol"] = None
    pd.testing.assert_frame_equal(scores(named, gene_symbols="symbol"), scores(noisy))
    with pytest.raises(KeyError, match="Did you mean 'symbol'"):
        scores(named, gene_symbols="symbols")
    del named.var["symbol"]
    with pytest.raises(ValueError, match="Ensembl identifiers"):
        scores(named)


# --- kinds of AnnData -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_and_single_precision(noisy, kind):
    light = noisy.copy()
    light.X = kind(noisy.X.astype(np.float32))
    pd.testing.assert_frame_equal(scores(light), scores(noisy), rtol=1e-5, atol=1e-5)


def test_layers_and_raw(noisy, caplog):
    caplog.set_level(logging.INFO, logger="scruot")
    expected = scores(noisy)
    held = noisy[:, 9:].copy()
    held.raw = noisy
    found = pp.growth_prior(held, time_unit="day", copy=True)
    assert found.uns["growth_prior"]["expression"] == "adata.raw"
    pd.testing.assert_frame_equal(found.obs[WRITTEN], expected)
    with pytest.raises(ValueError, match="use_raw=True"):
        scores(held, use_raw=False)
    layered = noisy.copy()
    layered.layers["log"], layered.X = noisy.X, np.zeros(noisy.shape)
    layered.raw = layered
    pd.testing.assert_frame_equal(scores(layered, layer="log"), expected)
    with pytest.raises(KeyError, match="Did you mean 'log'"):
        scores(layered, layer="logs")
    with pytest.raises(ValueError, match="one of the two"):
        scores(layered, layer="log", use_raw=True)
    with pytest.raises(ValueError, match=r"adata\.raw is None"):
        scores(noisy, use_raw=True)


def test_views_are_written_to(noisy):
    view = noisy[50:150]
    whole = scores(view.copy())
    with pytest.warns(anndata.ImplicitModificationWarning):
        pp.growth_prior(view, time_unit="day")
    pd.testing.assert_frame_equal(view.obs[WRITTEN], whole)
    assert not set(WRITTEN) & set(noisy.obs)
    noisy.raw = noisy
    pd.testing.assert_frame_equal(scores(noisy[50:150]), whole)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_backed_files(noisy, kind, tmp_path):
    expected = scores(noisy)
    noisy.X = kind(noisy.X)
    noisy.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r+")
    pp.growth_prior(backed, time_unit="day")
    assert backed.isbacked
    pd.testing.assert_frame_equal(backed.obs[WRITTEN], expected)
    assert backed.uns["growth_prior"]["expression"] == "adata.X"
    with pytest.raises(ValueError, match="to_memory"):
        pp.growth_prior(backed[:100], time_unit="day")
    pd.testing.assert_frame_equal(scores(backed[:100]), scores(noisy[:100].copy()))
    backed.file.close()


def test_raw_of_a_backed_file(noisy, tmp_path):
    expected = scores(noisy)
    part = noisy[:, 9:].copy()
    part.raw = noisy
    part.layers["all"] = part.X
    part.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    pp.growth_prior(backed, time_unit="day")
    pd.testing.assert_frame_equal(backed.obs[WRITTEN], expected)
    with pytest.raises(ValueError, match=r"adata\.layers\['all'\].*use_raw=True"):
        scores(backed, layer="all")
    backed.file.close()


def test_results_survive_h5ad_with_keys_of_their_own(noisy, tmp_path):
    pp.growth_prior(noisy, time_unit="day", key_added="weak", beta_max=0.6)
    pp.growth_prior(noisy, time_unit=2, apoptosis_genes=[])
    noisy.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert {"growth_prior", "weak_growth_prior", "weak_birth_score"} <= set(read.obs)
    np.testing.assert_allclose(
        scores(noisy, beta_max=0.6)["growth_prior"], read.obs["weak_growth_prior"]
    )
    record = read.uns["growth_prior"]
    assert record["time_unit_days"] == 2
    assert len(record["apoptosis"]["genes"]) == 0
    assert set(record["proliferation"]["genes"]) == set(BIRTH)
    assert read.uns["weak_growth_prior"]["params"]["beta_max"] == 0.6
    assert read.uns["weak_growth_prior"]["params"]["time_unit"] == "day"


def test_copy_leaves_the_original_alone(noisy):
    assert pp.growth_prior(noisy, time_unit="day", copy=True) is not noisy
    assert not set(WRITTEN) & set(noisy.obs)
    assert not noisy.uns
    assert pp.growth_prior(noisy, time_unit="day") is None


def test_raw_counts_are_noticed(noisy, caplog):
    scores(noisy)
    assert "raw counts" not in caplog.text
    noisy.X = np.round(noisy.X)
    scores(noisy)
    assert "raw counts" in caplog.text


# --- real data ------------------------------------------------------------------------------------

real = pytest.mark.skipif(
    not os.environ.get("SCRUOT_DATA_DIR"), reason="SCRUOT_DATA_DIR is unset: no real data to read"
)


@real
def test_myoblasts_stop_cycling_when_they_differentiate():
    """Trapnell et al. (2014): growth medium at 0 h, then serum is withdrawn."""
    adata = datasets.hsmm()
    pp.growth_prior(adata, time_unit="hour")
    assert adata.uns["growth_prior"]["organism"] == "human"
    means = adata.obs.groupby("time", observed=True)["birth_score"].mean()
    assert means[0.0] > 0.5 + means[[24.0, 48.0, 72.0]].max()
    pseudotime = adata.obs["pseudotime"].astype(float)
    assert spearmanr(pseudotime, adata.obs["birth_score"]).statistic < -0.4
    assert adata.obs["growth_prior"].abs().max() < 1.4 / 24


@real
def test_a_balanced_transport_grows_as_the_prior_says():
    """Rates are per hour, as the times are: but for one constant an interval, they are met."""
    adata = datasets.hsmm()
    pp.growth_prior(adata, time_unit="hour")
    tl.transport(adata, "balanced", growth="growth_prior", reg=0, n_dims=5, progress=False)
    early = adata.obs[adata.obs["time"] < 72]
    excess = (early["transport_growth"] - early["growth_prior"]).groupby(early["time"])
    assert excess.std().max() < 1e-6 * early["growth_prior"].std()
    assert early["growth_prior"].std() > 0.01


@real
def test_reprogramming_fibroblasts_are_mouse_cells():
    adata = datasets.mef_reprogramming()
    pp.growth_prior(adata, time_unit="day")
    record = adata.uns["growth_prior"]
    assert record["organism"] == "mouse"
    assert set(record["proliferation"]["genes"]) == {"Top2a", "Cenpf", "Cdc20", "Ube2c"}
    cycling = (adata[:, list(record["proliferation"]["genes"])].X > 0).sum(axis=1) >= 3
    rate = adata.obs["growth_prior"].groupby(np.asarray(cycling).ravel()).mean()
    # most of the way from the slowest to the fastest division, 1.4 per day
    assert 1 < rate[True] - rate[False] < 1.4


@real
def test_a_panel_without_the_genes_says_what_to_do():
    adata = datasets.guo2010()
    with pytest.raises(ValueError, match=r"Found 0 of 97 proliferation genes among the 48 of ada"):
        pp.growth_prior(adata, time_unit="day")
    assert not set(WRITTEN) & set(adata.obs)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"time_unit": "hrs"}, "Unknown time_unit 'hrs'"),
        ({"time_unit": 0}, "time_unit=0; expected one of"),
        ({"time_unit": True}, "time_unit=True"),
        ({"time_unit": None}, "time_unit=None"),
        ({"organism": "mous"}, "Unknown organism 'mous'. Did you mean 'mouse'"),
        ({"organism": "rat", "proliferation_genes": [], "apoptosis_genes": []}, "organism 'rat'"),
        ({"beta_max": 0.1}, "beta_min=0.3 and beta_max=0.1"),
        ({"delta_min": -1}, "0 <= delta_min <= delta_max"),
        ({"delta_max": np.nan}, "delta_max=nan; expected a finite number"),
        ({"beta_center": "0"}, "beta_center='0'"),
        ({"beta_slope": 0}, "beta_slope=0; expected a number above 0"),
        ({"proliferation_genes": "MKI67"}, "expected a list of gene names"),
        ({"apoptosis_genes": 3}, "apoptosis_genes=3"),
        ({"apoptosis_genes": ["BAX", 3]}, "Found 3 in apoptosis_genes"),
        ({"apoptosis_genes": ["BAX", None]}, "Found None in apoptosis_genes"),
        ({"proliferation_genes": ["BAX", "NOPE"]}, "Found 1 of 2 proliferation genes .BAX. among"),
        ({"key_added": "a/b"}, "Found the key 'a/b'"),
    ],
)
def test_bad_parameters(noisy, wrong, message):
    with pytest.raises(ValueError, match=message):
        pp.growth_prior(noisy, **{"time_unit": "day", **wrong})
    assert not set(WRITTEN) & set(noisy.obs)
    assert not noisy.uns


def test_the_unit_of_time_must_be_said(noisy):
    with pytest.raises(TypeError, match="time_unit"):
        pp.growth_prior(noisy)


def test_bad_expression(noisy):
    broken = noisy.copy()
    broken.X[3, broken.var_names.get_loc("PCNA")] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 cells \(gene 'PCNA'\)"):
        scores(broken)
    elsewhere = noisy.copy()
    elsewhere.X[3, -1] = np.nan
    pd.testing.assert_frame_equal(scores(elsewhere), scores(noisy))
    with pytest.raises(ValueError, match=r"of which only 0 vary between cells"):
        scores(noisy[:1].copy())
    empty = AnnData(obs=noisy.obs, var=noisy.var)
    for lacking in (empty, noisy[:, :0].copy()):
        with pytest.raises(ValueError, match=r"no expression in adata\.X"):
            scores(lacking)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_duplicate_names(noisy):
    twice = noisy.copy()
    twice.var_names = ["PCNA" if name == "OTHER0" else name for name in noisy.var_names]
    with pytest.raises(ValueError, match=r"gene 'PCNA' in 2 columns.*var_names_make_unique"):
        scores(twice)
    harmless = noisy.copy()
    harmless.var_names = ["X" if name.startswith("OTHER") else name for name in noisy.var_names]
    pd.testing.assert_frame_equal(scores(harmless), scores(noisy))
    noisy.obs_names = ["cell"] * noisy.n_obs
    with pytest.raises(ValueError, match="obs_names_make_unique"):
        scores(noisy)
