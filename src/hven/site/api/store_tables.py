"""Tables of a plug-in package in the system state: definitions, transactions, and the lease of a collection."""

from __future__ import annotations

from hven.site.store._database import StateDatabase, get_next_number
from hven.site.store._leases import check_lease_held
from hven.site.store._state_store import PendingPackageWrite
from hven.site.store._table_definitions import PackageTableSet

__all__ = ["PackageTableSet", "PendingPackageWrite", "StateDatabase", "check_lease_held", "get_next_number"]
