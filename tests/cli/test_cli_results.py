"""Simulation, evaluation, pictures, the demo and the lists."""

import json

import anndata
import matplotlib.image
import numpy as np
import pandas as pd
import pytest

import scruot

KINDS = [
    "velocity_stream",
    "velocity",
    "growth",
    "landscape",
    "mass",
    "fit_quality",
    "loss",
    "trajectories",
]


def test_simulate_writes_what_the_library_returns(scr, fitted, tmp_path):
    out = tmp_path / "sim.h5ad"
    options = ("--times", "0,0.5,1.5", "--n-cells", 12, "--random-state", 4, "--device", "cpu")
    result = scr("simulate", fitted, "-o", out, *options)
    assert (result.code, result.out) == (0, ""), result.err
    written = anndata.read_h5ad(out)
    expected = scruot.tl.simulate(
        anndata.read_h5ad(fitted), [0, 0.5, 1.5], n_cells=12, random_state=4, device="cpu"
    )
    np.testing.assert_array_equal(written.obsm["X_genes"], expected.obsm["X_genes"])
    pd.testing.assert_frame_equal(written.obs, expected.obs)


def test_simulate_backwards_from_chosen_cells(scr, fitted, tmp_path):
    out = tmp_path / "sim.h5ad"
    adata = anndata.read_h5ad(fitted)
    adata.obs["chosen"] = (adata.obs["time"] == 1) & (adata.obs["lineage"] == "transition")
    adata.write_h5ad(fitted)
    result = scr(
        *("simulate", fitted, "-o", out, "--direction", "backward", "--start", "chosen"),
        *("--times", "1,0", "--device", "cpu"),
    )
    assert result.code == 0, result.err
    written = anndata.read_h5ad(out)
    assert set(written.obs["start_cell"]) == set(adata.obs_names[adata.obs["chosen"]])
    assert set(written.obs["time"]) == {0.0, 1.0}
    assert written.uns["simulation"]["direction"] == "backward"


def test_simulation_never_replaces_the_fit(scr, fitted):
    before = fitted.read_bytes()
    result = scr("simulate", fitted, "-o", fitted)
    assert result.code == 1
    assert "would replace the fitted file" in result.err
    assert fitted.read_bytes() == before


