"""Velocity, growth and fate of cells from time-labelled single-cell snapshots."""

from scruot import datasets, get, pl, pp, solvers, tl

__version__ = "0.1.0"

__all__ = ["__version__", "datasets", "get", "pl", "pp", "solvers", "tl"]
