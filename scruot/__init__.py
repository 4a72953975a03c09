"""Velocity, growth and fate of cells from time-labelled single-cell snapshots."""

__version__ = "0.1.0"

__all__ = ["__version__"]
