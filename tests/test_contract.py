"""What every registered method keeps to, whatever its paper."""

import dataclasses
import re
from dataclasses import dataclass

import anndata
import numpy as np
import pytest
import torch
from anndata import AnnData

import scruot
from scruot import get, solvers, tl
from scruot.dynamics.snapshots import Snapshots
from scruot.solvers.params import make_params
from scruot.solvers.run import fit_snapshots
from tests._fake_device import SUPPORTED, fake_device

QUANTITIES = {"velocity", "drift", "growth", "score", "potential", "log_density"}
METHODS = pytest.mark.parametrize("method", solvers.names())
PARAMETERS = pytest.mark.parametrize(
    ("method", "parameter"),
    [(m, p) for m in solvers.names() for p in solvers.describe(m)["parameters"]],
)


@dataclass(frozen=True)
class Units:
    """What one old unit is in new ones."""

    length: float = 1.0
    time: float = 1.0


def make_adata(units: Units = Units(), *, seed: int = 0) -> AnnData:
    """Return 90 cells of a branch that moves and grows, in units of choice."""
    rng = np.random.default_rng(seed)
    time = np.repeat([1.0, 2.0, 4.0], [20, 30, 40])
    x = rng.normal(size=(90, 3))
    x[:, 0] += 1.5 * time
    x[:, 1] += np.sign(x[:, 1]) * time / 2
    adata = AnnData(np.zeros((90, 1), dtype=np.float32))
    adata.obs_names = [f"cell{i}" for i in range(90)]
    adata.obs["time"] = units.time * time
    adata.obsm["X_pca"] = (units.length * x).astype(np.float32)
    return adata


# Muon makes its steps orthogonal in half precision, which turns the last bit of a gradient into a
# thousandth of a step; in the many steps of a score that hides whether the numbers are the same
COMPARED: dict[str, dict[str, object]] = {"varruot": {"optimizer": "adamw"}}


def quick(method: str, steps: int = 20) -> dict[str, object]:
    """Return the parameters of a short fit, as far as a method has them."""
    known = solvers.describe(method)["parameters"]
    wanted = {"steps": steps, "batch_size": 128, "width": 32, "rollout_steps": 2, "score_steps": 20}
    return {"method": method, "progress": False, **{k: v for k, v in wanted.items() if k in known}}


@pytest.fixture(scope="module")
def fitted():
    """Return one fit of every method, which no test may change."""
    adatas = {}
    for method in solvers.names():
        adatas[method] = make_adata()
        tl.fit_dynamics(adatas[method], **quick(method))
    return adatas


def everything(adata: AnnData) -> np.ndarray:
    """Return all numbers that a fit wrote for the cells, in one matrix."""
    basis = [adata.obsm[k] for k in sorted(adata.obsm) if k != "X_pca"]
    columns = [adata.obs[k].to_numpy()[:, None] for k in sorted(adata.obs) if k != "time"]
    return np.hstack([*basis, *columns])


# the fit


@METHODS
def test_shapes_and_kinds(method, fitted):
    adata, model = fitted[method], get.dynamics(fitted[method])
    assert adata.obsm["velocity_pca"].shape == (90, 3)
    assert adata.obsm["velocity_pca"].dtype == np.float32
    assert adata.obs["growth"].shape == (90,)
    assert np.isfinite(everything(adata)).all()
    assert ("drift_pca" in adata.obsm) == ("score_pca" in adata.obsm) == model.stochastic
    assert ("potential" in adata.obs) == ("potential" in model.learns)
    assert ("log_density" in adata.obs) == ("log_density" in model.learns)
    assert model.stochastic == solvers.describe(method)["stochastic"]
    assert model.method == method
    assert model.times == (1.0, 2.0, 4.0)
    assert model.masses == (1.0, 1.5, 2.0)
    x, t = torch.zeros(5, 3), torch.zeros(5)
    assert set(model.field(t, x)) == set(model.learns) == set(solvers.describe(method)["learns"])
    assert {v.dtype for v in model.field(t, x).values()} == {torch.float32}


