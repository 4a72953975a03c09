"""Every AnnData slot that scruot reads or writes, in one place.

The default key is ``"dynamics"``; ``key_added="name"`` gives a fit slots of its own,
so that several fits live side by side in one object.
"""

from __future__ import annotations

from dataclasses import dataclass

from scruot._fate_keys import FATES as FATES
from scruot._fate_keys import FateSlots as FateSlots
from scruot._fate_keys import fate_slots as fate_slots
from scruot._key_names import basis_name as basis_name
from scruot._key_names import checked_key as checked_key
from scruot._key_names import embedding_key as embedding_key
from scruot._key_names import velocity_genes as velocity_genes

DYNAMICS = "dynamics"
SIMULATION = "simulation"
CROSS_VALIDATION = "cross_validation"
TRANSPORT = "transport"
LINEAGE_MASS = "lineage_mass"
PERTURBATION = "perturbation"
GENE_TRENDS = "gene_trends"
# scanpy's: what pp.pca writes
PCA_REPRESENTATION = "X_pca"
PCA_LOADINGS = "PCs"
# columns of a simulation: the group of a trajectory's end
FATE = "fate"
ORIGIN = "origin"
# CellRank's own names
CELLRANK = "cellrank"
LINEAGES_FWD = "lineages_fwd"
TERM_STATES_FWD = "term_states_fwd"


@dataclass(frozen=True)
class Slots:
    """Names of everything that belongs to one fit.

    Parameters
    ----------
    key
        ``key_added`` of the fit, ``"dynamics"`` by default.
    """

    key: str = DYNAMICS

    @property
    def _prefix(self) -> str:
        return "" if self.key == DYNAMICS else f"{self.key}_"

    @property
    def uns(self) -> str:
        """Model, parameters, history."""
        return self.key

    @property
    def evaluation(self) -> str:
        """``uns`` slot of :func:`scruot.tl.evaluate`."""
        return f"{self.key}_evaluation"

    @property
    def diagnosis(self) -> str:
        """``uns`` slot of :func:`scruot.tl.diagnose`."""
        return f"{self.key}_diagnosis"

    @property
    def holdout(self) -> str:
        """``obs`` column: cells that the fit did not see."""
        return f"{self.key}_holdout"

    @property
    def growth(self) -> str:
        """``obs`` column: growth per unit of time."""
        return f"{self._prefix}growth"

    @property
    def growth_std(self) -> str:
        """``obs`` column: spread of the growth over an ensemble."""
        return f"{self._prefix}growth_std"

    @property
    def potential(self) -> str:
        """``obs`` column: learned potential."""
        return f"{self._prefix}potential"

    @property
    def landscape(self) -> str:
        """``obs`` column and ``uns`` entry of :func:`scruot.tl.landscape`."""
        return f"{self._prefix}landscape"

    @property
    def log_density(self) -> str:
        """``obs`` column: logarithm of the learned density."""
        return f"{self._prefix}log_density"

    @property
    def gene_velocity(self) -> str:
        """``layers`` key: velocity of genes."""
        return f"{self._prefix}velocity"

    @property
    def growth_genes(self) -> str:
        """``varm`` table of :func:`scruot.tl.growth_genes`."""
        return f"{self._prefix}growth_genes"

    @property
    def regulatory_jacobian(self) -> str:
        """``uns`` slot of :func:`scruot.tl.regulatory_jacobian`."""
        return f"{self._prefix}regulatory_jacobian"

    @property
    def pseudotime(self) -> str:
        """``obs`` column: continuous time of every cell."""
        return f"{self._prefix}dynamics_pseudotime"

    @property
    def pseudotime_std(self) -> str:
        """``obs`` column: standard deviation of that time."""
        return f"{self._prefix}dynamics_pseudotime_std"

    def table(self, name: str) -> str:
        """``uns`` entry of a result about this fit, or of one that has a name of its own."""
        return f"{self._prefix}{name}"

    def velocity(self, basis: str) -> str:
        """``obsm`` key: velocity in a basis."""
        return f"{self._prefix}velocity_{basis}"

    def velocity_std(self, basis: str) -> str:
        """``obsm`` key: spread of the velocity over an ensemble."""
        return f"{self._prefix}velocity_std_{basis}"

    def drift(self, basis: str) -> str:
        """``obsm`` key: drift of a stochastic model."""
        return f"{self._prefix}drift_{basis}"

    def score(self, basis: str) -> str:
        """``obsm`` key: score of a stochastic model."""
        return f"{self._prefix}score_{basis}"


