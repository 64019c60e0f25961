"""UWS jobs: what may be asked of a job (`Desk`), what a job type is (`Type`), and the processes that run them (`keep`).

A job type is a module of this room, or one that the entry-point group ``hven.jobs`` names; it has `JOB`, a :class:`Type`.
"""

from __future__ import annotations

from hven.jobs.desk import ACTIVE, FINAL, PHASES, Asker, Desk
from hven.jobs.keeper import keep
from hven.jobs.types import Type, Work
from hven.jobs.worker import run_next

PRIVATE = ("desk", "keeper", "types", "worker")

__all__ = ["ACTIVE", "FINAL", "PHASES", "Asker", "Desk", "Type", "Work", "keep", "run_next"]
