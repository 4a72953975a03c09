"""What is said of a plan that is not as good as it should be."""

from __future__ import annotations

import logging

from scruot.transport.coupling import Coupling

__all__ = ["warn_unsettled"]

_LOG = logging.getLogger("scruot.transport")

_POOR = 0.01  # relative gap that a user hears of


def warn_unsettled(coupling: Coupling, *, spread: float, name: str) -> None:
    """Log a warning, with its remedy, of a plan that is not the optimum of its problem.

    Parameters
    ----------
    coupling
        The plan, with the method that found it.
    spread
        Entropy, or blur, that the plan was asked to have; 0 for none.
    name
        How the caller names `spread`.
    """
    n, m = coupling.shape
    if spread == 0 and coupling.certified and coupling.gap > _POOR:
        _LOG.warning(
            "The coupling of %d with %d cells may cost up to %.1f %% more than the best one; %s.",
            n,
            m,
            100 * coupling.gap,
            _remedy(coupling.method, name),
        )
    elif not coupling.converged and spread > 0:
        _LOG.warning(
            "The coupling of %d with %d cells has not converged at %s = %.3g; raise %s "
            "(three times as much needs about a third of the sweeps), or use %s=0, which is exact.",
            n,
            m,
            name,
            spread,
            name,
            name,
        )
    elif not coupling.converged:
        _LOG.warning(
            "The coupling of %d with %d cells has not converged; %s.",
            n,
            m,
            _remedy(coupling.method, name),
        )


def _remedy(method: str, name: str) -> str:
    """Say what to try instead of `method`."""
    if method == "exact":
        return f"{name} > 0 is easier to solve, and cells far from all others are worth a look"
    return (
        "method='exact' (coupling='exact' in a fit, solver='exact' in tl.transport) is slower but "
        "closes the gap"
    )
