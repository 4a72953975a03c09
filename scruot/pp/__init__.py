"""Preparation of cells before a fit; so far scanpy's own ``pp`` is all that is needed."""

__all__: list[str] = []
