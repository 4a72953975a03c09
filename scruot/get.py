"""Results as objects and tables."""

from __future__ import annotations

from anndata import AnnData

from scruot.dynamics.device import resolve_device
from scruot.dynamics.model import Dynamics
from scruot.io.couplings import read_transport
from scruot.io.store import fitted_representation, read_model, read_record
from scruot.io.transport import Transport

__all__ = ["dynamics", "transport"]


def dynamics(adata: AnnData, key: str | None = None, *, device: str = "cpu") -> Dynamics:
    """Return a fitted model as a callable.

    Parameters
    ----------
    adata
        AnnData that holds the model, in memory or read back from a file.
    key
        ``key_added`` of the fit.
    device
        Where the model computes: ``"auto"`` or a device of torch.

    Returns
    -------
    The model: ``.velocity(t, x)``, ``.drift(t, x)``, ``.growth(t, x)``, ``.score(t, x)``,
    ``.potential(t, x)`` and ``.simulate(x0, times)``, in the units of the representation
    and of the user's time. NumPy arrays give NumPy arrays, tensors give tensors.

    Raises
    ------
    KeyError
        When there is no such fit.
    ValueError
        When the representation has changed since the fit, or the entry is damaged.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> model = scruot.get.dynamics(adata)
    >>> model.growth(0.5, adata.obsm["X_genes"][:3]).shape
    (3,)
    """
    record = read_record(adata, key)
    model = read_model(adata, key, device=resolve_device(device))
    if str(record["representation"]["use_rep"]) in (*adata.obsm, "X"):
        fitted_representation(adata, record)
    return model


def transport(adata: AnnData, key: str | None = None) -> Transport:
    """Return static couplings as an object.

    Parameters
    ----------
    adata
        AnnData that holds the transport, in memory or read back from a file; it may have been
        subset or reordered since, since cells are matched by their names.
    key
        ``key_added`` of the transport.

    Returns
    -------
    The couplings: ``.times``, ``.coupling(source_time, target_time)`` between any two times,
    ``.push`` and ``.pull`` of any masses, ``.growth``, ``.quality``.

    Raises
    ------
    KeyError
        When there is no such transport.
    ValueError
        When the entry is damaged, or ``adata`` has none of its cells.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> couplings = scruot.get.transport(adata)
    >>> couplings.pull(source_time=0, target_time=4).index.equals(couplings.cells[0])
    True
    """
    return read_transport(adata, key)
