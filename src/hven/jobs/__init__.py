"""UWS jobs: what may be asked of a job (`Desk`), what a job type is (`Type`), and the processes that run them (`keep`).

A job type is a module of this room, or one that the entry-point group ``hven.jobs`` names; it has `JOB`, a :class:`Type`.
"""

from __future__ import annotations

from hven.jobs._declared import check as check_types
from hven.jobs._declared import offered
from hven.jobs._keeper import keep
from hven.jobs._types import Type, Work
from hven.jobs._worker import run_next
from hven.jobs.desk import ACTIVE, CONTROLS, FINAL, MOST, PAGE, PHASES, Asker, Desk, place

__all__ = [
    "ACTIVE",
    "CONTROLS",
    "FINAL",
    "MOST",
    "PAGE",
    "PHASES",
    "Asker",
    "Desk",
    "Type",
    "Work",
    "check_types",
    "keep",
    "offered",
    "place",
    "run_next",
]