def slots(key: str | None) -> Slots:
    """Return the slots of a fit; ``None`` means the default key.

    Raises
    ------
    ValueError
        For a key that h5ad cannot hold.
    """
    return Slots(DYNAMICS if key is None else checked_key(key))


@dataclass(frozen=True)
class TransportSlots:
    """Names of everything that belongs to one static transport.

    Parameters
    ----------
    key
        ``key_added`` of the transport, ``"transport"`` by default.
    """

    key: str = TRANSPORT

    @property
    def _prefix(self) -> str:
        return "" if self.key == TRANSPORT else f"{self.key}_"

    @property
    def uns(self) -> str:
        """Couplings, parameters, quality."""
        return self.key

    @property
    def growth(self) -> str:
        """``obs`` column: growth per unit of time, from the masses of the plans' rows."""
        return f"{self._prefix}transport_growth"

    @property
    def descendants(self) -> str:
        """``obs`` column of :func:`scruot.tl.descendants`."""
        return f"{self._prefix}descendants"

    @property
    def ancestors(self) -> str:
        """``obs`` column of :func:`scruot.tl.ancestors`."""
        return f"{self._prefix}ancestors"

    @property
    def transition_table(self) -> str:
        """``uns`` slot of :func:`scruot.tl.transition_table`."""
        return f"{self._prefix}transition_table"

    @property
    def ancestor_census(self) -> str:
        """``uns`` slot of :func:`scruot.tl.ancestor_census`."""
        return f"{self._prefix}ancestor_census"


def transport_slots(key: str | None) -> TransportSlots:
    """Return the slots of a transport; ``None`` means the default key.

    Raises
    ------
    ValueError
        For a key that h5ad cannot hold.
    """
    return TransportSlots(TRANSPORT if key is None else checked_key(key))


def group_colors_key(groupby: str) -> str:
    """Return the ``uns`` key under which scanpy keeps the colours of a column."""
    return f"{groupby}_colors"


@dataclass(frozen=True)
class PriorSlots:
    """Names of everything that belongs to one growth prior.

    Parameters
    ----------
    key
        ``key_added`` of the prior, none by default.
    """

    key: str | None = None

    def _named(self, name: str) -> str:
        return name if self.key is None else f"{self.key}_{name}"

    @property
    def growth(self) -> str:
        """``obs`` column, growth per unit of time, and ``uns`` entry, how it was made."""
        return self._named("growth_prior")

    @property
    def birth_score(self) -> str:
        """``obs`` column: proliferation."""
        return self._named("birth_score")

    @property
    def death_score(self) -> str:
        """``obs`` column: apoptosis."""
        return self._named("death_score")


def prior_slots(key: str | None) -> PriorSlots:
    """Return the slots of a growth prior; ``None`` means the default names.

    Raises
    ------
    ValueError
        For a key that h5ad cannot hold.
    """
    return PriorSlots(None if key is None else checked_key(key))


@dataclass(frozen=True)
class DisplacementSlots:
    """Names of everything that belongs to one sparse displacement.

    Parameters
    ----------
    key
        ``key_added`` of the displacement, none by default.
    """

    key: str | None = None

    def _named(self, name: str) -> str:
        return name if self.key is None else f"{self.key}_{name}"

    @property
    def displacement(self) -> str:
        """``obsm`` key: displacement of every gene in every cell, sparse."""
        return self._named("displacement")

    @property
    def n_genes(self) -> str:
        """``obs`` column: number of displaced genes."""
        return self._named("n_displaced_genes")

    @property
    def genes(self) -> str:
        """``uns`` entry: ranked genes in the layout of scanpy's ``rank_genes_groups``."""
        return self._named("displacement_genes")

    @property
    def path(self) -> str:
        """``uns`` entry of :func:`scruot.tl.sparsity_path`."""
        return self._named("sparsity_path")

    @property
    def score(self) -> str:
        """``var`` column: how far a gene's displacement stands out."""
        return self._named("displacement_score")

    @property
    def rate(self) -> str:
        """``var`` column: false discovery rate of a gene over all intervals."""
        return self._named("displacement_qval")

    @property
    def displaced(self) -> str:
        """``var`` column: whether a gene is called displaced."""
        return self._named("displaced")


def displacement_slots(key: str | None) -> DisplacementSlots:
    """Return the slots of a displacement; ``None`` means the default names.

    Raises
    ------
    ValueError
        For a key that h5ad cannot hold.
    """
    return DisplacementSlots(None if key is None else checked_key(key))
