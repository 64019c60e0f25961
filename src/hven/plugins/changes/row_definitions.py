"""Which rows of a table are meant: those that meet a condition, lie near targets, or have given keys."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from hven.plugins.changes.numeric_bounds import NumericBounds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Table

MAX_KEY_CHARACTERS = 2_000


@dataclass(frozen=True, kw_only=True)
class RowDefinition:
    """Which rows of a table are meant: those that fit in all that is set.

    Attributes
    ----------
    condition
        A query ``SELECT * FROM table WHERE condition`` in ADQL; empty: any row.
    targets
        Right ascension and declination of each target, in degrees: base64 of float64. Empty: anywhere.
    radius
        Radius around the targets, in degrees.
    keys
        Keys of rows, as in addresses of pages; empty: any row.
    bounds
        What the condition is, if it only bounds numbers: column in lower case -> smallest and largest value.
    """

    condition: str = ""
    targets: str = ""
    radius: float = 0.0
    keys: tuple[str, ...] = ()
    bounds: NumericBounds = field(default_factory=dict)

    @cached_property
    def positions(self) -> np.ndarray:
        """Right ascension and declination of each target, in degrees; two columns."""
        return np.frombuffer(base64.b64decode(self.targets), "<f8").reshape(-1, 2)

    def to_json(self) -> str:
        """Return the definition as it is stored."""
        values = {field_name: getattr(self, field_name) for field_name in self.__dataclass_fields__}
        return json.dumps({name: value for name, value in values.items() if value})

    def describe(self) -> dict[str, Any]:
        """Return the definition for pages and programs."""
        return {
            "query": self.condition,
            "targets": len(self.positions),
            "radius": self.radius,
            "rows": list(self.keys[:20]),
            "row_count": len(self.keys),
        }


def definition_from_json(text: str) -> RowDefinition:
    """Read a definition as it is stored.

    Parameters
    ----------
    text
        A result of `RowDefinition.to_json`.
    """
    # of definitions, only bounds can have infinities, which orjson does not read
    values: Mapping[str, Any] = json.loads(text) if '"bounds"' in text else orjson.loads(text)
    bounds = {name: (low, high) for name, (low, high) in values.get("bounds", {}).items()}
    return RowDefinition(**{**values, "keys": tuple(values.get("keys", ())), "bounds": bounds})


def build_key_rows(keys: Sequence[str], table: Table) -> pa.Table:
    """Return keys of rows as the columns of the primary key.

    Parameters
    ----------
    keys
        Keys as JSON lists.
    table
        The table.

    Raises
    ------
    ValueError
        A text is not a list of as many values as the key has columns; pyarrow has further errors of values.
    """
    rows: list[Any] = [orjson.loads(key) if len(key) <= MAX_KEY_CHARACTERS else None for key in keys]
    if not all(isinstance(row, list) and len(row) == len(table.primary) for row in rows):
        raise ValueError("not a key")
    columns = {}
    for position, name in enumerate(table.primary):
        column_type = table.find_column(name).type.arrow
        values = [row[position] for row in rows]
        if not all(isinstance(value, str | int | float) and not isinstance(value, bool) for value in values):
            raise ValueError("not a value of a key")
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        columns[name] = pa.array(texts, pa.string()).cast(column_type)
    return pa.table(columns)


def encode_positions(positions: np.ndarray) -> str:
    """Encode right ascension and declination of targets (degrees; two columns) as `RowDefinition.targets`."""
    return base64.b64encode(positions.astype("<f8").tobytes()).decode()
