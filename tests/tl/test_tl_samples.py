"""Batches and replicates in fits: what they change, and what is refused."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scruot
from tests.io._same import contents, same

COUPLED = [name for name in scruot.solvers.names() if scruot.solvers.get(name).coupled]
OTHERS = sorted(set(scruot.solvers.names()) - set(COUPLED))
QUICK = {"steps": 20, "batch_size": 64, "width": 16}
# cells of each batch at the two times: captured the other way round
CAPTURED = {"early": (90, 30), "late": (30, 90)}


def make_batches(rng):
    """Return cells that all move by (1, 0); batches are apart in the other coordinate."""
    x, time, batch = [], [], []
    for k, (name, sizes) in enumerate(CAPTURED.items()):
        for t, n in enumerate(sizes):
            x.append(rng.normal(size=(n, 2)) * 0.3 + [t, 1.2 * k])
            time += [float(t)] * n
            batch += [name] * n
    obs = pd.DataFrame({"time": time, "batch": batch}, index=[f"c{i}" for i in range(len(time))])
    return AnnData(obs=obs, obsm={"X_pca": np.concatenate(x).astype(np.float32)})


@pytest.fixture
def batches(rng):
    return make_batches(rng)


def mean_rates(adata):
    return adata.obsm["velocity_pca"].mean(axis=0), adata.obs["growth"].abs().mean()


def test_batches_are_not_taken_for_movement_or_growth(batches):
    scruot.tl.fit_dynamics(batches, "wfr", batch_key="batch", progress=False)
    velocity, growth = mean_rates(batches)
    np.testing.assert_allclose(velocity, [1.0, 0.0], atol=0.1)
    assert growth < 0.15
    scruot.tl.fit_dynamics(batches, "wfr", progress=False)
    velocity, growth = mean_rates(batches)
    # without, uneven capture is explained by cells that cross over or multiply
    assert velocity[1] > 0.3 or growth > 0.4


def test_one_batch_is_none(batches):
    batches.obs["one"] = "all"
    first = scruot.tl.fit_dynamics(batches, "wfr", progress=False, copy=True)
    second = scruot.tl.fit_dynamics(batches, "wfr", batch_key="one", progress=False, copy=True)
    np.testing.assert_allclose(
        first.obsm["velocity_pca"], second.obsm["velocity_pca"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("method", COUPLED)
def test_every_method_of_couplings_takes_batches(batches, method, tmp_path):
    known = scruot.solvers.get(method).params.__dataclass_fields__
    options = {k: v for k, v in QUICK.items() if k in known}
    scruot.tl.fit_dynamics(batches, method, batch_key="batch", progress=False, **options)
    assert np.isfinite(batches.obsm["velocity_pca"]).all()
    assert batches.uns["dynamics"]["params"]["batch_key"] == "batch"
    batches.write_h5ad(tmp_path / "fit.h5ad")
    read = anndata.read_h5ad(tmp_path / "fit.h5ad")
    assert scruot.get.dynamics(read).dim == 2


WAYS = [("unbalanced", {}), ("balanced", {}), ("partial", {"moved": 0.9}), ("wfr", {"delta": 1.5})]


@pytest.mark.parametrize(("method", "options"), WAYS)
def test_transport_stays_within_batches(batches, method, options):
    scruot.tl.transport(batches, method, batch_key="batch", progress=False, **options)
    found = scruot.get.transport(batches)
    own = batches.obs["batch"]
    first, last = (own.loc[names].to_numpy() for names in found.cells)
    plan = found.couplings[0].toarray()
    assert plan[first[:, None] != last].sum() == 0
    # each has half of the mass at both ends, whatever was captured
    half = plan.sum() / 2
    np.testing.assert_allclose([plan[first == b].sum() for b in CAPTURED], half, rtol=0.02)
    growth = batches.obs["transport_growth"].to_numpy()[batches.obs["time"] == 0]
    mean = np.log(plan.sum() / 120)
    for b in CAPTURED:
        here = first == b
        total = np.average(np.exp(growth[here]))
        np.testing.assert_allclose(total, np.exp(mean), rtol=0.02)


def test_transport_with_batches_is_read_again(batches, tmp_path):
    batches.obs["rate"] = np.where(batches.obsm["X_pca"][:, 1] > 0.6, 0.3, -0.3)
    options = {"batch_key": "batch", "growth": "rate", "progress": False}
    scruot.tl.transport(batches, **options)
    assert batches.uns["transport"]["params"]["batch_key"] == "batch"
    batches.write_h5ad(tmp_path / "coupled.h5ad")
    read = scruot.get.transport(anndata.read_h5ad(tmp_path / "coupled.h5ad"))
    np.testing.assert_allclose(
        read.growth(0).to_numpy(), batches.obs["transport_growth"][read.cells[0]]
    )
    # a prior that tells batches apart cannot: each grows as the whole
    own = batches.obs["batch"].loc[read.cells[0]].to_numpy()
    means = [np.exp(read.growth(0).to_numpy()[own == b]).mean() for b in CAPTURED]
    np.testing.assert_allclose(means, 1.0, rtol=1e-6)


def test_one_batch_is_no_batch_for_transport(batches):
    batches.obs["one"] = "all"
    options = {"progress": False, "copy": True}
    first = scruot.tl.transport(batches, **options)
    second = scruot.tl.transport(batches, batch_key="one", **options)
    one, two = (scruot.get.transport(a).couplings[0].toarray() for a in (first, second))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        first.obs["transport_growth"], second.obs["transport_growth"], atol=1e-9
    )


def test_the_rule_for_fates_refuses_batches(batches):
    before = contents(batches)
    with pytest.raises(ValueError, match="batch_key with method 'fate', whose rule takes whole"):
        scruot.tl.transport(batches, "fate", batch_key="batch", progress=False)
    assert same(contents(batches), before)


@pytest.fixture
def three_times(rng):
    """Batches apart by more than they move, captured unevenly at the ends, evenly in between."""
    x, time, batch = [], [], []
    for k, (name, sizes) in enumerate({"early": (90, 60, 30), "late": (30, 60, 90)}.items()):
        for t, n in enumerate(sizes):
            x.append(rng.normal(size=(n, 2)) * 0.2 + [0.5 * t, 3.0 * k])
            time += [float(t)] * n
            batch += [name] * n
    obs = pd.DataFrame({"time": time, "batch": batch}, index=[f"c{i}" for i in range(len(time))])
    return AnnData(obs=obs, obsm={"X_pca": np.concatenate(x).astype(np.float32)})


def test_cross_validation_couples_within_batches(three_times):
    given = {"transport": [{"method": "balanced", "reg": 0}, {"method": "wfr", "delta": 3.0}]}
    options = {"methods": "transport", "params": given, "progress": False}
    errors = {}
    for key in ("batch", None):
        table = scruot.tl.cross_validate(three_times, batch_key=key, **options)
        errors[key] = table.loc[table["method"] == "transport", "w1"].to_numpy()
    # cells that are sent across lie between the batches at the time left out
    assert (errors["batch"] < 0.5 * errors[None]).all()


def test_cross_validation_refuses_batches_as_fits_do(three_times):
    options = {"batch_key": "batch", "progress": False}
    for method, params in (("tigon", {}), ("transport", {"method": "fate"})):
        with pytest.raises(ValueError, match="Found batch_key with method"):
            scruot.tl.cross_validate(three_times, method, params={method: params}, **options)
    table = scruot.tl.cross_validate(three_times, "wfrfm", params={"wfrfm": QUICK}, **options)
    assert np.isfinite(table["w1"]).all()


@pytest.mark.parametrize("method", OTHERS)
def test_other_methods_refuse_batches(batches, method):
    with pytest.raises(ValueError, match=rf"batch_key='batch' with method '{method}', which"):
        scruot.tl.fit_dynamics(batches, method, batch_key="batch", progress=False)


def make_replicates(*, counts):
    """Return cells that stay where they are, with the counts of every replicate at two times."""
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), axis=-1).reshape(-1, 2)
    x, time, names = [], [], []
    for t, sizes in enumerate(counts):
        for k, n in enumerate(sizes):
            x.append(np.tile(grid, (n, 1)))
            time += [float(t)] * (20 * n)
            names += [f"t{t} animal {k}"] * (20 * n)
    obs = pd.DataFrame({"time": time, "animal": names}, index=[f"c{i}" for i in range(len(time))])
    return AnnData(obs=obs, obsm={"X_pca": np.concatenate(x).astype(np.float32)})


def test_the_spread_of_growth_is_the_standard_error_over_replicates():
    # one of two animals is drawn at each time, so the population stays or trebles
    adata = make_replicates(counts=((2, 2), (2, 6)))
    options = {"replicate_key": "animal", "progress": False, "delta": 1.0, "bandwidth": 0.3}
    scruot.tl.fit_dynamics(adata, "wfr", **options, n_models=6)
    assert adata.uns["dynamics"]["params"]["replicate_key"] == "animal"
    start = adata.obs[adata.obs["time"] == 0]
    # where cells only grow, by a factor m in one unit, growth begins at 2 (sqrt(m) - 1)
    trebled = 2 * (np.sqrt(3) - 1)
    share = start["growth"].to_numpy() / trebled
    assert (share > 0).all()
    assert (share < 1).all()
    np.testing.assert_allclose(share * 6, np.round(share * 6), atol=0.01)
    spread = trebled * np.sqrt(share * (1 - share))
    ratio = start["growth_std"].to_numpy() / spread
    # with or without Bessel's correction
    assert (np.isclose(ratio, 1, atol=0.01) | np.isclose(ratio, np.sqrt(6 / 5), atol=0.01)).all()


def test_given_sizes_have_no_spread():
    adata = make_replicates(counts=((2, 2), (2, 6)))
    options = {"replicate_key": "animal", "progress": False, "delta": 1.0, "bandwidth": 0.3}
    scruot.tl.fit_dynamics(adata, "wfr", **options, n_models=2, mass={0: 1.0, 1: 2.0})
    # only where the cells are could differ, and here it does not
    assert adata.obs["growth_std"].max() < 1e-3
    start = adata.obs[adata.obs["time"] == 0]
    np.testing.assert_allclose(start["growth"], 2 * (np.sqrt(2) - 1), rtol=0.01)


def labelled(adata, **columns):
    for name, values in columns.items():
        adata.obs[name] = values
    return adata


BAD = [
    ({"batch_key": "bath"}, KeyError, r"No batch column 'bath'.*Did you mean 'batch'"),
    ({"batch_key": "time"}, ValueError, r"batch_key='time' with dtype float64; expected labels"),
    ({"batch_key": "holes"}, ValueError, r"no label for 3 cells \(first: 'c0'\)"),
    ({"batch_key": "day"}, ValueError, r"No batch of obs\['day'\] has cells at both 0 and 1"),
    ({"replicate_key": "batch"}, ValueError, r"replicate_key='batch' with n_models=1; expected an"),
    (
        {"replicate_key": "one", "n_models": 3},
        ValueError,
        r"Found one replicate in obs\['one'\] at time 0 \('all'\); expected at least two",
    ),
    ({"replicate_key": "no", "n_models": 3}, KeyError, r"No replicate column 'no'"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_one_clear_message(batches, options, error, message):
    holes = batches.obs["batch"].where(np.arange(batches.n_obs) > 2)
    labelled(batches, one="all", holes=holes, day=batches.obs["time"].astype(int))
    before = contents(batches)
    with pytest.raises(error, match=message):
        scruot.tl.fit_dynamics(batches, "wfr", progress=False, **options)
    assert same(contents(batches), before)


def test_a_batch_at_one_end_is_reported(batches, caplog):
    where = (batches.obs["batch"] == "late") & (batches.obs["time"] == 1)
    batches.obs["batch"] = batches.obs["batch"].mask(where, "new")
    scruot.tl.fit_dynamics(batches, "wfr", batch_key="batch", progress=False)
    assert "Batch 'new' has cells at one end only of the interval from 0 to 1" in caplog.text
