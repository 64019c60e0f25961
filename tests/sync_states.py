"""Read what a site stores about its synchronizations from its system state."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from hven.site import Site
from hven.site.store._database import sync_state


def read_sync_states(site: Site, collection: str) -> dict[str, dict[str, Any]]:
    """Read the states of the snapshots of a collection, by snapshot."""
    query = sa.select(sync_state.c.snapshot, sync_state.c.state).where(sync_state.c.collection == collection)
    with site.store.syncs._database.begin_read() as connection:
        return {row.snapshot: json.loads(row.state) for row in connection.execute(query)}
