"""AnnData to snapshots, and fitted models to AnnData."""
