"""The one road to data: ``run(query, who, site=...) -> Result``. Permission, limits and cancellation exist here, once."""

from __future__ import annotations

from hven.query.head import WARNING, head, unused
from hven.query.origin import origins
from hven.query.result import Result
from hven.query.road import explain, known, names_objects, run

PRIVATE = ("head", "origin", "road", "result", "shapes", "total", "turns")

__all__ = ["WARNING", "Result", "explain", "head", "known", "names_objects", "origins", "run", "unused"]
