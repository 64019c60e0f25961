"""Drafts of texts that curators write in the browser.

Each account has one draft of each text, until it is published or discarded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import TooLargeError, format_message
from hven.site.api.store_tables import PackageTableSet
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site import Site
    from hven.site.api.store_tables import StateDatabase

MAX_DRAFTS_PER_ACCOUNT = 50
TABLES = PackageTableSet()
drafts = TABLES.define_table(
    "drafts",
    """
    owner   text key
    subject text key
    at      text
    texts   text  -- JSON: part -> text
    bases   text  -- JSON: part -> digest of the published text when the draft began
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDraft:
    """A text that a curator is writing.

    Attributes
    ----------
    owner
        The account.
    subject
        Which text it is.
    at
        When it was last saved; ISO, UTC.
    texts
        Its parts, by name.
    bases
        Digest of each part as it was published when the draft began.
    """

    owner: str
    subject: str
    at: str = ""
    texts: Mapping[str, str]
    bases: Mapping[str, str]


class DraftStore:
    """The drafts of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def save_draft(self, owner: str, subject: str, texts: Mapping[str, str], base_texts: Mapping[str, str]) -> None:
        """Store a draft in place of the last one.

        Parameters
        ----------
        owner, subject, texts, base_texts
            As in `TextDraft`.

        Raises
        ------
        TooLargeError
            The account has too many other drafts.
        """
        values = {"at": format_current_time(), "texts": json.dumps(dict(texts)), "bases": json.dumps(dict(base_texts))}
        row_condition = (drafts.c.owner == owner) & (drafts.c.subject == subject)
        count_query = sa.select(sa.func.count()).select_from(drafts).where(drafts.c.owner == owner)
        with self._database.begin_write() as connection:
            if connection.execute(sa.update(drafts).where(row_condition).values(values)).rowcount:
                return
            if connection.execute(count_query).scalar_one() >= MAX_DRAFTS_PER_ACCOUNT:
                message = format_message("you already have {count} drafts, which is the limit", MAX_DRAFTS_PER_ACCOUNT)
                raise TooLargeError(message, remedy="publish or discard some of your drafts")
            connection.execute(sa.insert(drafts).values(owner=owner, subject=subject, **values))

    def find_draft(self, owner: str, subject: str) -> TextDraft | None:
        """Return an account's draft of a text, or None."""
        row_condition = (drafts.c.owner == owner) & (drafts.c.subject == subject)
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(drafts).where(row_condition)).first()
        if row is None:
            return None
        return TextDraft(
            owner=row.owner,
            subject=row.subject,
            at=row.at,
            texts=json.loads(row.texts),
            bases=json.loads(row.bases),
        )

    def list_drafts(self) -> list[tuple[str, str, str]]:
        """List subject, owner and time of every draft, the newest first."""
        query = sa.select(drafts.c.subject, drafts.c.owner, drafts.c.at)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(drafts.c.at.desc()))
            return [(row.subject, row.owner, row.at) for row in rows]

    def delete_draft(self, owner: str, subject: str) -> None:
        """Delete a draft, if there is one."""
        row_condition = (drafts.c.owner == owner) & (drafts.c.subject == subject)
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(drafts).where(row_condition))

    def delete_account_drafts(self, owner: str) -> None:
        """Delete all drafts of an account; the table is missing if no process of the site ever used this package."""
        with self._database.begin_write() as connection:
            if sa.inspect(connection).has_table(drafts.name):
                connection.execute(sa.delete(drafts).where(drafts.c.owner == owner))


def remove_account_drafts(site: Site, account: str) -> None:
    """Delete the drafts of an account that is removed.

    Parameters
    ----------
    site
        The site.
    account
        Name of the account.
    """
    site.store.get_or_create(DraftStore).delete_account_drafts(account)
