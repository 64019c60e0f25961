"""Delete the tables that users keep when they expire, and the files that nothing reads any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import ConflictError

if TYPE_CHECKING:
    from hven.site._site import Site


def delete_expired_user_tables(site: Site) -> int:
    """Delete expired tables, and the files that no query can begin to read any more.

    Parameters
    ----------
    site
        The site that stores them.

    Returns
    -------
    count
        Number of deleted tables.
    """
    count, expired_snapshots = site.store.user_tables.delete_expired_tables_and_sessions(
        site.store.deletion_clock.compute_and_record_trusted_time()
    )
    for snapshot in expired_snapshots:
        site.embedded_engine.remove_snapshot(snapshot)
    return count


def clean_user_table_storage(site: Site) -> None:
    """Delete expired tables, and the files of processes that were killed while they wrote.

    Parameters
    ----------
    site
        The site that stores them.
    """
    delete_expired_user_tables(site)
    try:
        with site.store.leases.hold_lease("files", description="tidying"):
            site.embedded_engine.remove_leftovers(site.store.list_kept_snapshot_paths())
    except ConflictError:
        return  # an ingest is publishing, or deletes such files itself
