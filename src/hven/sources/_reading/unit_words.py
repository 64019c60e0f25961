"""Units as records and headers of text tables write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.model import units as units_
from hven.sources._reading.cells import NULL_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_UNIT = frozenset((*NULL_WORDS, "1", "#", "unitless", "dimensionless"))


def bare_unit(cell: str) -> str:
    """Strip the brackets off a unit."""
    return cell[1:-1].strip() if re.fullmatch(r"\[.*\]|\([^()]*\)", cell) else cell


def units_of(names: Sequence[str], told: Sequence[str]) -> dict[str, str | None]:
    """Read a record of units; those that are none stay as they stand."""
    return {
        name: units_.meant(bare := bare_unit(cell)) or (bare if bare not in NO_UNIT else None)
        for name, cell in zip(names, told, strict=False)
    }
