"""Evaluate a fitted model at new cells."""

from __future__ import annotations

from copy import deepcopy

from anndata import AnnData

from scruot._keys import basis_name, slots
from scruot.io.read import check_names
from scruot.io.store import (
    check_free,
    check_writable,
    evaluate_at_cells,
    fitted_representation,
    fitted_times,
    read_model,
    read_record,
    writable,
    write_fit,
)


def apply_dynamics(
    adata: AnnData, fitted: AnnData, *, key: str | None = None, copy: bool = False
) -> AnnData | None:
    """Write velocity and growth of new cells from a model fitted on other cells.

    Parameters
    ----------
    adata
        New cells, in the same representation (e.g. projected on the same loadings) and
        with the same time column as the cells of the fit.
    fitted
        AnnData that holds the model.
    key
        ``key_added`` of the fit.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy, with the slots of :func:`scruot.tl.fit_dynamics`: velocities in
    units of the representation per unit time, growth per unit time, the model in ``uns``.

    Raises
    ------
    KeyError
        When there is no such fit, representation or time column.
    ValueError
        When the representation has other dimensions than the model, or ``uns`` holds something
        else under the key.

    Examples
    --------
    >>> import scruot
    >>> old = scruot.datasets.three_gene(random_state=0)
    >>> new = scruot.datasets.three_gene(random_state=1)
    >>> scruot.tl.fit_dynamics(old, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.apply_dynamics(new, old)
    >>> new.obs["growth"].shape == (new.n_obs,)
    True
    """
    record = read_record(fitted, key)
    if adata is fitted:
        msg = (
            "adata is the fitted object itself, which has all results already; give new cells as "
            "adata."
        )
        raise ValueError(msg)
    model = read_model(fitted, key)
    check_names(adata)
    check_writable(adata, copy=copy)
    # other cells may share names with those of the fit without being them
    x = fitted_representation(adata, record, check=False)
    time = fitted_times(adata, record)
    names = slots(key)
    check_free(adata, names)
    basis = basis_name(str(record["representation"]["use_rep"]))
    obsm, obs = evaluate_at_cells(model, time, x, names, basis)
    result = writable(adata, copy=copy)
    write_fit(result, _travelling(record), obsm, obs, names)
    return result if copy else None


def _travelling(record: object) -> dict[str, object]:
    # the fingerprint and the projections belong to the cells of the fit
    entry = deepcopy(dict(record))  # type: ignore[call-overload]
    entry.pop("projection", None)
    entry.pop("gene_velocity", None)
    kept = ("use_rep", "n_dims")
    entry["representation"] = {k: entry["representation"][k] for k in kept}
    return entry
