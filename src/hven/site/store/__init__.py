"""The system state (snapshots, pointers, runs, leases, releases, jobs, grants) on SQLAlchemy Core.

The database is SQLite in WAL mode, or PostgreSQL. One table, `pointers`, decides what users see; it changes in one
transaction for all tables of a collection.
"""

from __future__ import annotations

from hven.site.store._database import format_current_time, mark_state_required
from hven.site.store._grants import AccessGrant, AccessGrantStore
from hven.site.store._job_records import REMOTE_PROGRESS_KEY, CompletedJob, JobRecord, JobRef, JobStore
from hven.site.store._job_relations import CHILD_QUEUE_PREFIX, RUNNING_LIMIT_KEY
from hven.site.store._leases import Lease, get_process_holder, is_holder_dead
from hven.site.store._releases import Release
from hven.site.store._schedules import CollectionAlert, SyncScheduleRecord, create_alert
from hven.site.store._snapshots import PublicationEvent, SnapshotRecord
from hven.site.store._state_store import StateStore, build_lease_name
from hven.site.store._verifications import SnapshotVerification
from hven.site.store.ingest_runs import IngestRun

__all__ = [
    "CHILD_QUEUE_PREFIX",
    "REMOTE_PROGRESS_KEY",
    "RUNNING_LIMIT_KEY",
    "AccessGrant",
    "AccessGrantStore",
    "CollectionAlert",
    "CompletedJob",
    "IngestRun",
    "JobRecord",
    "JobRef",
    "JobStore",
    "Lease",
    "PublicationEvent",
    "Release",
    "SnapshotRecord",
    "SnapshotVerification",
    "StateStore",
    "SyncScheduleRecord",
    "build_lease_name",
    "create_alert",
    "format_current_time",
    "get_process_holder",
    "is_holder_dead",
    "mark_state_required",
]
