"""The price of mass from known growth: it gives that growth back."""

import numpy as np
import pytest

import scruot

CALL = {"use_rep": "X_genes", "reg": 0.05}


@pytest.fixture(scope="module")
def _genes():
    return scruot.datasets.three_gene(60, random_state=0, n_times=4)


@pytest.fixture
def genes(_genes):
    return _genes.copy()


def factors(adata, tau):
    """Return growth factors of the cells of time 2 until time 3."""
    call = {"tau": (tau, np.inf), "progress": False, **CALL}
    scruot.tl.transport(adata, **call)
    growth = scruot.get.transport(adata).growth(2)
    return np.exp(growth)


def test_a_group_grows_as_it_is_known_to(genes):
    group = {"lineage": "transition"}
    taus = []
    for rate in (0.30, 0.36):
        tau = scruot.tl.calibrate_transport(genes, group, growth=rate, source_time=2, **CALL)
        taus.append(tau)
        found = factors(genes, tau)
        members = genes.obs.loc[found.index, "lineage"] == "transition"
        assert np.log(found[members].mean()) == pytest.approx(rate, abs=2e-3)
    # departing from the growth of all takes a lower price
    assert taus[1] < taus[0]
    assert set(genes.obs) >= {"time", "lineage"}


def test_growth_varies_as_a_prior_says(genes):
    genes.obs["rate"] = 0.3 * np.sin(np.arange(genes.n_obs))
    tau = scruot.tl.calibrate_transport(genes, growth="rate", source_time=2, **CALL)
    expected = np.exp(genes.obs.loc[genes.obs["time"] == 2, "rate"])
    found = factors(genes, tau)
    wanted = expected.std(ddof=0) / expected.mean()
    assert found.std(ddof=0) / found.mean() == pytest.approx(wanted, abs=2e-3)


GROUP = {"lineage": "transition"}
BAD = [
    (GROUP, {"growth": 0.3}, ValueError, r"The cells are at times \[.*\]; expected cells of one"),
    (
        GROUP,
        {"growth": 9.0, "source_time": 2},
        ValueError,
        r"growth=9.0 per unit of time; .* give these cells from 0\.\d+ to 0\.\d+, whatever",
    ),
    (
        {"lineage": ["quiescent", "transition"]},
        {"growth": 0.3, "source_time": 2},
        ValueError,
        r"all cells of their time; their growth is that of the population",
    ),
    (None, {"growth": "constant"}, ValueError, r"obs\['constant'\] with one rate for all cells"),
    (
        GROUP,
        {"growth": "rate", "source_time": 2},
        ValueError,
        r"growth='rate'; expected the growth",
    ),
    (GROUP, {"growth": np.nan, "source_time": 2}, ValueError, r"growth=nan; expected the growth"),
    (GROUP, {"growth": 0.3, "source_time": 3}, ValueError, r"source_time=3; expected one of \[0.0"),
    (GROUP, {"growth": 0.3, "source_time": "2"}, ValueError, r"source_time='2'; expected one of"),
    (None, {"growth": 0.3}, ValueError, r"growth=0.3 without cells; expected the cells that grow"),
    (None, {"growth": "rat"}, KeyError, r"No growth prior 'rat' in obs"),
    (["cell"], {"growth": 0.3}, KeyError, r"1 names of cells that are no cells"),
    (GROUP, {"growth": 0.3, "penalty": "kll"}, ValueError, r"Unknown penalty 'kll'"),
]


@pytest.mark.parametrize(("cells", "options", "error", "message"), BAD)
def test_one_clear_message(genes, cells, options, error, message):
    genes.obs["constant"] = 0.3
    with pytest.raises(error, match=message):
        scruot.tl.calibrate_transport(genes, cells, **{**CALL, **options})
