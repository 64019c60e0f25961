"""Tables of facts of the standards, as files of our own making: EPNcore 2.0, ObsCore 1.1, its radio extension."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A column of a standard.

    Attributes
    ----------
    type
        text, integer, double (or float), double! (nothing less), timestamp, region.
    unit, ucd
        As the standard writes them; ``by-frame``, ``by-type``: they depend on values; alternatives are separated by ``|``.
    many
        It holds a list, separated by ``#``.
    pair
        The other end of its interval.
    """

    name: str
    type: str
    unit: str
    ucd: str
    mandatory: bool = False
    filled: bool = False
    xtype: str = ""
    utype: str = ""
    many: bool = False
    pair: str = ""


@lru_cache(maxsize=8)
def facts(name: str) -> dict[str, Fact]:
    """Read ``epncore``, ``obscore`` or ``obscore_radio``: name of a column -> what the standard says."""
    text = resources.files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return {
        row["name"]: Fact(
            name=row["name"], type=row["type"], unit=row["unit"], ucd=row["ucd"], mandatory=row["mandatory"] == "1",
            filled=row.get("filled") == "1", xtype=row.get("xtype") or "", utype=row.get("utype") or "", many=row.get("list") == "1",
            pair=row.get("pair") or "",
        )
        for row in csv.DictReader(text.splitlines())
    }  # fmt: skip
