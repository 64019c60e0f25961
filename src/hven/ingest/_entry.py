"""One source of a table, looked at before its rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.descriptor import mapping as mappings
    from hven.model.resource import SourceSpec
    from hven.model.table import Column
    from hven.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One ``source:`` of a table: its columns and its mapping; nothing is read yet."""

    spec: SourceSpec
    source: Source
    columns: tuple[Column, ...]
    mapping: mappings.Mapping
