"""Parsers of the originals, on small files of the same layout."""

import gzip

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.io import mmwrite
from scipy.sparse import csr_matrix

from scruot import datasets

METADATA = """Library\tCell barcode\tTime point\tStarting population\tCell type annotation\tWell\tSPRING-x\tSPRING-y
d6_2_2\tAAC-GT\t6.0\tLin-Kit+Sca1-\tundiff\t2\t1.5\t-2
LK_d2\tAAC-GT\t2.0\tLin-Kit+Sca1-\tMonocyte\t0\t0\t3
LK_d2\tAAC-GT\t2.0\tLin-Kit+Sca1+\tMonocyte\t0\t0.5\t3
LK_d4\tTTT-GG\t4.0\tLin-Kit+Sca1+\tNeutrophil\t1\t7\t8
"""  # noqa: E501
CLONES = csr_matrix(np.array([[0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0]]))


def write_larry(folder, *, transposed=False, prefix="", zipped=True, metadata=METADATA):
    """Write the four files of the page, with four cells, five genes and three clones."""
    counts = csr_matrix(np.random.default_rng(0).poisson(1.0, size=(4, 5)).astype(float))
    for part, matrix in (("normed_counts.mtx", counts), ("clone_matrix.mtx", CLONES)):
        mmwrite(folder / f"{prefix}stateFate_inVitro_{part}", matrix.T if transposed else matrix)
    (folder / f"{prefix}stateFate_inVitro_metadata.txt").write_text(metadata)
    genes = "Gata1\nMpo\nGata1\nNA\n0610006L08Rik\n"
    (folder / f"{prefix}stateFate_inVitro_gene_names.txt").write_text(genes)
    if zipped:
        for path in [path for path in folder.iterdir() if path.suffix != ".gz"]:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return counts


@pytest.mark.parametrize(
    "layout", [{}, {"transposed": True}, {"prefix": "GSM4185642_"}, {"zipped": False}]
)
def test_hematopoiesis_is_read_in_every_layout(tmp_path, layout):
    counts = write_larry(tmp_path, **layout)
    adata = datasets.hematopoiesis(path=tmp_path)
    np.testing.assert_allclose(adata.X.toarray(), counts.toarray(), rtol=1e-6)
    assert list(adata.var_names) == ["Gata1", "Mpo", "Gata1-1", "NA", "0610006L08Rik"]
    assert adata.obs_names.is_unique
    assert adata.obs_names[0] == "d6_2_2_AAC-GT"
    assert adata.obs["time"].dtype == np.float64
    np.testing.assert_array_equal(adata.obs["time"], [6, 2, 2, 4])
    np.testing.assert_array_equal(adata.obs["clone"], [2, -1, 0, 1])
    np.testing.assert_array_equal(adata.obsm["X_clone"].toarray(), CLONES.toarray())
    np.testing.assert_array_equal(adata.obsm["X_spring"][0], [1.5, -2])
    assert list(adata.obs["cell_type"]) == ["undiff", "Monocyte", "Monocyte", "Neutrophil"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.obs["clone"], adata.obs["clone"])


def test_hematopoiesis_downloads_what_is_not_there(serve, tmp_path, monkeypatch):
    folder = tmp_path / "page"
    folder.mkdir()
    write_larry(folder)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    here = tmp_path / "here"
    here.mkdir()
    name = "stateFate_inVitro_metadata.txt"
    (here / name).write_bytes(gzip.decompress(content[f"{name}.gz"]))
    monkeypatch.setenv("SCRUOT_DATA_DIR", str(here))
    asked = serve(content)
    assert datasets.hematopoiesis().shape == (4, 5)
    assert len(asked) == 3
    assert not [url for url in asked if "metadata" in url]


def test_hematopoiesis_refuses_files_that_do_not_fit(tmp_path):
    write_larry(tmp_path, metadata="\n".join(METADATA.splitlines()[:4]))
    with pytest.raises(ValueError, match=r"counts of shape \(4, 5\); expected 3 cells and 5 genes"):
        datasets.hematopoiesis(path=tmp_path)
    write_larry(tmp_path, metadata=METADATA.replace("Time point", "Batch"))
    with pytest.raises(ValueError, match="expected a numeric 'Time point'"):
        datasets.hematopoiesis(path=tmp_path)
    (tmp_path / "stateFate_inVitro_gene_names.txt.gz").unlink()
    with pytest.raises(FileNotFoundError, match="gene_names"):
        datasets.hematopoiesis(path=tmp_path)


