"""Parse the units that records and headers of text tables state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.model import units as units_
from hven.sources._reading.cells import NULL_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

NON_UNITS = frozenset((*NULL_WORDS, "1", "#", "unitless", "dimensionless"))


def strip_unit_brackets(cell: str) -> str:
    """Strip the brackets of a unit."""
    if re.fullmatch(r"\[.*\]|\([^()]*\)", cell):
        return cell[1:-1].strip()
    return cell


def parse_units(names: Sequence[str], unit_cells: Sequence[str]) -> dict[str, str | None]:
    """Parse a record of units; texts that are no units stay as they are."""
    return {
        name: units_.normalize_unit(bare := strip_unit_brackets(cell)) or (bare if bare not in NON_UNITS else None)
        for name, cell in zip(names, unit_cells, strict=False)
    }
