"""The records of the publishing registry as they were last listed: when each one changed, and which are deleted."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.plugins.registry.store_tables import parts, registered
from hven.site.api.store_tables import get_next_number

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.site.api.store_tables import StateDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRecord:
    """A record of a publishing registry.

    Attributes
    ----------
    ivoid
        Its identifier; without case.
    kind
        Its type, as xsi:type has it: ``vs:CatalogService``.
    body
        XML of what stands in it.
    dublin
        The same as Dublin Core.
    created
        When it was first published (ISO 8601, UTC); None: when it is first told.
    changed
        When it changed here, in whole seconds; empty: it was not told yet.
    number
        Grows with each change of any record.
    deleted
        It is gone; what it was is kept.
    """

    ivoid: str
    kind: str
    body: str
    dublin: str
    created: str | None = None
    changed: str = ""
    number: int = 0
    deleted: bool = False


_RECORD_COLUMNS = [registered.c[field.name] for field in fields(RegistryRecord)]


class RegistryRecordStore:
    """The publishing registry of a site.

    Common
    ------
        Times of changes, inclusive; None: any.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def map_part_digests(self) -> dict[str, str]:
        """Return the digest of what the records of each part were made from.

        A part is a collection; the empty part is the site.
        """
        with self._database.begin_read() as connection:
            return {row.part: row.made for row in connection.execute(sa.select(parts))}

    def replace_records_listing_conflicts(
        self, records_by_part: Mapping[str, tuple[str, Sequence[RegistryRecord]] | None]
    ) -> list[str]:
        """Replace the records of several parts at once: what differs is changed now, and what is missing is deleted.

        Parameters
        ----------
        records_by_part
            Part -> the digest of what they were made from, and the records; None: the part is gone.

        Returns
        -------
        claimed
            Identifiers that another record already has: the later record is left out as long as that is so.
        """
        changed = 0
        conflicting_ivoids = []
        used_ids = set[str]()
        with self._database.begin_write() as connection:
            last_change = connection.execute(sa.select(sa.func.max(registered.c.changed))).scalar() or ""
            time_text = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            change_time = max(time_text, last_change)  # times of changes never go back
            number = get_next_number(connection, registered)
            removed_ids = _replace_digests_and_list_ids(connection, records_by_part)
            for part, part_records in records_by_part.items():
                _, new_records = part_records or ("", ())
                for registry_record in new_records:
                    record_id = registry_record.ivoid.lower()
                    old_row = connection.execute(sa.select(registered).where(registered.c.id == record_id)).first()
                    if _has_other_part(old_row, records_by_part) or record_id in used_ids:
                        conflicting_ivoids.append(registry_record.ivoid)
                        # without its digest the part is tried again
                        connection.execute(sa.delete(parts).where(parts.c.part == part))
                        continue
                    used_ids.add(record_id)
                    removed_ids.pop(record_id, None)
                    changed += _write_record(
                        connection, part, registry_record, old_row, number=number + changed, change_time=change_time
                    )
            for record_id in removed_ids:
                values = {"deleted": 1, "changed": change_time, "number": number + changed}
                connection.execute(sa.update(registered).where(registered.c.id == record_id).values(values))
                changed += 1
        return conflicting_ivoids

    def list_records(
        self,
        after_number: int,
        row_limit: int,
        changed_since: str | None = None,
        changed_until: str | None = None,
        *,
        omitted_columns: Collection[str] = (),
    ) -> list[RegistryRecord]:
        """List records in the order of their changes.

        Parameters
        ----------
        after_number
            Number of the last record that was listed.
        row_limit
            At most this many.
        omitted_columns
            Texts (`body`, `dublin`) that are not needed, and are returned empty.
        """
        columns = [_build_selected_column(column, omitted_columns) for column in _RECORD_COLUMNS]
        query = sa.select(*columns).order_by(registered.c.number)
        query = query.where(*_build_time_conditions(changed_since, changed_until))
        with self._database.begin_read() as connection:
            if changed_since is not None and not after_number:
                first_number = _find_first_changed_record_number(connection, changed_since)
                if first_number is None:
                    return []
                after_number = first_number - 1
            query = query.where(registered.c.number > after_number)
            rows = connection.execute(query.limit(row_limit)).all()
            return [_record_from_columns(*row) for row in rows]

    def count_records(self, changed_since: str | None = None, changed_until: str | None = None) -> int:
        """Count records."""
        query = sa.select(sa.func.count()).select_from(registered)
        query = query.where(*_build_time_conditions(changed_since, changed_until))
        with self._database.begin_read() as connection:
            return int(connection.execute(query).scalar_one())

    def find_record(self, ivoid: str) -> RegistryRecord | None:
        """Return a record by its identifier; upper and lower case are the same."""
        query = sa.select(*_RECORD_COLUMNS).where(registered.c.id == ivoid.lower())
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return _record_from_columns(*row)

    def find_earliest_change(self) -> str | None:
        """Return the time of the first change; None: there is no record."""
        with self._database.begin_read() as connection:
            return connection.execute(sa.select(sa.func.min(registered.c.changed))).scalar()


