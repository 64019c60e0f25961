"""The system state (snapshots, pointers, runs, leases, releases, jobs) on SQLAlchemy Core: SQLite in WAL mode, or PostgreSQL.

What readers see is decided by one table here, `pointers`; it changes in one transaction for all tables of a collection.
"""

from __future__ import annotations

from hven.site.store._snapshots import Event, Record, Release
from hven.site.store._verifications import Verification
from hven.site.store.database import FORMAT, stand
from hven.site.store.job_records import Job, Jobs, Ref
from hven.site.store.leases import Lease, Leases, holder
from hven.site.store.runs import Run, Runs
from hven.site.store.schedules import Alert, Schedule, Schedules
from hven.site.store.state import Store

__all__ = [
    "FORMAT",
    "Alert",
    "Event",
    "Job",
    "Jobs",
    "Lease",
    "Leases",
    "Record",
    "Ref",
    "Release",
    "Run",
    "Runs",
    "Schedule",
    "Schedules",
    "Store",
    "Verification",
    "holder",
    "stand",
]
