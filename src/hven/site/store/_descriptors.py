"""The last good descriptor of each collection: it stays in force while the file has faults, also in processes that start meanwhile."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.site.store._database import descriptors, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store._database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDescriptor:
    """A descriptor as it was read without faults.

    Attributes
    ----------
    files
        Path of each of its files, relative to the descriptor's directory -> SHA-256.
    texts
        Of those files that are parsed, by the same path.
    standards
        The site's own standards at that time: file name -> text.
    defaults
        ``[defaults]`` of the settings at that time.
    read_at
        When it was read first; ISO, UTC.
    """

    files: Mapping[str, str]
    texts: Mapping[str, str]
    standards: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    read_at: str = ""


class KeptDescriptors:
    """The last good descriptors of a site."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._digests: dict[str, str] = {}  # of what this process knows to be kept

    def save(self, collection: str, kept: KeptDescriptor) -> None:
        """Keep a descriptor in the place of the one of before, if it differs.

        Parameters
        ----------
        collection
            Whose it is.
        kept
            The descriptor; its time is set here.
        """
        said = asdict(kept)
        del said["read_at"]
        body = json.dumps(said, sort_keys=True, default=str)
        digest = hashlib.sha256(body.encode()).hexdigest()
        if self._digests.get(collection) == digest:
            return
        which = descriptors.c.collection == collection
        with self._database.reading() as connection:  # several processes read the same descriptor: one of them writes
            same = connection.execute(sa.select(descriptors.c.digest).where(which)).scalar() == digest
        if not same:
            values = {"read_at": now(), "digest": digest, "body": body}
            with self._database.writing() as connection:
                if not connection.execute(sa.update(descriptors).where(which).values(**values)).rowcount:
                    connection.execute(sa.insert(descriptors).values(collection=collection, **values))
        self._digests[collection] = digest

    def get(self, collection: str) -> KeptDescriptor | None:
        """Return the last good descriptor of a collection, or None.

        Parameters
        ----------
        collection
            Its name.
        """
        query = sa.select(descriptors).where(descriptors.c.collection == collection)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else KeptDescriptor(**json.loads(row.body), read_at=row.read_at)
