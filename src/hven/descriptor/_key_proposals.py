"""What `hven new` finds out about a source, and what a package proposes for its keys from this."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hven.adql.reserved_words import RESERVED_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Column
    from hven.sources import Source

_PLAIN_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class SampledValueRange(Protocol):
    """Least and greatest of the values of a column that were read.

    Attributes
    ----------
    minimum, maximum
        The values; None if there is none.
    """

    minimum: Any
    maximum: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnGuess:
    """One column of a first descriptor.

    Attributes
    ----------
    source
        Name in the source.
    expression
        ADQL over the source; None: the source's column of this name is copied.
    remark
        Comment for the curator.
    is_key
        Whether the column belongs to the primary key.
    guessed_attributes
        Attributes that come from the column's name, description or values, and not from metadata.
    """

    source: str
    column: Column
    expression: str | None = None
    remark: str | None = None
    is_key: bool = False
    guessed_attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedSource:
    """A source that `hven new` inspects.

    Attributes
    ----------
    source
        The source.
    columns
        Its columns.
    guesses
        Columns of the proposed table.
    read_first_rows
        Reads the first values of columns, by their names.
    samples_by_name
        Statistics of the values that were read, by the names of columns.
    """

    source: Source
    columns: Sequence[Column]
    guesses: Sequence[ColumnGuess]
    read_first_rows: Callable[[Sequence[Column]], Mapping[str, pa.Array]]
    samples_by_name: Mapping[str, SampledValueRange]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableKeyProposal:
    """What `hven new` proposes for a key.

    Attributes
    ----------
    lines
        Lines of the table in the descriptor.
    notes
        Comments for the curator.
    """

    lines: Sequence[str] = ()
    notes: Sequence[str] = ()


def quote_source_name(name: str, *, is_always_quoted: bool = False) -> str:
    """Write a source column's name in an expression.

    Parameters
    ----------
    name
        Name of the column.
    is_always_quoted
        Whether plain names are quoted, too.

    Returns
    -------
    expression
        The name, in double quotes where it needs them.
    """
    if not is_always_quoted and _PLAIN_NAME_PATTERN.fullmatch(name) and name.upper() not in RESERVED_WORDS:
        return name
    return '"' + name.replace('"', '""') + '"'