@METHODS
def test_every_parameter_is_recorded(method, fitted):
    record = fitted[method].uns["dynamics"]
    parameters = solvers.describe(method)["parameters"]
    assert parameters.keys() <= record["params"].keys()
    # numbers that were left to a rule show what they became
    fields = dataclasses.fields(solvers.get(method).params)
    limited = {f.name for f in fields if (f.metadata["low"], f.metadata["above"]) != (None, None)}
    automatic = {f.name for f in fields if f.default == "auto"} & limited
    numbers = {k: record["resolved"][k] for k in automatic}
    assert all(isinstance(v, float) and v > 0 for v in numbers.values())
    assert all(np.isfinite(v).all() for v in record["history"].values())
    if solvers.get(method).trained:
        assert len(record["history"]["loss"]) == record["params"]["steps"] == 20
    else:
        assert record["history"] == {}
        assert "steps" not in parameters


@METHODS
def test_same_seed_same_bits_other_seed_other_bits_where_there_is_chance(method, fitted):
    again, other = make_adata(), make_adata()
    tl.fit_dynamics(again, **quick(method))
    tl.fit_dynamics(other, **quick(method), random_state=1)
    np.testing.assert_array_equal(everything(again), everything(fitted[method]))
    same = np.array_equal(everything(other), everything(fitted[method]))
    assert same == (not solvers.get(method).seeded)


@METHODS
def test_global_random_states_are_left_alone(method):
    adata = make_adata()
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    tl.fit_dynamics(adata, **quick(method, steps=2), n_models=2, holdout_cells=0.1)
    model = get.dynamics(adata)
    model.simulate(adata.obsm["X_pca"], [1.0, 2.0])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


# by powers of two every number is the same to the bit; by ten the scaled problems differ by
# single-precision rounding, which training enlarges: to 0.3 % after 30 steps
@METHODS
@pytest.mark.parametrize(("length", "steps", "tolerance"), [(8.0, 100, 1e-6), (10.0, 30, 0.01)])
def test_units_change_nothing_but_units(method, length, steps, tolerance):
    before, after = make_adata(), make_adata(Units(length=length, time=2.0))
    for adata in (before, after):
        tl.fit_dynamics(adata, **quick(method, steps=steps), **COMPARED.get(method, {}))
    factors = {"velocity_pca": length / 2, "drift_pca": length / 2, "score_pca": 1 / length}
    for key, factor in factors.items():
        if key in before.obsm:
            error = np.abs(after.obsm[key] - factor * before.obsm[key]).max()
            assert error <= tolerance * factor * np.sqrt(np.mean(before.obsm[key] ** 2))
    growth, half = before.obs["growth"].to_numpy(), after.obs["growth"].to_numpy()
    assert np.abs(2 * half - growth).max() <= tolerance * np.sqrt(np.mean(growth**2))
    deltas = [v.uns["dynamics"]["resolved"].get("delta", 0.0) for v in (before, after)]
    assert deltas[1] == pytest.approx(length * deltas[0], rel=1e-6)


@METHODS
def test_file_and_back(method, fitted, tmp_path):
    fitted[method].write_h5ad(tmp_path / "fitted.h5ad")
    again = anndata.read_h5ad(tmp_path / "fitted.h5ad")
    np.testing.assert_array_equal(everything(again), everything(fitted[method]))
    x = fitted[method].obsm["X_pca"]
    first, second = get.dynamics(fitted[method]), get.dynamics(again)
    for t in (1.0, 1.7, 4.0):
        np.testing.assert_array_equal(first.velocity(t, x), second.velocity(t, x))
        np.testing.assert_array_equal(first.drift(t, x), second.drift(t, x))
        np.testing.assert_array_equal(first.growth(t, x), second.growth(t, x))
    runs = [m.simulate(x, [1.0, 4.0], random_state=3) for m in (first, second)]
    assert torch.equal(runs[0].x, runs[1].x)
    assert torch.equal(runs[0].weights, runs[1].weights)


# what is known about a method


@METHODS
def test_description(method):
    about = solvers.describe(method)
    assert about["name"] == method
    assert set(about["learns"]) <= QUANTITIES
    assert {"velocity", "drift"} & set(about["learns"])
    for text in (about["summary"], about["reference"]):
        assert text.strip() == text
        assert text
        assert "\n" not in text
    assert re.search(r"\((19|20)\d\d\)", about["reference"])