def _replace_digests_and_list_ids(
    connection: sa.Connection, records_by_part: Mapping[str, tuple[str, Sequence[RegistryRecord]] | None]
) -> dict[str, str]:
    """Replace the digests of parts; return the ids of their records that are not deleted, with their parts."""
    present_ids: dict[str, str] = {}
    for part, part_records in records_by_part.items():
        ids_query = sa.select(registered.c.id).where(registered.c.part == part, registered.c.deleted == 0)
        present_ids |= dict.fromkeys(connection.execute(ids_query).scalars(), part)
        connection.execute(sa.delete(parts).where(parts.c.part == part))
        if part_records is not None:
            connection.execute(sa.insert(parts).values(part=part, made=part_records[0]))
    return present_ids


def _has_other_part(row: sa.Row[Any] | None, parts_to_replace: Collection[str]) -> bool:
    """Return whether an identifier is in use by a part that is not replaced now."""
    return row is not None and not row.deleted and row.part not in parts_to_replace


def _build_selected_column(column: sa.Column[Any], omitted_columns: Collection[str]) -> sa.ColumnElement[Any]:
    if column.name in omitted_columns:
        return sa.literal("").label(column.name)
    return column


def _find_first_changed_record_number(connection: sa.Connection, changed_since: str) -> int | None:
    """Return the number of the first record that has changed since a time; None: no record has.

    Times of changes never go back, so the records that changed since stand together in the order of their numbers.
    Without this start, the database would check the time of every record.
    """
    first_change = sa.select(sa.func.min(registered.c.changed)).where(registered.c.changed >= changed_since)
    is_first_change = registered.c.changed == first_change.scalar_subquery()
    number_query = sa.select(sa.func.min(registered.c.number)).where(is_first_change)
    return connection.execute(number_query).scalar()


def _write_record(
    connection: sa.Connection,
    part: str,
    registry_record: RegistryRecord,
    old_row: sa.Row[Any] | None,
    *,
    number: int,
    change_time: str,
) -> bool:
    """Write a record if it differs from the stored one; return whether its content does.

    A deleted record that returns keeps the time at which it was first created.
    """
    created = registry_record.created
    if not created:
        created = change_time if old_row is None else old_row.created
    values: dict[str, Any] = {
        "ivoid": registry_record.ivoid,
        "part": part,
        "kind": registry_record.kind,
        "body": registry_record.body,
        "dublin": registry_record.dublin,
        "deleted": 0,
        "created": created,
    }
    change_values = {"number": number, "changed": change_time}
    if old_row is None:
        record_id = registry_record.ivoid.lower()
        connection.execute(sa.insert(registered).values(id=record_id, **values, **change_values))
        return True
    old_values = old_row._mapping  # noqa: SLF001  (SQLAlchemy's public name)
    is_changed = any(old_values[name] != value for name, value in values.items() if name != "part")
    if is_changed:
        values |= change_values
    if is_changed or old_row.part != part:
        connection.execute(sa.update(registered).where(registered.c.id == old_row.id).values(values))
    return is_changed


def _build_time_conditions(changed_since: str | None, changed_until: str | None) -> list[sa.ColumnElement[bool]]:
    conditions = []
    if changed_since:
        conditions.append(registered.c.changed >= changed_since)
    if changed_until:
        conditions.append(registered.c.changed <= changed_until)
    return conditions


# rows are passed as their columns
def _record_from_columns(  # noqa: PLR0917
    ivoid: str, kind: str, body: str, dublin: str, created: str, changed: str, number: int, deleted: int
) -> RegistryRecord:
    """Create a record from its columns, in their order.

    Lists are long, and reading the fields of rows by name takes half of their time.
    """
    return RegistryRecord(
        ivoid=ivoid,
        kind=kind,
        body=body,
        dublin=dublin,
        created=created,
        changed=changed,
        number=number,
        deleted=bool(deleted),
    )
