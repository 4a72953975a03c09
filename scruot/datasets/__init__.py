"""Simulated data with known truth, and real data through pooch.

Generators: :func:`three_gene`, :func:`branching`, :func:`gaussian_mixture`,
:func:`sparse_displacement`. Everything else reads published data: first from the folder named by
the environment variable ``SCRUOT_DATA_DIR``, then from the cache, then, where there is a public
address, by download. :func:`names` lists them all, :func:`describe` gives sizes, sources and
licences.
"""

from scruot.datasets._branching import branching
from scruot.datasets._embryoid_body import embryoid_body
from scruot.datasets._gaussian_mixture import gaussian_mixture
from scruot.datasets._h5ad import guo2010, hayashi2018, hsmm, mef_reprogramming, treutlein2016
from scruot.datasets._larry import hematopoiesis
from scruot.datasets._registry import describe, names
from scruot.datasets._sparse_displacement import sparse_displacement
from scruot.datasets._tables import bifurcation, dyngen, emt, three_gene_table
from scruot.datasets._three_gene import three_gene

__all__ = [
    "bifurcation",
    "branching",
    "describe",
    "dyngen",
    "embryoid_body",
    "emt",
    "gaussian_mixture",
    "guo2010",
    "hayashi2018",
    "hematopoiesis",
    "hsmm",
    "mef_reprogramming",
    "names",
    "sparse_displacement",
    "three_gene",
    "three_gene_table",
    "treutlein2016",
]
