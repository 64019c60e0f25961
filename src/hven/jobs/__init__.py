"""UWS jobs: what may be asked of a job (`Desk`), what a job type is (`Type`), and the processes that run them (`keep`).

A job type is a module of this room, or one that the entry-point group ``hven.jobs`` names; it has `JOB`, a :class:`Type`.
"""

from __future__ import annotations

from hven.jobs.declared import check as check_types
from hven.jobs.declared import offered
from hven.jobs.desk import ACTIVE, CONTROLS, FINAL, MOST, PAGE, PHASES, Asker, Desk, place
from hven.jobs.keeper import keep
from hven.jobs.types import Type, Work
from hven.jobs.worker import run_next

PRIVATE = ("alone", "desk", "keeper", "quote", "types", "worker", "command", "declared", "remote", "forks")

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