def test_evaluate_prints_and_stores_the_same_numbers(scr, fitted):
    arguments = ("evaluate", fitted, "--groupby", "lineage", "--device", "cpu")
    result = scr(*arguments, "-o", fitted, "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    stored = anndata.read_h5ad(fitted).uns["dynamics_evaluation"]
    for name in ("table", "groups"):
        shown = pd.DataFrame(printed[name])
        pd.testing.assert_frame_equal(
            shown, stored[name].reset_index(drop=True), check_dtype=False, check_categorical=False
        )
    text = scr(*arguments).out
    w1 = stored["table"].loc[stored["table"]["comparison"] == "model", "w1"].iloc[0]
    assert f"{w1:.4g}" in text
    assert "transition" in text


def test_evaluate_without_output_changes_no_file(scr, fitted):
    before = fitted.read_bytes()
    assert scr("evaluate", fitted, "--device", "cpu").code == 0
    assert fitted.read_bytes() == before
    assert [path.name for path in fitted.parent.iterdir()] == ["fitted.h5ad"]


def test_plot_draws_all_that_the_file_can_give(scr, fitted, tmp_path):
    folder = tmp_path / "deep" / "figures"
    result = scr("plot", fitted, "-o", folder)
    assert result.code == 0, result.err
    without = [kind for kind in KINDS if kind not in ("mass", "fit_quality")]
    assert result.out.splitlines() == [str(folder / f"{kind}.png") for kind in without]
    assert sorted(folder.iterdir()) == sorted(folder / f"{kind}.png" for kind in without)
    told = next(line for line in result.err.splitlines() if "left out" in line)
    assert all(kind in told for kind in ("potential", "mass", "fit_quality"))
    for path in folder.iterdir():
        assert np.ptp(matplotlib.image.imread(path)) > 0.5
    assert scr("evaluate", fitted, "-o", fitted, "--device", "cpu").code == 0
    evaluated = scr("plot", fitted, "mass", "fit_quality", "-o", folder, "--format", "pdf")
    assert evaluated.out.splitlines() == [
        str(folder / f"{kind}.pdf") for kind in ("mass", "fit_quality")
    ]
    assert (folder / "mass.pdf").read_bytes().startswith(b"%PDF")


def test_plot_projects_the_velocity_into_another_embedding(scr, fitted, tmp_path):
    kinds = ("velocity", "growth")
    result = scr("plot", fitted, *kinds, "-o", tmp_path / "figures", "--basis", "umap")
    assert result.code == 0, result.err
    assert len(list((tmp_path / "figures").iterdir())) == 2
    assert "velocity_umap" not in anndata.read_h5ad(fitted).obsm


def test_a_picture_that_was_asked_for_and_cannot_be_drawn_is_an_error(scr, fitted, tmp_path):
    result = scr("plot", fitted, "growth", "mass", "-o", tmp_path / "figures")
    assert result.code == 1
    assert "scruot: error: Found no 'table'" in result.err
    unknown = scr("plot", fitted, "grwoth", "-o", tmp_path / "figures")
    assert "Unknown kind 'grwoth'. Did you mean 'growth'?" in unknown.err
    nowhere = scr("plot", fitted, "growth", "-o", tmp_path / "figures", "--basis", "umpa")
    assert "Did you mean 'umap'?" in nowhere.err
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["growth.png"]


def test_plot_into_a_file_is_refused(scr, fitted):
    before = fitted.read_bytes()
    result = scr("plot", fitted, "-o", fitted)
    assert result.code == 1
    assert result.err.startswith(f"scruot: error: Cannot write into {fitted}")
    assert fitted.read_bytes() == before


def test_demo_reports_what_its_file_holds(scr, tmp_path):
    folder = tmp_path / "demo"
    result = scr("demo", "-o", folder, "--n-cells", 30, "--set", "steps=20", "-q")
    assert result.code == 0, result.err
    assert result.err == ""
    adata = anndata.read_h5ad(folder / "three_gene.h5ad")
    growth = np.corrcoef(adata.obs["growth"], adata.obs["growth_true"])[0, 1]
    assert f"Correlation of growth with the truth: {growth:.4f}" in result.out
    table = adata.uns["dynamics_evaluation"]["table"]
    model = table[(table["comparison"] == "model") & (table["split"] == "observed")]
    assert f"Mean W1: {model['w1'].mean():.4f}" in result.out
    assert f"Mean relative mass error: {model['mass_error'].mean():.4f}" in result.out
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["three_gene.h5ad", *(f"{kind}.png" for kind in KINDS)]
    )
    for path in folder.iterdir():
        assert str(path) in result.out


def test_methods_lists_every_method_and_every_parameter(scr):
    lines = scr("methods").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == scruot.solvers.names()
    listed = json.loads(scr("methods", "--json").out)
    assert [each["name"] for each in listed] == scruot.solvers.names()


@pytest.mark.parametrize("name", scruot.solvers.names())
def test_one_method_is_shown_in_full(scr, name):
    described = scruot.solvers.describe(name)
    text = scr("methods", name).out
    for parameter, what in described["parameters"].items():
        assert f"\n  {parameter} = {what['default']}\n" in text
        assert what["help"] in " ".join(text.split())
    assert described["reference"] in text
    assert scruot.solvers.cite(name) in text
    found = json.loads(scr("methods", name, "--json").out)
    assert found["bibtex"] == scruot.solvers.cite(name)
    assert set(found["parameters"]) == set(described["parameters"])


def test_datasets_are_listed(scr):
    lines = scr("datasets").out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines[1:]] == scruot.datasets.names()
    listed = json.loads(scr("datasets", "--json").out)
    assert listed == json.loads(scruot.datasets.describe().to_json(orient="records"))


def test_version(scr):
    assert scr("--version").out == f"scruot {scruot.__version__}\n"