@METHODS
def test_citation_is_bibtex(method):
    entry = solvers.cite(method)
    assert re.match(r"@[a-z]+\{[A-Za-z][\w:-]*,\n", entry)
    assert entry.count("{") == entry.count("}")
    assert entry.rstrip().endswith("}")
    fields = set(re.findall(r"^\s+(\w+) = ", entry, re.MULTILINE))
    assert {"title", "author", "year"} <= fields


@PARAMETERS
def test_parameter_is_documented(method, parameter):
    about = solvers.describe(method)["parameters"][parameter]
    assert len(about["help"].split()) >= 3 or about["help"]
    assert about["help"] == about["help"].strip()
    params = solvers.get(method).params
    # a default passes its own check
    assert (
        getattr(make_params(params, {parameter: about["default"]}, method), parameter)
        == about["default"]
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(params(), parameter, about["default"])


def forbidden(declared: dataclasses.Field) -> list[object]:
    """Return values that a parameter's declaration excludes."""
    meta = declared.metadata
    if isinstance(declared.default, bool):
        return ["yes", 2, None]
    bad: list[object] = ["nonsense", None]
    if meta["choices"] and all(meta[k] is None for k in ("low", "high", "above")):
        return [*bad, 1.0]
    bad += [float("nan"), float("inf"), float("-inf")]
    bad += [meta["low"] - 1] if meta["low"] is not None else []
    bad += [meta["high"] + 1] if meta["high"] is not None else []
    bad += [meta["above"], meta["above"] - 1] if meta["above"] is not None else []
    return [*bad, 1.5] if isinstance(declared.default, int) else bad


@PARAMETERS
def test_values_out_of_range_are_refused(method, parameter):
    (declared,) = [f for f in dataclasses.fields(solvers.get(method).params) if f.name == parameter]
    adata = make_adata()
    for value in forbidden(declared):
        message = rf"{method}: found {parameter}={re.escape(repr(value))}.*expected"
        with pytest.raises((TypeError, ValueError), match=message):
            tl.fit_dynamics(adata, method, **{parameter: value})
    assert list(adata.obsm) == ["X_pca"]


@PARAMETERS
def test_misspelled_parameters(method, parameter):
    wrong = parameter + "_"
    with pytest.raises(
        TypeError, match=rf"Unknown parameter of '{method}' '{wrong}'. Did you mean"
    ):
        tl.fit_dynamics(make_adata(), method, **{wrong: 1})


def test_unknown_methods():
    for call in (solvers.get, solvers.describe, solvers.cite):
        with pytest.raises(ValueError, match=r"Unknown method 'wfr-fm'. Did you mean 'wfrfm'\?"):
            call("wfr-fm")
    assert set(solvers.names()) == set(scruot.solvers.names())


# devices


@METHODS
@pytest.mark.skipif(not SUPPORTED, reason="this torch knows no devices made in Python")
def test_fits_on_one_device_alone(method, monkeypatch):
    adata = make_adata()
    x, t = torch.from_numpy(adata.obsm["X_pca"]), adata.obs["time"].to_numpy()
    clouds = tuple(x[t == v] for v in (1.0, 2.0, 4.0))
    weights = tuple(torch.ones(len(c), dtype=torch.float64) for c in clouds)
    solver = solvers.get(method)
    given = {k: v for k, v in quick(method, steps=3).items() if k not in ("method", "progress")}
    given |= COMPARED.get(method, {})

    def fit(device):
        return fit_snapshots(
            Snapshots((1.0, 2.0, 4.0), clouds, weights),
            solver,
            make_params(solver.params, given, method),
            device=device,
        )

    here = fit(torch.device("cpu"))
    with fake_device(monkeypatch) as device:
        there = fit(device)
        tensors = [*there.dynamics.field.parameters(), *there.dynamics.field.buffers()]
        assert {v.device for v in tensors} == {device}
        moved = there.dynamics.velocity(2.0, x)
        assert moved.device.type == "cpu"
        run = there.dynamics.simulate(x, [1.0, 2.0], stochastic=False)
    # it computed the same numbers
    torch.testing.assert_close(moved, here.dynamics.velocity(2.0, x))
    expected = here.dynamics.simulate(x, [1.0, 2.0], stochastic=False)
    torch.testing.assert_close(run.x, expected.x)
    torch.testing.assert_close(run.weights, expected.weights)
