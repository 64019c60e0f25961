"""The one road to data: ``run(query, who, site=...) -> Result``. Permission, limits and cancellation exist here, once."""

from __future__ import annotations

from hven.query.head import head
from hven.query.result import Result
from hven.query.road import explain, run

PRIVATE = ("head", "road", "result", "shapes", "turns")

__all__ = ["Result", "explain", "head", "run"]
