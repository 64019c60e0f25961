"""Open a tiny site in a temporary directory, for any tests: tables of Arrow rows, or a descriptor with files."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.model.settings import Settings
from hven.model.table import Table, build_columns_from_arrow
from hven.site import Site
from hven.site.store import SnapshotRecord, format_current_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

_snapshot_numbers = itertools.count(1)


def open_tiny_site(
    directory: Path, tables: Mapping[str, pa.Table | tuple[Table, pa.Table]], *, watch: bool = False, **settings: Any
) -> Site:
    """Open a site that publishes small tables without descriptors.

    Parameters
    ----------
    directory
        The directory of the site.
    tables
        ``schema.table`` -> rows, or (`Table`, rows) where units, UCDs, positions or keys matter. In rows alone, columns
        called ``ra`` and ``dec`` become the position.
    watch
        Whether threads watch for changes of descriptors and of the store, as in a server.
    settings
        Further attributes of `hven.model.settings.Settings`.

    Returns
    -------
    site
        An open site; the caller closes it.
    """
    site = Site(Settings(directory=directory, **settings), watch_for_changes=watch)
    try:
        for name, table_or_rows in tables.items():
            if isinstance(table_or_rows, tuple):
                table, rows = table_or_rows
            else:
                table = build_table_from_arrow(name, table_or_rows)
                rows = table_or_rows
            publish_rows(site, table, rows)
        site.refresh_published_state()
    except BaseException:
        site.close()
        raise
    return site


def build_table_from_arrow(name: str, rows: pa.Table) -> Table:
    """Describe rows as a table, from their Arrow schema alone.

    Parameters
    ----------
    name
        ``schema.table``.
    rows
        Columns called ``ra`` and ``dec`` (degrees) become the position.

    Returns
    -------
    table
        A table without units, UCDs and keys.
    """
    schema, _, table_name = name.partition(".")
    position = None
    if {"ra", "dec"}.issubset(rows.column_names):
        position = ("ra", "dec")
    columns = tuple(build_columns_from_arrow(rows.schema))
    return Table(schema=schema, name=table_name, columns=columns, position=position)


def publish_rows(site: Site, table: Table, rows: pa.Table, *, engine_name: str | None = None) -> SnapshotRecord:
    """Publish rows as a new snapshot of `table`; the other tables of the schema stay published.

    Parameters
    ----------
    site
        An open site.
    table
        The table; its schema is the collection.
    rows
        Rows with at least the columns of the table, of types that can be cast to theirs.
    engine_name
        Name of the engine for the snapshot; None for the site's default engine.

    Returns
    -------
    record
        The record of the snapshot in the store.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    run_id = f"{stamp}-{next(_snapshot_numbers):06x}"
    engine = site.engines.get_engine(engine_name or site.engines.default_engine)
    staging = engine.stage_snapshot(table, run_id)
    try:
        selected_rows = rows.select(table.arrow_schema.names)
        for batch in selected_rows.cast(table.arrow_schema).to_batches():
            staging.write(batch)
        snapshot = replace(staging.finish(), engine=engine.name)
    except BaseException:
        staging.abandon()
        raise
    record = SnapshotRecord(
        snapshot=snapshot, table=table, collection=table.schema, run=run_id, created=format_current_time()
    )
    _, current_records = site.store.read_published_records()
    collection_records = [item for item in current_records.values() if item.collection == table.schema]
    other_records = [item for item in collection_records if item.table.qualified_name != table.qualified_name]
    site.store.publish_collection(table.schema, [*other_records, record], run_id=run_id)
    return record


def open_site_with_uningested_files(
    directory: Path,
    descriptor_text: str,
    files: Mapping[str, str | bytes] | None = None,
    *,
    name: str | None = None,
    **settings: Any,
) -> Site:
    """Open a site with one collection's descriptor and its files, without ingesting them.

    Parameters
    ----------
    directory
        The directory of the site.
    descriptor_text
        Text of the descriptor.
    files
        File name next to the descriptor -> content.
    name
        Name of the collection; None for the name in ``collection:``.
    settings
        Further attributes of `hven.model.settings.Settings`.

    Returns
    -------
    site
        An open site; the caller closes it.
    """
    collection = name or _parse_collection_name(descriptor_text)
    collection_directory = directory / "collections" / collection
    collection_directory.mkdir(parents=True, exist_ok=True)
    descriptor_file = collection_directory / f"{collection}.yaml"
    descriptor_file.write_text(descriptor_text, encoding="utf-8")
    for path, content in (files or {}).items():
        target = collection_directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        file_bytes = content.encode() if isinstance(content, str) else content
        target.write_bytes(file_bytes)
    return Site(Settings(directory=directory, **settings))


def _parse_collection_name(descriptor_text: str) -> str:
    """Return the name in ``collection:``, or a default."""
    name_match = re.search(r"^collection:\s*(\w+)", descriptor_text, re.MULTILINE)
    if name_match is None:
        return "things"
    return name_match.group(1)
