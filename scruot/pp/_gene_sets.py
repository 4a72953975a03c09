"""Genes that speak of proliferation and of apoptosis, in human and in mouse.

Proliferation: genes whose expression peaks in S and in G2/M phase, as in Tirosh et al. (2016)
:cite:p:`tirosh2016`, Science 352, under their symbols of today. Apoptosis: genes that carry the
death signal from either origin, mitochondria or death receptors, down to the DNA (Elmore 2007,
Toxicol. Pathol. 35 :cite:p:`elmore2007`), and genes that p53 switches on (Fischer 2017, Oncogene 36
:cite:p:`fischer2017`). CDKN1A, the best known p53 target, is left out: it rises in every cell that
leaves the cycle for good, most of which do not die.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["FORMER_SYMBOLS", "ORGANISMS", "Organism", "built_in"]

Organism = Literal["human", "mouse"]
ORGANISMS: tuple[Organism, ...] = ("human", "mouse")

_S_PHASE = """
    ATAD2 BLM BRIP1 CASP8AP2 CCNE2 CDC45 CDC6 CDCA7 CENPU CHAF1B CLSPN DSCC1 DTL E2F8 EXO1 FEN1
    GINS2 GMNN HELLS MCM2 MCM4 MCM5 MCM6 MSH2 NASP PCNA POLA1 POLD3 PRIM1 RAD51 RAD51AP1 RFC2 RPA2
    RRM1 RRM2 SLBP TIPIN TYMS UBR7 UHRF1 UNG USP1 WDR76
"""
_G2_M_PHASE = """
    ANLN ANP32E AURKA AURKB BIRC5 BUB1 CBX5 CCNB2 CDC20 CDC25C CDCA2 CDCA3 CDCA8 CDK1 CENPA CENPE
    CENPF CKAP2 CKAP2L CKAP5 CKS1B CKS2 CTCF DLGAP5 ECT2 G2E3 GAS2L3 GTSE1 HJURP HMGB2 HMMR JPT1
    KIF11 KIF20B KIF23 KIF2C LBR MKI67 NCAPD2 NDC80 NEK2 NUF2 NUSAP1 PIMREG PSRC1 RANGAP1 SMC4
    TACC3 TMPO TOP2A TPX2 TTK TUBB4B UBE2C
"""
_INTRINSIC = """
    AIFM1 APAF1 BAD BAK1 BAX BBC3 BCL2L11 BID BIK BMF BOK CASP2 CASP3 CASP6 CASP7 CASP9 CYCS DFFA
    DFFB DIABLO ENDOG HRK HTRA2 PMAIP1
"""
_EXTRINSIC = """
    CASP10 CASP8 CRADD DAPK1 FADD FAS FASLG RIPK1 TNFRSF10A TNFRSF10B TNFRSF1A TNFSF10 TRADD
"""
_P53_TARGETS = """
    AEN CCNG1 EI24 FDXR GADD45A MDM2 PERP PHLDA3 PIDD1 SESN1 SESN2 SIVA1 TP53 TP53AIP1 TP53INP1
    ZMAT3
"""

_PROLIFERATION = (*_S_PHASE.split(), *_G2_M_PHASE.split())
_APOPTOSIS = (*_INTRINSIC.split(), *_EXTRINSIC.split(), *_P53_TARGETS.split())

# Mouse symbols are those of human with one capital, but for these; None: mice have no such gene
# (the mouse has one receptor of TRAIL for the two of human).
_MOUSE = {
    "CASP10": None,
    "FASLG": "Fasl",
    "TNFRSF10A": None,
    "TP53": "Trp53",
    "TP53AIP1": None,
    "TP53INP1": "Trp53inp1",
}

#: Names under which older annotations have some of these genes, in capitals.
FORMER_SYMBOLS = {
    "CDK1": ("CDC2", "CDC2A"),
    "CENPU": ("MLF1IP",),
    "JPT1": ("HN1",),
    "NDC80": ("KNTC2",),
    "PIDD1": ("PIDD", "LRDD"),
    "PIMREG": ("FAM64A",),
    "TUBB4B": ("TUBB2C",),
}


def built_in(kind: Literal["proliferation", "apoptosis"], organism: Organism) -> tuple[str, ...]:
    """Return the symbols of a set, spelled as the organism's nomenclature does."""
    human = _PROLIFERATION if kind == "proliferation" else _APOPTOSIS
    if organism == "human":
        return human
    mouse = (_MOUSE.get(symbol, symbol.capitalize()) for symbol in human)
    return tuple(symbol for symbol in mouse if symbol is not None)
