"""The last good descriptor of each collection.

It stays in force while the file has faults, also in processes that start in the meantime.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.site.store._database import descriptors, format_current_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store._database import StateDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDescriptor:
    """A descriptor as it was read without faults.

    Attributes
    ----------
    files
        Path of each of its files, relative to the descriptor's directory -> SHA-256.
    texts
        Text of each parsed file, by the same path.
    standards
        The site's own standards at that time: file name -> text.
    defaults
        ``[defaults]`` of the settings at that time.
    read_at
        When it was first read; ISO, UTC.
    """

    files: Mapping[str, str]
    texts: Mapping[str, str]
    standards: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    read_at: str = ""


class LastGoodDescriptorStore:
    """The last good descriptors of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._digests: dict[str, str] = {}  # of descriptors that this process knows to be stored

    def save_descriptor(self, collection: str, stored_descriptor: StoredDescriptor) -> None:
        """Store a descriptor in place of the last one, if it differs.

        Parameters
        ----------
        collection
            Name of the collection.
        stored_descriptor
            The descriptor; its time is set here.
        """
        descriptor_fields = asdict(stored_descriptor)
        del descriptor_fields["read_at"]
        body = json.dumps(descriptor_fields, sort_keys=True, default=str)
        digest = hashlib.sha256(body.encode()).hexdigest()
        if self._digests.get(collection) == digest:
            return
        row_condition = descriptors.c.collection == collection
        digest_query = sa.select(descriptors.c.digest).where(row_condition)
        # several processes read the same descriptor: one of them writes
        with self._database.begin_read() as connection:
            is_same = connection.execute(digest_query).scalar() == digest
        if not is_same:
            values = {"read_at": format_current_time(), "digest": digest, "body": body}
            with self._database.begin_write() as connection:
                update_result = connection.execute(sa.update(descriptors).where(row_condition).values(values))
                if not update_result.rowcount:
                    connection.execute(sa.insert(descriptors).values(collection=collection, **values))
        self._digests[collection] = digest

    def load_descriptor(self, collection: str) -> StoredDescriptor | None:
        """Return the last good descriptor of a collection, or None.

        Parameters
        ----------
        collection
            Name of the collection.
        """
        query = sa.select(descriptors).where(descriptors.c.collection == collection)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return StoredDescriptor(**json.loads(row.body), read_at=row.read_at)
