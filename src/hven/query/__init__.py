"""The one road to data: ``run(query, who, site=...) -> Result``. Permission, limits and cancellation exist here, once."""

from __future__ import annotations

from hven.query._origin import origins
from hven.query._result import Result
from hven.query._road import explain, known, names_objects, run
from hven.query.head import WARNING, head, unused

__all__ = ["WARNING", "Result", "explain", "head", "known", "names_objects", "origins", "run", "unused"]
