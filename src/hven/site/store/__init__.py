"""The system state (snapshots, pointers, runs, leases, releases, jobs, grants) on SQLAlchemy Core: SQLite in WAL mode, or PostgreSQL.

What readers see is decided by one table here, `pointers`; it changes in one transaction for all tables of a collection.
"""

from __future__ import annotations

from hven.site.store._database import now, stand
from hven.site.store._grants import Grant, Grants
from hven.site.store._job_records import REMOTE, Job, Jobs, Past, Ref
from hven.site.store._leases import Lease, dead, holder
from hven.site.store._pushes import Push, Pushes
from hven.site.store._releases import Release
from hven.site.store._schedules import Alert, Schedule, alert
from hven.site.store._snapshots import Event, Record
from hven.site.store._state import Store, lease_name
from hven.site.store._user_table_records import check_room
from hven.site.store._verifications import Verification
from hven.site.store.runs import Run

__all__ = [
    "REMOTE",
    "Alert",
    "Event",
    "Grant",
    "Grants",
    "Job",
    "Jobs",
    "Lease",
    "Past",
    "Push",
    "Pushes",
    "Record",
    "Ref",
    "Release",
    "Run",
    "Schedule",
    "Store",
    "Verification",
    "alert",
    "check_room",
    "dead",
    "holder",
    "lease_name",
    "now",
    "stand",
]
