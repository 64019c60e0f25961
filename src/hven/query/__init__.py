"""The one road to data: ``run(query, who, site=...) -> Result``. Permission, limits and cancellation exist here, once."""

from __future__ import annotations

from hven.query.result import Result
from hven.query.road import explain, run

PRIVATE = ("road", "result", "shapes", "turns")

__all__ = ["Result", "explain", "run"]
