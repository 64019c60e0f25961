"""UWS jobs: what a job type is. Which there are is `declared`, the `desk` is asked about jobs, and the `keeper` has them run.

A job type is a module of this room, or one that the entry-point group ``hven.jobs`` names; it has `JOB`, a :class:`Type`.
"""

from __future__ import annotations

from hven.jobs._types import RULES, Quota, Type, Work

__all__ = ["RULES", "Quota", "Type", "Work"]
