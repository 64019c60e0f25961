"""The records of the publishing registry as they were told last: when each one changed here, and which are gone."""

from __future__ import annotations

import secrets
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.resource import Registered
from hven.site.store._database import following, meta, parts, registered

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.site.store._database import Database

KEY = "registry"  # of `meta`: with which resumption tokens are signed
_TOLD = [registered.c[field.name] for field in fields(Registered)]


class Registry:
    """The publishing registry of a site.

    Common
    ------
    since, until
        Moments of changes, inclusive; None: any.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def made_of(self) -> dict[str, str]:
        """Return what the records of each part were made of, by the part: a collection; empty: the site."""
        with self._database.reading() as connection:
            return {row.part: row.made for row in connection.execute(sa.select(parts))}

    def keep(self, made: Mapping[str, tuple[str, Sequence[Registered]] | None]) -> list[str]:
        """Keep the records of some parts, all at once: what differs changes now, what is not there any more is deleted.

        Parameters
        ----------
        made
            Part -> what they were made of, and the records; None: the part is gone.

        Returns
        -------
        claimed
            Identifiers that another record has already: the later one is left out until that is over.
        """
        changed, claimed, taken = 0, [], set[str]()
        with self._database.writing() as connection:
            last = connection.execute(sa.select(sa.func.max(registered.c.changed))).scalar() or ""
            at = max(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), last)  # never set back
            number = following(connection, registered)
            gone: dict[str, str] = {}
            for part, found in made.items():
                mine = sa.select(registered.c.id).where(registered.c.part == part, registered.c.deleted == 0)
                gone |= dict.fromkeys(connection.execute(mine).scalars(), part)
                connection.execute(sa.delete(parts).where(parts.c.part == part))
                if found is not None:
                    connection.execute(sa.insert(parts).values(part=part, made=found[0]))
            for part, found in made.items():
                for one in found[1] if found is not None else ():
                    ident = one.ivoid.lower()
                    before = connection.execute(sa.select(registered).where(registered.c.id == ident)).first()
                    others = before is not None and not before.deleted and before.part not in made
                    if others or ident in taken:
                        claimed.append(one.ivoid)
                        connection.execute(sa.delete(parts).where(parts.c.part == part))  # it is tried again
                        continue
                    taken.add(ident)
                    gone.pop(ident, None)
                    changed += _put(connection, part, one, before, number + changed, at)
            for ident in gone:
                values = {"deleted": 1, "changed": at, "number": number + changed}
                connection.execute(sa.update(registered).where(registered.c.id == ident).values(**values))
                changed += 1
        return claimed

    def page(
        self,
        after: int,
        most: int,
        since: str | None = None,
        until: str | None = None,
        *,
        without: Collection[str] = (),
    ) -> list[Registered]:
        """List records in the order of their changes.

        Parameters
        ----------
        after
            Number of the last one that was told.
        most
            How many.
        without
            Which of their texts (`body`, `dublin`) nobody needs.
        """
        query = sa.select(*(sa.literal("").label(one.name) if one.name in without else one for one in _TOLD))
        query = query.where(*_between(since, until)).order_by(registered.c.number)
        with self._database.reading() as connection:
            if since is not None and not after:
                # moments are never set back, so that what changed since stands together: else each record were looked at for its own
                first = (
                    sa.select(sa.func.min(registered.c.changed)).where(registered.c.changed >= since).scalar_subquery()
                )
                begin = connection.execute(sa.select(sa.func.min(registered.c.number)).where(registered.c.changed == first)).scalar()  # fmt: skip
                if begin is None:
                    return []
                after = begin - 1
            query = query.where(registered.c.number > after)
            return [_told(*row) for row in connection.execute(query.limit(most)).all()]

    def count(self, since: str | None = None, until: str | None = None) -> int:
        """Count records."""
        query = sa.select(sa.func.count()).select_from(registered).where(*_between(since, until))
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def one(self, ivoid: str) -> Registered | None:
        """Return a record by its identifier, which has no case."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(*_TOLD).where(registered.c.id == ivoid.lower())).first()
        return None if row is None else _told(*row)

    def earliest(self) -> str | None:
        """Return when the first change was; None: there is no record."""
        with self._database.reading() as connection:
            return connection.execute(sa.select(sa.func.min(registered.c.changed))).scalar()

    def key(self) -> bytes:
        """Return the secret with which all processes sign tokens."""
        query = sa.select(meta.c.value).where(meta.c.key == KEY)
        with self._database.reading() as connection:
            known = connection.execute(query).scalar()
        if known is None:
            with self._database.writing() as connection:
                known = connection.execute(query).scalar()
                if known is None:
                    known = secrets.token_hex(32)
                    connection.execute(sa.insert(meta).values(key=KEY, value=known))
        return bytes.fromhex(known)


def _put(
    connection: sa.Connection, part: str, one: Registered, before: sa.Row[Any] | None, number: int, at: str
) -> bool:
    """Write a record, if it differs from what was told; a tombstone comes back with the moment at which it was first there."""
    values: dict[str, Any] = {
        "ivoid": one.ivoid, "part": part, "kind": one.kind, "body": one.body, "dublin": one.dublin, "deleted": 0,
        "created": one.created or (at if before is None else before.created),
    }  # fmt: skip
    if before is None:
        connection.execute(sa.insert(registered).values(id=one.ivoid.lower(), number=number, changed=at, **values))
        return True
    where, known = registered.c.id == before.id, before._mapping  # noqa: SLF001  (SQLAlchemy's public name)
    new = any(known[name] != value for name, value in values.items() if name != "part")
    if new or before.part != part:
        stamp = {"number": number, "changed": at} if new else {}
        connection.execute(sa.update(registered).where(where).values(**values, **stamp))
    return new


def _between(since: str | None, until: str | None) -> list[Any]:
    return [
        *([registered.c.changed >= since] if since else []),
        *([registered.c.changed <= until] if until else []),
    ]


def _told(ivoid: str, kind: str, body: str, dublin: str, created: str, changed: str, number: int, deleted: int) -> Registered:  # fmt: skip
    """Make a record of its columns, by their order: lists are long, and fields of rows by name take half of their time."""
    return Registered(ivoid=ivoid, kind=kind, body=body, dublin=dublin, created=created, changed=changed, number=number, deleted=bool(deleted))  # fmt: skip


__all__ = ["Registry"]