def write_archive(path, **changed):
    rng = np.random.default_rng(0)
    arrays = {
        "pcs": rng.normal(size=(12, 100)),
        "phate": rng.normal(size=(12, 2)),
        "pcs_delta": rng.normal(size=(12, 100)),
        "delta_embedding": rng.normal(size=(12, 2)),
        "sample_labels": np.arange(12) % 5,
    } | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return arrays


def test_embryoid_body_reads_the_archive(tmp_path):
    path = tmp_path / "eb.npz"
    arrays = write_archive(path)
    adata = datasets.embryoid_body(path=path)
    np.testing.assert_array_equal(adata.obs["time"], np.arange(12) % 5)
    assert list(adata.obs["days"][:5]) == ["0-3", "6-9", "12-15", "18-21", "24-27"]
    np.testing.assert_array_equal(adata.obsm["X_pca"], arrays["pcs"].astype(np.float32))
    np.testing.assert_array_equal(adata.obsm["X_phate"], arrays["phate"].astype(np.float32))
    assert adata.obsm["rna_velocity_pca"].shape == (12, 100)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert ad.read_h5ad(tmp_path / "a.h5ad").obs["days"].cat.ordered


def test_embryoid_body_refuses_other_archives(tmp_path):
    path = tmp_path / "eb.npz"
    write_archive(path, pcs=None)
    with pytest.raises(ValueError, match=r"without \['pcs'\]"):
        datasets.embryoid_body(path=path)
    write_archive(path, phate=np.zeros((11, 2)))
    with pytest.raises(ValueError, match="one row per label"):
        datasets.embryoid_body(path=path)


