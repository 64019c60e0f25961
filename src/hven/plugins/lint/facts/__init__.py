"""Facts of standards, from CSV files: the columns of EPNcore 2.0, of ObsCore 1.1, and of its radio extension."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardColumn:
    """A column of a standard.

    Attributes
    ----------
    type
        text, integer, double (or float), double! (not float), timestamp, region.
    unit, ucd
        As the standard writes them. ``|`` separates alternatives. ``by-frame`` and ``by-type`` depend on values of the
        row.
    is_list
        Whether the column holds a list with the separator ``#``.
    paired_column
        The column with the other end of its interval.
    """

    name: str
    type: str
    unit: str
    ucd: str
    is_mandatory: bool = False
    is_filled: bool = False
    xtype: str = ""
    utype: str = ""
    is_list: bool = False
    paired_column: str = ""


@lru_cache(maxsize=8)
def load_standard_columns(standard_name: str) -> dict[str, StandardColumn]:
    """Load the columns of ``epncore``, ``obscore`` or ``obscore_radio`` by their names."""
    text = resources.files(__package__).joinpath(f"{standard_name}.csv").read_text(encoding="utf-8")
    columns = {}
    for row in csv.DictReader(text.splitlines()):
        columns[row["name"]] = StandardColumn(
            name=row["name"],
            type=row["type"],
            unit=row["unit"],
            ucd=row["ucd"],
            is_mandatory=row["mandatory"] == "1",
            is_filled=row.get("filled") == "1",
            xtype=row.get("xtype") or "",
            utype=row.get("utype") or "",
            is_list=row.get("list") == "1",
            paired_column=row.get("pair") or "",
        )
    return columns
