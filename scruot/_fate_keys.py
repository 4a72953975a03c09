"""Names of everything that belongs to one set of fates."""

from __future__ import annotations

from dataclasses import dataclass

from scruot._key_names import checked_key

FATES = "fates"


@dataclass(frozen=True)
class FateSlots:
    """Names of everything that belongs to one set of fates.

    Parameters
    ----------
    key
        ``key_added`` of the fates, ``"fates"`` by default.
    """

    key: str = FATES

    @property
    def _prefix(self) -> str:
        return "" if self.key == FATES else f"{self.key}_"

    @property
    def uns(self) -> str:
        """Parameters, quality."""
        return self.key

    @property
    def terminal_states(self) -> str:
        """``obs`` column: terminal states; ``uns`` entry: how they were proposed."""
        return f"{self._prefix}terminal_states"

    @property
    def terminal_states_colors(self) -> str:
        """``uns`` entry: a colour of each terminal state."""
        return f"{self.terminal_states}_colors"

    @property
    def probabilities(self) -> str:
        """``obsm`` key: probability of each fate."""
        return f"{self._prefix}fate_probabilities"

    @property
    def driver_genes(self) -> str:
        """``varm`` table of :func:`scruot.tl.driver_genes`."""
        return f"{self._prefix}driver_genes"

    @property
    def errors(self) -> str:
        """``obsm`` key: standard errors of the probabilities."""
        return f"{self._prefix}fate_probabilities_se"

    @property
    def calibration(self) -> str:
        """``uns`` entry of :func:`scruot.tl.fate_calibration`."""
        return f"{self._prefix}fate_calibration"

    @property
    def shift(self) -> str:
        """``uns`` entry of :func:`scruot.tl.fate_shift`."""
        return f"{self._prefix}fate_shift"

    @property
    def fate(self) -> str:
        """``obs`` column: the most probable fate."""
        return f"{self._prefix}fate"

    @property
    def fate_colors(self) -> str:
        """``uns`` entry: a colour of each fate."""
        return f"{self.fate}_colors"

    @property
    def entropy(self) -> str:
        """``obs`` column: entropy of the probabilities, between 0 and 1."""
        return f"{self._prefix}fate_entropy"

    @property
    def descendants(self) -> str:
        """``obs`` column: expected descendants where lineages end."""
        return f"{self._prefix}expected_descendants"


def fate_slots(key: str | None) -> FateSlots:
    """Return the slots of a set of fates; ``None`` means the default key.

    Raises
    ------
    ValueError
        For a key that h5ad cannot hold.
    """
    return FateSlots(FATES if key is None else checked_key(key))
