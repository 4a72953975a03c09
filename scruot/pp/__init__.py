"""Preparation of cells: what scanpy's own ``pp`` does not have."""

from scruot.pp._growth_prior import growth_prior

__all__ = ["growth_prior"]
