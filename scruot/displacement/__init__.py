"""Displacement maps that move few genes."""
