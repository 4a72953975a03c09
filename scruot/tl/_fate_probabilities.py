"""Where the descendants of every cell end."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from tqdm.auto import tqdm

from scruot._checks import check_seed, whole
from scruot._keys import fate_slots, slots, transport_slots
from scruot._messages import unknown
from scruot.fates import shares
from scruot.io.fates import Fates, check_free_fates, package_versions, write_fates
from scruot.io.mass import Mass
from scruot.io.store import check_writable, plain, writable
from scruot.tl import _fate_carry as carry
from scruot.tl._fate_run import Asked, from_dynamics, from_transport
from scruot.tl._fate_samples import Samples
from scruot.tl._fate_sources import filled, is_stored, refuse
from scruot.tl._fate_states import NamedStates, States
from scruot.tl._fate_trust import quality, warn, warn_without_fate
from scruot.tl._transport_auto import described_settings

_SOURCES = ("dynamics", "transport")

logger = logging.getLogger(__name__)


def fate_probabilities(
    adata: AnnData,
    groupby: str | None = None,
    *,
    terminal_states: NamedStates = None,
    source: Literal["dynamics", "transport"] = "dynamics",
    key: str | None = None,
    none: bool = False,
    condition_key: str | None = None,
    replicate_key: str | None = None,
    n_simulations: int = 100,
    n_bootstrap: int | None = None,
    n_permutations: int | None = 99,
    stochastic: bool = False,
    time_key: str | None = None,
    use_rep: str | None = None,
    n_dims: int | None = None,
    mass: Mass | None = None,
    key_added: str | None = None,
    device: str = "auto",
    random_state: int = 0,
    progress: bool = False,
    copy: bool = False,
) -> AnnData | None:
    r"""Compute where the descendants of every cell end, counted by their mass.

    Every cell is followed to where its lineage ends: the terminal states. Its probability of a
    fate is the share of its descendants, by mass, that ends there; a cell in a terminal state has
    that fate with certainty, and once in it descendants stay. What carries the cells:

    * ``source="dynamics"``: a flow sends each cell to one point, which would make every fate
      certain. So the model is followed over one interval at a time, and where cells arrive they are
      coupled with the cells observed there, with the noise of the automatic rule
      (:func:`scruot.fates.flow_plan`). Fates are read from the chain of these couplings.
    * ``source="dynamics"`` with ``stochastic=True``, for a model with noise: ``n_simulations``
      weighted simulations of each cell to the end. Where they end is decided by a vote of nearest
      cells that is calibrated on cells left out (:class:`scruot.fates.StateClassifier`) and may say
      "none of these". These fates are as calibrated as the noise of the model, which the snapshots
      do not determine: a warning is logged where they are much more certain than the couplings.
    * ``source="transport"``: the chain of couplings of :func:`scruot.tl.transport`, or where there
      are none those of ``method="fate"``, the automatic rule.

    Parameters
    ----------
    adata
        Cells of all times, with a fit for ``source="dynamics"``.
    groupby
        Column of ``obs`` with groups, e.g. cell types. Cells may lack a label; those of the last
        time at which states end are judged by their neighbours, earlier ones are on their way.
    terminal_states
        Where lineages end. ``None``: the groups of ``groupby`` that are present at the last time;
        without ``groupby`` the states of :func:`scruot.tl.terminal_states`. A list: names of
        groups, each where it is last observed, which may be before the last time. A mapping from
        names to sets of cells (a boolean column, a mask, names of cells, ``{column: group}``). A
        word: a column of ``obs`` with the states, missing for other cells.
    source
        ``"dynamics"`` or ``"transport"``.
    key
        ``key_added`` of the fit or of the transport.
    none
        Whether to keep what ends in no terminal state as a last column, ``"none of these"``.
        Otherwise probabilities are shares among those descendants that end in one.
    condition_key
        Column of ``obs`` with conditions, each of which is followed by itself: its cells are
        coupled with its own cells of the next time alone. Terminal states, metric and noise are
        those of all cells. Where conditions differ is tested, see ``n_permutations``. A condition
        has of the population of a time (``mass``) the share of its cells' weights. Neither with
        ``stochastic=True``, where one model carries all cells alike, nor with stored couplings.
    replicate_key
        Column of ``obs`` with replicates, e.g. animals: what standard errors (``n_bootstrap``) and
        the test of conditions take for independent. With ``condition_key`` each is of one.
    n_simulations
        Simulations of each cell with ``stochastic=True``.
    n_bootstrap
        Number of times that everything but the fit of a model is repeated, for standard errors; 20
        give an idea. Cells get random weights, or with ``replicate_key`` replicates are drawn, at
        every time by itself. With ``stochastic=True`` these are errors of the simulations, and any
        number asks for them.
    n_permutations
        With ``condition_key``: most ways to give the conditions to the replicates for which
        everything is repeated, all of them where there are no more; ``None`` leaves the test out.
    stochastic
        Whether to simulate a model that has noise with it, to the end. By default cells are coupled
        after every interval, which is better calibrated for every solver that was measured.
    time_key, use_rep, n_dims, mass
        As in :func:`scruot.tl.transport` (``"time"``, ``"X_pca"``, all, ``"counts"``); only with
        ``source="transport"`` where no transport is stored. Where they are left out and
        ``uns["dynamics"]`` holds a fit, its time column and representation are read.
    key_added
        Prefix of all slots; ``"fates"`` by default.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    random_state
        Seed of the simulations.
    progress
        Whether to show a progress bar.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy. Written:

    ``adata.obsm["fate_probabilities"]`` : DataFrame (n, number of fates)
        A column for each fate (and for none), in the order of the terminal states; rows sum to
        one. NaN for cells that are in no terminal state at the last time at which these end, or
        later, and for cells without descendants; how many of the former is logged, as a warning.
    ``adata.obsm["fate_probabilities_se"]`` : DataFrame
        With ``n_bootstrap``: standard errors, over replicates where they are named.
    ``adata.obs["fate"]`` : categorical
        The most probable fate.
    ``adata.obs["fate_entropy"]`` : float
        Entropy of the row, over the logarithm of the number of columns: 0 certain, 1 undecided.
    ``adata.obs["expected_descendants"]`` : float
        Descendants where lineages end, per cell.
    ``adata.obs["terminal_states"]`` : categorical
        The states that were used.
    ``adata.uns["fate_shift"]`` : DataFrame
        With ``condition_key``: the shifts against the first condition, time by time, in the columns
        of :func:`scruot.tl.fate_shift`; ``error`` is the spread that there would be without any.
    ``adata.uns["fates"]`` : dict
        ``"names"``, ``"source"``, ``"params"``, ``"resolved"``, ``"versions"``, ``"times"``,
        ``"quality"``; where the rule was used ``"metric"``, a map (dimensions, k) of the
        representation into coordinates whose squared distances are those of the rule;
        ``uns["fate_colors"]`` and ``uns["terminal_states_colors"]`` where the data hold colours of
        ``groupby``.

    Raises
    ------
    KeyError
        When there is no such fit, transport, column or cell.
    TypeError, ValueError
        For states that no cell could reach, arguments that do not go together, or a
        representation that has changed since the fit; raised before anything is computed.
    RuntimeError
        When the model drives cells away to infinity.

    See Also
    --------
    scruot.tl.terminal_states : name or find the states.
    scruot.tl.fate_shift : compare conditions whose cells were followed together.
    scruot.get.fates_df : everything in one table.

    Notes
    -----
    A warning is logged where fates cannot be trusted; ``uns["fates"]["quality"]`` holds the figures
    (see the guide on fates).

    Cells of one condition share what is observed of it later, so once they are coupled its
    replicates are no independent samples. So the test repeats the couplings for every way to give
    the conditions to the replicates; those with cells at the same times are exchanged. Without
    ``replicate_key`` cells are, with a warning: that says whether these cells differ, and not
    whether conditions would in another experiment.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`. Weinreb, Wolock, Tusi,
    Socolovsky and Klein (2018), PNAS 115, E2467-E2476 :cite:p:`weinreb2018` (what snapshots can
    tell of fates).

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(400, 5, n_continue=0, random_state=0)
    >>> scruot.tl.fate_probabilities(adata, "cell_type", source="transport", use_rep="X_sim")
    >>> list(adata.obsm["fate_probabilities"].columns)
    ['A', 'B', 'C']
    """
    if source not in _SOURCES:
        raise ValueError(unknown("source", str(source), _SOURCES))
    random_state = check_seed(random_state)
    whole("n_simulations", n_simulations)
    whole("n_bootstrap", n_bootstrap, optional=True)
    whole("n_permutations", n_permutations, optional=True)
    names = fate_slots(key_added)
    check_writable(adata, copy=copy)
    check_free_fates(adata, names)
    reading = {"time_key": time_key, "use_rep": use_rep, "n_dims": n_dims, "mass": mass}
    samples = Samples.read(
        adata,
        condition_key,
        replicate_key,
        stochastic=stochastic,
        n_bootstrap=n_bootstrap,
        n_permutations=n_permutations,
        random_state=random_state,
    )
    asked = Asked(groupby, terminal_states, names)
    if source == "dynamics":
        refuse(reading, "source='dynamics', which reads all of that from the fit")
        simulations = n_simulations if stochastic else None
        cells, follow = from_dynamics(adata, asked, key, device, simulations, random_state)
    else:
        reading = reading if is_stored(adata, key) else filled(adata, reading)
        cells, follow = from_transport(adata, asked, key, reading, random_state)
    samples.check(cells)

    def bar(steps: Iterable[Any]) -> Iterable[Any]:
        return tqdm(steps, disable=not progress, desc="fates")

    found = samples.run(follow)(cells, bar)
    errors = samples.errors(cells, found, follow)
    shift = samples.shift(cells, found, follow, bar)
    params = {
        "groupby": groupby,
        "terminal_states": _described(terminal_states),
        "key": key,
        "none": none,
        "condition_key": condition_key,
        "replicate_key": replicate_key,
        "n_simulations": n_simulations,
        "n_bootstrap": n_bootstrap,
        "n_permutations": n_permutations,
        "stochastic": stochastic,
        **reading,
        "random_state": random_state,
    }
    columns = _columns(adata, source, key, reading)
    record = {"source": source, **columns, **_record(cells, found, params)}
    fates = _normalised(found, cells.states, errors, record, none=none)
    written = writable(adata, copy=copy)
    states = cells.states
    write_fates(written, fates, states.categorical(), found.mass.sum(1), states.groupby, names)
    if shift is not None:
        written.uns[names.shift] = shift
    warn(record["quality"])
    warn_without_fate(cells, fates.probabilities)
    return written if copy else None


def _record(cells: carry.FateCells, found: carry.Carried, params: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked for and what came of it, in plain things."""
    record: dict[str, Any] = {
        "names": np.asarray(cells.states.names, dtype=object),
        "params": {k: plain(v) for k, v in params.items()},
        "resolved": {k: plain(v) for k, v in described_settings(found.settings).items()},
        "versions": package_versions(),
        "times": np.asarray(cells.states.exit_times(cells.time)),
        "quality": quality(cells, found),
    }
    if found.settings is not None:
        record["metric"] = found.settings.metric.cpu().numpy()
    return record


def _columns(
    adata: AnnData, source: str, key: str | None, reading: dict[str, Any]
) -> dict[str, str]:
    """Return the column of times and the representation, where there is one."""
    if source == "dynamics":
        record = adata.uns[slots(key).uns]
        params = {**record["params"], "use_rep": record["representation"]["use_rep"]}
    else:
        stored = adata.uns.get(transport_slots(key).uns)
        params = reading if stored is None else stored["params"]
    return {k: str(params[k]) for k in ("time_key", "use_rep") if k in params}


def _described(named: NamedStates) -> Any:
    """Return terminal states as h5ad holds them: names of sets, not the sets."""
    return list(named) if named is not None and not isinstance(named, str) else named


def _normalised(
    found: carry.Carried,
    states: States,
    errors: NDArray[np.float64] | None,
    record: dict[str, Any],
    *,
    none: bool,
) -> Fates:
    mass = found.mass if none else found.mass[:, :-1]
    p = shares(mass)
    n = len(states.names)
    kept = None if errors is None else errors[:, :n]
    return Fates(states.names, p[:, :n], p[:, n] if none else None, kept, record)
