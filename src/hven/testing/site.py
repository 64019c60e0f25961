"""A tiny site in a temporary directory, for tests of everybody: tables of Arrow rows, or a descriptor with files."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.model.settings import Settings
from hven.model.table import Table, columns_of
from hven.site import Site
from hven.site.store import Record, now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

_count = itertools.count(1)


def tiny_site(
    directory: Path, tables: Mapping[str, pa.Table | tuple[Table, pa.Table]], *, watch: bool = False, **settings: Any
) -> Site:
    """Open a site that publishes small tables without descriptors.

    Parameters
    ----------
    directory
        Where the site is made.
    tables
        ``schema.table`` -> rows, or (`Table`, rows) where units, UCDs, positions ... matter. Columns called ``ra`` and ``dec`` become
        the position of a table that is given as rows alone.
    watch
        Whether changes of descriptors and of the store are looked for by threads, as a server does.
    settings
        Further attributes of `hven.model.settings.Settings`.

    Returns
    -------
    site
        The caller closes it.
    """
    site = Site(Settings(directory=directory, **settings), watch=watch)
    try:
        for name, given in tables.items():
            table, rows = given if isinstance(given, tuple) else (table_of(name, given), given)
            publish(site, table, rows)
        site.refresh()
    except BaseException:
        site.close()
        raise
    return site


def table_of(name: str, rows: pa.Table) -> Table:
    """Describe rows as a table, from their Arrow schema alone.

    Parameters
    ----------
    name
        ``schema.table``.
    rows
        Columns called ``ra`` and ``dec`` (degrees) become its position.

    Returns
    -------
    table
        Without units, UCDs or keys.
    """
    schema, _, short = name.partition(".")
    words = set(rows.column_names)
    position = ("ra", "dec") if {"ra", "dec"} <= words else None
    return Table(schema=schema, name=short, columns=tuple(columns_of(rows.schema)), position=position)


def publish(site: Site, table: Table, rows: pa.Table, *, keeper: str | None = None) -> Record:
    """Publish rows as a new snapshot of `table`; the schema's other tables stay as they are.

    Parameters
    ----------
    site
        An open one.
    table
        Its schema is the collection.
    rows
        With at least the columns of the table, castable to their types.
    keeper
        Name of the engine that keeps them; None: the site's default.

    Returns
    -------
    record
        What the store knows of the snapshot.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    ident = f"{stamp}-{next(_count):06x}"
    engine = site.engines.get(keeper or site.engines.default)
    staging = engine.stage(table, ident)
    try:
        for batch in rows.select(table.arrow.names).cast(table.arrow).to_batches():
            staging.write(batch)
        snapshot = replace(staging.finish(), engine=engine.name)
    except BaseException:
        staging.abandon()
        raise
    record = Record(snapshot=snapshot, table=table, collection=table.schema, run=ident, created=now())
    _, present = site.store.current()
    others = [
        item for item in present.values() if item.collection == table.schema and item.table.qualified != table.qualified
    ]
    site.store.publish(table.schema, [*others, record], run=ident)
    return record


def site_with(
    directory: Path,
    descriptor: str,
    files: Mapping[str, str | bytes] | None = None,
    *,
    name: str | None = None,
    **settings: Any,
) -> Site:
    """Open a site with one collection's descriptor and the files beside it; nothing is ingested yet.

    Parameters
    ----------
    directory
        Where the site is made.
    descriptor
        Text of the descriptor.
    files
        File name beside the descriptor -> content.
    name
        Of the collection; None = what ``collection:`` says.
    settings
        Further attributes of `hven.model.settings.Settings`.

    Returns
    -------
    site
        The caller closes it.
    """
    found = re.search(r"^collection:\s*(\w+)", descriptor, re.MULTILINE)
    title = name or (found.group(1) if found else "things")
    place = directory / "collections" / title
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{title}.yaml").write_text(descriptor, encoding="utf-8")
    for path, content in (files or {}).items():
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return Site(Settings(directory=directory, **settings))
