"""Tables of facts of the standards, as files of our own making: EPNcore 2.0, ObsCore 1.1, its radio extension."""

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
        text, integer, double (or float), double! (nothing less), timestamp, region.
    unit, ucd
        As the standard writes them; ``by-frame``, ``by-type``: they depend on values; alternatives are separated by
        ``|``.
    is_list
        It holds a list, separated by ``#``.
    paired_column
        The other end of its interval.
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
def load_standard_columns(name: str) -> dict[str, StandardColumn]:
    """Read ``epncore``, ``obscore`` or ``obscore_radio``: name of a column -> what the standard says."""
    text = resources.files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return {
        row["name"]: StandardColumn(
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
        for row in csv.DictReader(text.splitlines())
    }
