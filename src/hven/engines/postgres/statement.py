"""SQL text with its parameters, for both ways to run it: prepared with ``$1`` .., or by COPY with settings of the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines.postgres.places import Places

    Values = Sequence[float | str | None]


@dataclass(frozen=True, slots=True)
class Statement:
    """A query over certain tables.

    Attributes
    ----------
    asked, streamed
        The SQL text with ``$1`` .., and with settings.
    slots
        Where each parameter comes from: the slot of a literal, or (negative) an extra parameter of `places`.
    """

    asked: str
    streamed: str
    slots: tuple[int, ...]
    places: Places

    def arguments(self, values: Values) -> list[str] | None:
        """Return the parameters as text; None if the text does not hold for these values."""
        extras = self.places.values(values)
        if extras is None:
            return None
        return [as_text(values[slot]) if slot >= 0 else extras[-1 - slot] for slot in self.slots]


def as_text(value: float | str | None) -> str:
    """Write a parameter as PostgreSQL reads it; a NUL, which is in no text of it, becomes what is in none either."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffe") if "\0" in value else value
    return str(value).lower() if isinstance(value, bool) else repr(value)
