"""The system state (snapshots, pointers, runs, leases, releases, jobs) on SQLAlchemy Core: SQLite in WAL mode, or PostgreSQL.

What readers see is decided by one table here, `pointers`; it changes in one transaction for all tables of a collection.
"""

from __future__ import annotations

from hven.store.database import FORMAT, stand
from hven.store.jobs import Job, Jobs, Ref
from hven.store.leases import Lease, Leases, holder
from hven.store.runs import Run, Runs
from hven.store.schedules import Alert, Schedule, Schedules
from hven.store.snapshots import Event, Record, Release
from hven.store.state import Store
from hven.store.verifications import Verification

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
