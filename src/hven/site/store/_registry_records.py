"""The records of the publishing registry as they were told last: when each one changed here, and which are gone."""

from __future__ import annotations

import secrets
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.resource import RegistryRecord
from hven.site.store._database import get_next_number, meta, parts, registered

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.site.store._database import StateDatabase

REGISTRY_META_KEY = "registry"  # of `meta`: with which resumption tokens are signed
_RECORD_COLUMNS = [registered.c[field.name] for field in fields(RegistryRecord)]


class RegistryRecordStore:
    """The publishing registry of a site.

    Common
    ------
    changed_since, changed_until
        Moments of changes, inclusive; None: any.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def map_part_digests(self) -> dict[str, str]:
        """Return what the records of each part were made of, by the part: a collection; empty: the site."""
        with self._database.begin_read() as connection:
            return {row.part: row.made for row in connection.execute(sa.select(parts))}

    def replace_records(self, records_by_part: Mapping[str, tuple[str, Sequence[RegistryRecord]] | None]) -> list[str]:
        """Keep the records of some parts, all at once: what differs changes now, what is not there any more is deleted.

        Parameters
        ----------
        records_by_part
            Part -> what they were made of, and the records; None: the part is gone.

        Returns
        -------
        claimed
            Identifiers that another record has already: the later one is left out until that is over.
        """
        changed = 0
        conflicting_ivoids = []
        used_ids = set[str]()
        with self._database.begin_write() as connection:
            last_change = connection.execute(sa.select(sa.func.max(registered.c.changed))).scalar() or ""
            change_time = max(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), last_change)  # never set back
            number = get_next_number(connection, registered)
            removed_parts: dict[str, str] = {}
            for part, part_records in records_by_part.items():
                own_ids_query = sa.select(registered.c.id).where(registered.c.part == part, registered.c.deleted == 0)
                removed_parts |= dict.fromkeys(connection.execute(own_ids_query).scalars(), part)
                connection.execute(sa.delete(parts).where(parts.c.part == part))
                if part_records is not None:
                    connection.execute(sa.insert(parts).values(part=part, made=part_records[0]))
            for part, part_records in records_by_part.items():
                for registry_record in part_records[1] if part_records is not None else ():
                    record_id = registry_record.ivoid.lower()
                    old_row = connection.execute(sa.select(registered).where(registered.c.id == record_id)).first()
                    belongs_elsewhere = (
                        old_row is not None and not old_row.deleted and old_row.part not in records_by_part
                    )
                    if belongs_elsewhere or record_id in used_ids:
                        conflicting_ivoids.append(registry_record.ivoid)
                        connection.execute(sa.delete(parts).where(parts.c.part == part))  # it is tried again
                        continue
                    used_ids.add(record_id)
                    removed_parts.pop(record_id, None)
                    changed += _write_record(
                        connection, part, registry_record, old_row, number=number + changed, change_time=change_time
                    )
            for record_id in removed_parts:
                values = {"deleted": 1, "changed": change_time, "number": number + changed}
                connection.execute(sa.update(registered).where(registered.c.id == record_id).values(**values))
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
            Number of the last one that was told.
        row_limit
            How many.
        omitted_columns
            Which of their texts (`body`, `dublin`) nobody needs.
        """
        query = sa.select(
            *(
                sa.literal("").label(record_column.name) if record_column.name in omitted_columns else record_column
                for record_column in _RECORD_COLUMNS
            )
        )
        time_conditions = _build_time_conditions(changed_since, changed_until)
        query = query.where(*time_conditions).order_by(registered.c.number)
        with self._database.begin_read() as connection:
            if changed_since is not None and not after_number:
                # moments are never set back, so that what changed since stands together: else each record were looked
                # at for its own
                first_change = (
                    sa.select(sa.func.min(registered.c.changed))
                    .where(registered.c.changed >= changed_since)
                    .scalar_subquery()
                )
                first_number = connection.execute(
                    sa.select(sa.func.min(registered.c.number)).where(registered.c.changed == first_change)
                ).scalar()
                if first_number is None:
                    return []
                after_number = first_number - 1
            query = query.where(registered.c.number > after_number)
            return [_record_from_columns(*row) for row in connection.execute(query.limit(row_limit)).all()]

    def count_records(self, changed_since: str | None = None, changed_until: str | None = None) -> int:
        """Count records."""
        query = (
            sa.select(sa.func.count())
            .select_from(registered)
            .where(*_build_time_conditions(changed_since, changed_until))
        )
        with self._database.begin_read() as connection:
            return int(connection.execute(query).scalar_one())

    def find_record(self, ivoid: str) -> RegistryRecord | None:
        """Return a record by its identifier, which has no case."""
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(*_RECORD_COLUMNS).where(registered.c.id == ivoid.lower())).first()
        if row is None:
            return None
        return _record_from_columns(*row)

    def find_earliest_change(self) -> str | None:
        """Return when the first change was; None: there is no record."""
        with self._database.begin_read() as connection:
            return connection.execute(sa.select(sa.func.min(registered.c.changed))).scalar()

    def get_token_secret(self) -> bytes:
        """Return the secret with which all processes sign tokens."""
        query = sa.select(meta.c.value).where(meta.c.key == REGISTRY_META_KEY)
        with self._database.begin_read() as connection:
            secret_text = connection.execute(query).scalar()
        if secret_text is None:
            with self._database.begin_write() as connection:
                secret_text = connection.execute(query).scalar()
                if secret_text is None:
                    secret_text = secrets.token_hex(32)
                    connection.execute(sa.insert(meta).values(key=REGISTRY_META_KEY, value=secret_text))
        return bytes.fromhex(secret_text)


def _write_record(
    connection: sa.Connection,
    part: str,
    registry_record: RegistryRecord,
    old_row: sa.Row[Any] | None,
    *,
    number: int,
    change_time: str,
) -> bool:
    """Write a record, if it differs from what was told.

    A tombstone comes back with the moment at which it was first there.
    """
    values: dict[str, Any] = {
        "ivoid": registry_record.ivoid,
        "part": part,
        "kind": registry_record.kind,
        "body": registry_record.body,
        "dublin": registry_record.dublin,
        "deleted": 0,
        "created": registry_record.created or (change_time if old_row is None else old_row.created),
    }
    if old_row is None:
        connection.execute(
            sa.insert(registered).values(id=registry_record.ivoid.lower(), number=number, changed=change_time, **values)
        )
        return True
    # SQLAlchemy's public name
    row_condition, old_values = registered.c.id == old_row.id, old_row._mapping  # noqa: SLF001
    is_changed = any(old_values[name] != value for name, value in values.items() if name != "part")
    if is_changed or old_row.part != part:
        if is_changed:
            change_values = {"number": number, "changed": change_time}
        else:
            change_values = {}
        connection.execute(sa.update(registered).where(row_condition).values(**values, **change_values))
    return is_changed


def _build_time_conditions(changed_since: str | None, changed_until: str | None) -> list[Any]:
    return [
        *([registered.c.changed >= changed_since] if changed_since else []),
        *([registered.c.changed <= changed_until] if changed_until else []),
    ]


# rows are passed as their columns
def _record_from_columns(  # noqa: PLR0917
    ivoid: str, kind: str, body: str, dublin: str, created: str, changed: str, number: int, deleted: int
) -> RegistryRecord:
    """Make a record of its columns, by their order.

    Lists are long, and fields of rows by name take half of their time.
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


__all__ = ["RegistryRecordStore"]
