"""``scruot transport``: the library's numbers, nothing else changed, one line for an error."""

import anndata
import numpy as np

import scruot
from tests.cli.test_cli_fit import stored

REP = ("--use-rep", "X_genes", "--device", "cpu", "--quiet")


def test_transport_writes_what_the_library_writes_and_keeps_all_else(scr, cells, small, tmp_path):
    out = tmp_path / "out.h5ad"
    before = stored(cells)
    small = small.copy()
    small.obs["rate"] = 0.1 * small.obs["time"]
    options = ("--growth", "rate", "--set", "tau=[1, 50]", "--set", "reg=0.05")
    missing = scr("transport", cells, "-o", out, *REP, *options)
    assert missing.code == 1
    assert "No growth prior 'rate' in obs" in missing.err
    assert not out.exists()
    result = scr("transport", cells, "-o", out, *REP, "--time-key", "day", *options[2:])
    assert result.code == 0, result.err
    assert "effective_targets" in result.out
    assert stored(cells) == before
    after = stored(out)
    assert {k for k in after if not k.startswith(("obs/transport_growth", "uns/transport"))} == set(
        before
    )
    scruot.tl.transport(
        small, time_key="day", use_rep="X_genes", tau=(1, 50), reg=0.05, progress=False
    )
    written = anndata.read_h5ad(out)
    np.testing.assert_array_equal(
        written.obs["transport_growth"], small.obs["transport_growth"].to_numpy()
    )
    found, expected = (scruot.get.transport(a) for a in (written, small))
    assert (found.couplings[1] != expected.couplings[1]).nnz == 0


def test_results_of_the_command_are_there_for_python(scr, cells):
    assert (
        scr("transport", cells, "-o", cells, *REP, "--method", "wfr", "--key-added", "w").code == 0
    )
    adata = anndata.read_h5ad(cells)
    scruot.tl.descendants(adata, np.ones(adata.n_obs, dtype=bool), source_time=0, key="w")
    later = adata.obs.loc[adata.obs["time"] > 0, "w_descendants"]
    np.testing.assert_allclose(later.dropna(), 1.0)


def test_errors_are_one_line_before_the_file_is_read(scr, tmp_path):
    nowhere = tmp_path / "nothing.h5ad"
    for options, message in (
        (("--method", "wfx"), "Unknown method 'wfx'. Did you mean 'wfr'?"),
        (("--set", "tua=1"), "Unknown parameter of transport 'tua'. Did you mean 'tau'?"),
        (("--set", "tau=[1"), "tau='[1'; expected a positive number or 'auto'"),
        (("--set", "time_key=day"), "Unknown parameter of transport 'time_key'"),
    ):
        result = scr("transport", nowhere, "-o", tmp_path / "out.h5ad", *options)
        assert result.code == 1
        assert message in result.err
        assert len(result.err.strip().splitlines()) == 1


def test_infinite_prices_and_options_that_have_a_name(scr, cells, tmp_path):
    out = tmp_path / "out.h5ad"
    assert scr("transport", cells, "-o", out, *REP, "--set", "tau=[1, inf]").code == 0
    assert scr("transport", cells, "-o", out, *REP, "--set", "tau=inf").code == 0
    twice = scr("transport", cells, "-o", out, *REP, "--set", "method=wfr")
    assert twice.code != 0
    assert "--method" in twice.err
