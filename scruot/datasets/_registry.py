"""What the module offers: one entry per data set, with its sources, sizes and licence."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from scruot.datasets._files import File

_DEEPRUOT = "https://raw.githubusercontent.com/zhenyiizhang/DeepRUOT/main/data/"
# These repositories are named at one commit, so that what is fetched stays what it is.
_ODS = (
    "https://raw.githubusercontent.com/sods/ods/d4636025667ae868b1f3674a25f8f1ab6f0e7de6/datasets/"
)
_SCODE = "https://raw.githubusercontent.com/hmatsu1226/SCODE/"
_SCODE_TABLES = _SCODE + "4a80e846f06cfd759e9166288ed25385662d1752/data/"
_SCODE_NEURONS = _SCODE + "02cfeb6eacb0fbdf52796ce9c2fa5e230768a795/data2/"
_SCODE_GENES = _SCODE + "123817297c6cb6a7be7818911d230462d97524b0/data/"
_MOSCOT = "https://raw.githubusercontent.com/theislab/moscot/main/tests/data/"
_LARRY = "https://kleintools.hms.harvard.edu/paper_websites/state_fate2020/"


@dataclass(frozen=True)
class Entry:
    """One data set.

    Parameters
    ----------
    name
        Name of the function in :mod:`scruot.datasets`.
    kind
        ``"simulated"`` or ``"real"``; a published simulated table is ``"simulated"``.
    summary
        One line.
    cells
        Number of cells and dimensions, in words where they depend on parameters.
    times
        Observed times, with their unit.
    source
        Where the data come from: accession, repository, address.
    reference
        The paper.
    licence
        Licence as stated by the source.
    prepared
        Rounded and renamed copy that is looked for in ``SCRUOT_DATA_DIR``.
    originals
        The files of the source; those with an address can be downloaded.
    note
        Caveat that travels with the data.
    """

    name: str
    kind: str
    summary: str
    cells: str
    times: str
    source: str
    reference: str
    licence: str
    prepared: File | None = None
    originals: tuple[File, ...] = ()
    note: str = ""

    def provenance(self, file: str) -> dict[str, str]:
        """Return what is written to ``uns["dataset"]``."""
        found = {
            "name": self.name,
            "source": self.source,
            "reference": self.reference,
            "licence": self.licence,
            "file": file,
            "note": self.note,
        }
        return {key: value for key, value in found.items() if value}


_SIMULATED = (
    Entry(
        name="three_gene",
        kind="simulated",
        summary="three-gene toggle with proliferation; drift, growth and noise known",
        cells="400 at the start, about 3000 in all, x 2 (or 3)",
        times="0, 1, 2, 3, 4 (8 physical units each)",
        source="generated",
        reference="Sha et al. 2024, Nat. Mach. Intell. 6:25; Zhang et al. 2025, ICLR (DeepRUOT)",
        licence="BSD-3-Clause (scruot)",
    ),
    Entry(
        name="branching",
        kind="simulated",
        summary="birth-death SDE with two nested forks; drift, growth and fates known",
        cells="2000 x 10 by default",
        times="0, 1, 2, 3, 4 by default",
        source="generated",
        reference="scruot",
        licence="BSD-3-Clause (scruot)",
    ),
    Entry(
        name="gaussian_mixture",
        kind="simulated",
        summary="one cluster splits, one only grows; closed-form truth in any dimension",
        cells="1900 x 10 by default",
        times="0, 1",
        source="generated",
        reference="Zhang et al. 2025, ICLR (DeepRUOT)",
        licence="BSD-3-Clause (scruot)",
    ),
    Entry(
        name="sparse_displacement",
        kind="simulated",
        summary="few displaced genes per cell among many that vary more; genes known",
        cells="1600 x 1000 by default (800 a snapshot)",
        times="0, 1 (0 to 4 for the gradual kind)",
        source="generated",
        reference="scruot; Chen et al. 2025, arXiv:2502.01889 (the uniform kind)",
        licence="BSD-3-Clause (scruot)",
    ),
    Entry(
        name="three_gene_table",
        kind="simulated",
        summary="the published table of the three-gene simulation (two of three genes)",
        cells="3031 x 2",
        times="0, 1, 2, 3, 4",
        source="github.com/zhenyiizhang/DeepRUOT, data/simulation_gene_data.csv",
        reference="Zhang et al. 2025, ICLR (DeepRUOT), after Sha et al. 2024 (TIGON)",
        licence="no licence file in the repository",
        prepared=File(
            "simulation_gene2d.csv.gz",
            "05834882b445dbb348dd2780890ab985b593a52017c970b984951a24b2dbb404",
        ),
        originals=(File("simulation_gene_data.csv", None, _DEEPRUOT + "simulation_gene_data.csv"),),
    ),
    Entry(
        name="dyngen",
        kind="simulated",
        summary="branching dyngen simulation in a 5-D embedding",
        cells="728 x 5",
        times="0, 1, 2, 3, 4",
        source="github.com/QiangweiPeng/WFR-FM, data/dygen.csv",
        reference=(
            "Cannoodt et al. 2021, Nat. Commun. 12:3942 (dyngen); Huguet et al. 2022, NeurIPS "
            "(MIOFlow)"
        ),
        licence="no licence file in the repository",
        prepared=File(
            "dyngen5d.csv.gz",
            "eb7c52e67a42e88277942efb9ba904725923a78da5f0bcaf83aef3526403cb80",
        ),
        originals=(File("dygen.csv", None),),
    ),
)

_REAL = (
    Entry(
        name="emt",
        kind="real",
        summary="A549 cells under TGFB1: epithelial-mesenchymal transition, 10-D latent",
        cells="3133 x 10",
        times="0, 1, 2, 3 (0 h, 8 h, 1 d, 3 d and 7 d pooled)",
        source="GEO GSE147405; latent: github.com/zhenyiizhang/DeepRUOT, data/emt.csv",
        reference=(
            "Cook & Vanderhyden 2020, Nat. Commun. 11:2142; latent: Sha et al. 2024, "
            "Nat. Mach. Intell. 6:25 (TIGON)"
        ),
        licence="TIGON MIT; DeepRUOT without a licence file; GEO public",
        prepared=File(
            "emt_a549_ae10.csv.gz",
            "6d9787d7e27a4a9b8e66166f2616351f67a7f91e33be6ccd186daf5562639afb",
        ),
        originals=(File("emt.csv", None, _DEEPRUOT + "emt.csv"),),
        note=(
            "time 3 pools 3 d and 7 d; hours, barcode and the 3-D latent of the prepared file "
            "were joined by row order within each time (weakest for 7 d)"
        ),
    ),
    Entry(
        name="embryoid_body",
        kind="real",
        summary="human embryoid bodies over 27 days: 100 PCs and PHATE",
        cells="16821 x 100 (prepared copy: 16825 x 2)",
        times="0, 1, 2, 3, 4 (days 0-3, 6-9, 12-15, 18-21, 24-27)",
        source=(
            "github.com/KrishnaswamyLab/TrajectoryNet, data/eb_velocity_v5.npz; raw: "
            "doi:10.17632/v6n743h5ng.1"
        ),
        reference="Moon et al. 2019, Nat. Biotechnol. 37:1482; Tong et al. 2020, ICML",
        licence="TrajectoryNet repository; Mendeley licence to be confirmed",
        prepared=File(
            "eb_phate2d.csv.gz",
            "1683090657c79717524383025c506cf6dff2f856f50e30da8a6052b396ecac60",
        ),
        originals=(
            # Hash as reported by third-party code, not yet confirmed by a download of ours.
            File(
                "eb_velocity_v5.npz",
                "17623d16dd4fe7b679aad80916d130cb2863a4cd4ee742f139a3c2eed91ba230",
                "https://github.com/KrishnaswamyLab/TrajectoryNet/raw/master/data/"
                "eb_velocity_v5.npz",
                reported=True,
            ),
        ),
    ),
    Entry(
        name="hematopoiesis",
        kind="real",
        summary="mouse hematopoiesis in vitro with clonal barcodes (LARRY)",
        cells="130887 x 25289 genes",
        times="2, 4, 6 (days)",
        source=f"GEO GSM4185642; {_LARRY}",
        reference="Weinreb et al. 2020, Science 367:eaaw3381",
        licence="GEO public; none stated on the page",
        originals=tuple(
            File(f"stateFate_inVitro_{part}.gz", None, f"{_LARRY}stateFate_inVitro_{part}.gz")
            for part in ("normed_counts.mtx", "gene_names.txt", "metadata.txt", "clone_matrix.mtx")
        ),
    ),
    Entry(
        name="bifurcation",
        kind="real",
        summary="iPSC to cardiomyocyte bifurcation in a 4-D latent",
        cells="1896 x 4",
        times="0 to 7 (order of the eight sampled days)",
        source="github.com/yutongo/TIGON, Input/Bifurcation.npy",
        reference=(
            "Bargaje et al. 2017, PNAS 114:2271; latent: Sha et al. 2024, "
            "Nat. Mach. Intell. 6:25 (TIGON)"
        ),
        licence="MIT (TIGON)",
        prepared=File(
            "tigon_bifurcation4d.csv.gz",
            "9203ad843e4699861bac45f1d19c7ce0564a478d6218d71904ce1e1c6d343718",
        ),
    ),
    Entry(
        name="guo2010",
        kind="real",
        summary="mouse zygote to blastocyst, single-cell qPCR",
        cells="437 x 48 genes",
        times="0 to 6 (log2 of the embryo's cell number)",
        source="paper supplement; github.com/sods/ods, datasets/guo_qpcr.csv",
        reference="Guo et al. 2010, Dev. Cell 18:675",
        licence="BSD-3-Clause style (ods); paper supplement",
        prepared=File(
            "guo2010_qpcr.h5ad",
            "4d86617dc3fbaafbe317e4211e1d1a114c7ce34fe3bd1d7c0edcebc8a7b79688",
        ),
        originals=(File("guo_qpcr.csv", None, _ODS + "guo_qpcr.csv"),),
        note="sign of the normalised Ct flipped: larger means more expressed",
    ),
    Entry(
        name="hsmm",
        kind="real",
        summary="human skeletal muscle myoblasts differentiating",
        cells="271 x 2998 genes",
        times="0, 24, 48, 72 (hours)",
        source="GEO GSE52529; Bioconductor HSMMSingleCell",
        reference="Trapnell et al. 2014, Nat. Biotechnol. 32:381",
        licence="Artistic-2.0",
        prepared=File(
            "hsmm_trapnell2014.h5ad",
            "919ae837a5658ecf19ff5ac9965d37c1273a5ebcc50382dbe4c10402a802ca95",
        ),
    ),
    Entry(
        name="hayashi2018",
        kind="real",
        summary="mouse ES cells to primitive endoderm, RamDA-seq",
        cells="456 x 100 transcription factors",
        times="0, 12, 24, 48, 72 (hours)",
        source="GEO GSE98664; github.com/hmatsu1226/SCODE, data",
        reference=(
            "Hayashi et al. 2018, Nat. Commun. 9:619; Matsumoto et al. 2017, Bioinformatics 33:2314"
        ),
        licence="GEO public; MIT (SCODE)",
        prepared=File(
            "hayashi2018_pre_mesc.h5ad",
            "b4c5bff9a49dcbfc2a0adca5853d1da3aa5fb768f093cf380f061d87f78afaed",
        ),
        originals=(
            *(
                File(f"scode_hayashi_{part}.txt", None, f"{_SCODE_TABLES}{part}.txt")
                for part in ("exp_train", "time_train", "exp_test", "time_test")
            ),
            File("scode_hayashi_genes.txt", None, _SCODE_GENES + "reference_TFTF_network.txt"),
        ),
        note="gene symbols in upper case",
    ),
    Entry(
        name="treutlein2016",
        kind="real",
        summary="fibroblasts reprogrammed to neurons",
        cells="373 x 100 transcription factors",
        times="0, 2, 5, 22 (days)",
        source="GEO GSE67310; github.com/hmatsu1226/SCODE, data2",
        reference=(
            "Treutlein et al. 2016, Nature 534:391; Matsumoto et al. 2017, Bioinformatics 33:2314"
        ),
        licence="GEO public; MIT (SCODE)",
        prepared=File(
            "treutlein2016_mef_in.h5ad",
            "d2398aceb9e60f6b4e88b3e877a50189a6924ec6f772561a02ebaee40da93d0a",
        ),
        originals=tuple(
            File(f"scode_treutlein_{part}.txt", None, f"{_SCODE_NEURONS}{part}.txt")
            for part in ("data", "time", "tf")
        ),
    ),
    Entry(
        name="mef_reprogramming",
        kind="real",
        summary="small subset of fibroblasts reprogrammed to iPS cells (serum)",
        cells="250 x 1479 genes",
        times="10, 10.5, 11 (days)",
        source="GEO GSE122662; github.com/theislab/moscot, moscot_temporal_tests.h5ad",
        reference="Schiebinger et al. 2019, Cell 176:928; Klein et al. 2025, Nature 638:1065",
        licence="BSD-3-Clause (moscot)",
        prepared=File(
            "moscot_mef_small.h5ad",
            "65e0a6d794fd863560925dcdb1da6751f824d9c09f639feb5ea31d02e9d5330e",
        ),
        originals=(
            File("moscot_temporal_tests.h5ad", None, _MOSCOT + "moscot_temporal_tests.h5ad"),
        ),
    ),
)

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _SIMULATED + _REAL}


def names() -> list[str]:
    """List the data sets; each name is a function of :mod:`scruot.datasets`.

    Returns
    -------
    Names, simulated ones first.

    Examples
    --------
    >>> import scruot
    >>> "three_gene" in scruot.datasets.names()
    True
    """
    return list(ENTRIES)


def describe() -> pd.DataFrame:
    """Describe the data sets in a table.

    Returns
    -------
    One row per data set with the columns ``name``, ``kind`` (``"simulated"`` or ``"real"``),
    ``summary``, ``cells``, ``times``, ``download`` (whether a single call can fetch it),
    ``source``, ``reference`` and ``licence``.

    Examples
    --------
    >>> import scruot
    >>> table = scruot.datasets.describe().set_index("name")
    >>> table.loc["emt", "kind"]
    'real'
    """
    columns = ("name", "kind", "summary", "cells", "times")
    rows = [
        {column: getattr(entry, column) for column in columns}
        | {
            "download": any(file.url is not None for file in entry.originals),
            "source": entry.source,
            "reference": entry.reference,
            "licence": entry.licence,
        }
        for entry in ENTRIES.values()
    ]
    return pd.DataFrame(rows)