def test_embryoid_body_never_unpickles(tmp_path):
    path = tmp_path / "eb.npz"
    write_archive(path, sample_labels=np.array([0, "a", None] * 4, dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        datasets.embryoid_body(path=path)


def test_tables_say_what_is_missing(tmp_path):
    path = tmp_path / "table.csv"
    pd.DataFrame({"day": [0, 1], "x1": [0.0, 1.0]}).to_csv(path, index=False)
    with pytest.raises(ValueError, match="expected 'time'"):
        datasets.bifurcation(path=path)
    pd.DataFrame({"time": [0, 1], "x1": [0.0, None]}).to_csv(path, index=False)
    with pytest.raises(ValueError, match="missing or infinite"):
        datasets.bifurcation(path=path)


def test_gene_level_files_get_components_and_a_checked_time(tmp_path):
    path = tmp_path / "genes.h5ad"
    x = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    adata = ad.AnnData(x, obs=pd.DataFrame({"time": [0, 1, 2] * 3}, index=list("abcdefghi")))
    adata.write_h5ad(path)
    read = datasets.guo2010(path=path)
    assert read.obsm["X_pca"].shape == (9, 5)  # never more than the data allow
    assert read.obs["time"].dtype == np.float64
    assert "X_pca" not in datasets.guo2010(path=path, n_pcs=None).obsm
    with pytest.raises(ValueError, match="n_pcs is 0"):
        datasets.guo2010(path=path, n_pcs=0)
    adata.obs["time"] = ["a", "b", "c"] * 3
    adata.write_h5ad(path)
    with pytest.raises(ValueError, match="expected a numeric 'time'"):
        datasets.guo2010(path=path)


def prepared(name):
    """Return the prepared copy, to be written out again as its source has it."""
    adata = getattr(datasets, name)(n_pcs=None)
    return adata, adata.to_df()


def assert_same(found, expected):
    """Compare cells, genes and values."""
    np.testing.assert_array_equal(found.to_df().to_numpy(), expected.to_df().to_numpy())
    assert list(found.var_names) == list(expected.var_names)
    assert list(found.obs) == list(expected.obs)
    for column in expected.obs:
        np.testing.assert_array_equal(found.obs[column].to_numpy(), expected.obs[column].to_numpy())
    assert found.uns["dataset"]["name"] == expected.uns["dataset"]["name"]


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("sign", [1, -1])
def test_guo_is_read_with_either_sign(sign, serve, monkeypatch):
    expected, table = prepared("guo2010")
    kind = expected.obs["cell_type"].astype(str).replace("unspecified", "")
    table.index = [
        f"{stage} {name}".strip()
        for stage, name in zip(expected.obs["stage_cells"], kind, strict=True)
    ]
    table = table.rename(columns={"Creb3l2": "Creb312", "Dppa1": "DppaI", "Snai1": "Snail"})
    monkeypatch.delenv("SCRUOT_DATA_DIR")
    asked = serve({"guo_qpcr.csv": (sign * table).to_csv().encode()})
    found = datasets.guo2010(n_pcs=None)
    assert_same(found, expected)
    # rows of the table as the source prints it
    assert found.obs["cell_type"].value_counts()[["TE", "ICM"]].to_list() == [156, 49]
    assert len(asked) == 1
    assert datasets.guo2010().obsm["X_pca"].shape == (437, 20)
    assert len(asked) == 1  # kept


def test_guo_refuses_another_table(tmp_path):
    path = tmp_path / "guo_qpcr.csv"
    pd.DataFrame({"Fgf4": [1.0, 2.0]}, index=["early", "64 EPI"]).to_csv(path)
    with pytest.raises(ValueError, match="expected a row per cell, named by its stage"):
        datasets.guo2010(path=path)


@pytest.mark.usefixtures("data_dir")
def test_hayashi_is_read_from_the_five_tables(serve, monkeypatch):
    expected, table = prepared("hayashi2018")
    content = {"reference_TFTF_network.txt": "\n".join(table.columns).encode()}
    for part in ("train", "test"):
        rows = (expected.obs["scode_split"] == part).to_numpy()
        cells = expected.obs.loc[rows, ["time", "pseudotime"]].astype({"time": int})
        content[f"exp_{part}.txt"] = _tabs(table[rows].T)
        content[f"time_{part}.txt"] = _tabs(cells)
    monkeypatch.delenv("SCRUOT_DATA_DIR")
    asked = serve(content)
    assert_same(datasets.hayashi2018(n_pcs=None), expected)
    assert len(asked) == 5
    assert datasets.hayashi2018().obsm["X_pca"].shape == (456, 20)
    assert len(asked) == 5


@pytest.mark.usefixtures("data_dir")
def test_treutlein_is_read_from_the_three_tables(serve, monkeypatch):
    expected, table = prepared("treutlein2016")
    # the source's third column says when a cell was sequenced, and is not read
    cells = expected.obs[["cell_type", "pseudotime"]].assign(day=20)
    content = {
        "data.txt": _tabs(table.T),
        "time.txt": _tabs(cells),
        "tf.txt": "\n".join(table.columns).encode(),
    }
    monkeypatch.delenv("SCRUOT_DATA_DIR")
    asked = serve(content)
    assert_same(datasets.treutlein2016(n_pcs=None), expected)
    assert len(asked) == 3
    assert datasets.treutlein2016().obsm["X_pca"].shape == (373, 20)
    assert len(asked) == 3


def _tabs(table):
    return table.to_csv(sep="\t", header=False, index=False).encode()


def test_hayashi_refuses_tables_that_do_not_fit(serve):
    tables = {"reference_TFTF_network.txt": b"SOX2\nESRRB\n", "exp_train.txt": b"1.5\t2\n0\t3\n"}
    tables |= {"time_train.txt": b"0\t0.5\n", "exp_test.txt": b"", "time_test.txt": b""}
    serve(tables)
    with pytest.raises(ValueError, match=r"shape \(2, 2\).*expected 2 genes.*1 cells"):
        datasets.hayashi2018()


@pytest.mark.usefixtures("data_dir")
def test_mef_is_read_from_the_test_data_of_moscot(serve, monkeypatch, tmp_path):
    expected, _ = prepared("mef_reprogramming")
    theirs = expected.copy()
    theirs.obs["day"] = theirs.obs.pop("time")
    theirs.obs["batch"] = 0
    theirs.uns = {"tmap_10_105": np.zeros((85, 81)), "eps": 0.5}
    theirs.obsp["cost_matrices"] = np.zeros((250, 250))
    theirs.write_h5ad(tmp_path / "theirs.h5ad")
    monkeypatch.delenv("SCRUOT_DATA_DIR")
    serve({"moscot_temporal_tests.h5ad": (tmp_path / "theirs.h5ad").read_bytes()})
    found = datasets.mef_reprogramming(n_pcs=None)
    assert_same(found, expected)
    assert not found.obsp
    assert set(found.uns) == {"dataset"}
