"""Comments on rows and reports of errors in the system state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa

from hven.model.errors import PreconditionFailedError, TooManyRequestsError, format_message
from hven.plugins.entries.store_tables import row_comments
from hven.site.api.events import SiteEvent, notify_accounts
from hven.site.api.store_tables import get_next_number
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.model.errors import TranslatableMessage
    from hven.site.api.store_tables import StateDatabase

COMMENT, REPORT = "comment", "report"
WAITING, SHOWN, HIDDEN, SETTLED, TAKEN_BACK = "submitted", "accepted", "refused", "settled", "withdrawn"
COMMENT_STATES = (WAITING, SHOWN, HIDDEN, SETTLED, TAKEN_BACK)
COMMENT_KIND, COMMENT_DECIDED_KIND = "comments.new", "comments.decided"  # of events
MAX_COMMENTS_PER_HOUR = 10  # of an account
MAX_LISTED_COMMENTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RowComment:
    """A comment on a row, or a report of an error.

    Attributes
    ----------
    number
        Its number in the site; 0: it is not stored yet.
    table, row_key
        ``schema.table``, and the key of the row as JSON text.
    kind
        ``comment`` or ``report``.
    column, value
        Column of the value that a report is about, and the value that the author saw; empty: the whole row.
    text
        The text, which pages show as it is.
    author
        The account; empty: it was removed.
    at
        When; ISO, UTC.
    state
        One of `COMMENT_STATES`.
    by, decided, reason
        Who decided, when and why; empty: nobody yet.
    """

    number: int = 0
    table: str
    row_key: str
    kind: str = COMMENT
    column: str = ""
    value: str = ""
    text: str
    author: str
    at: str = ""
    state: str = WAITING
    by: str = ""
    decided: str = ""
    reason: str = ""


class CommentStore:
    """The comments of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add_comment_and_notify(self, comment: RowComment, moderators: Collection[str] = ()) -> RowComment:
        """Store a new comment, and return it; a comment that comes twice while it waits is stored once.

        Parameters
        ----------
        comment
            The comment.
        moderators
            Accounts and groups that learn of it.

        Raises
        ------
        TooManyRequestsError
            The account sends too many comments.
        """
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        now = format_current_time()
        is_own = row_comments.c.author == comment.author
        with self._database.begin_write() as connection:
            same_values = _comment_to_row(comment)
            same_names = ("table_name", "row_key", "kind", "column", "text", "author", "state")
            is_same = sa.and_(*(row_comments.c[name] == same_values[name] for name in same_names))
            row = connection.execute(sa.select(row_comments).where(is_same)).first()
            if row is not None:
                return _comment_from_row(row)
            is_recent = row_comments.c.at > hour_ago.isoformat(timespec="microseconds").replace("+00:00", "Z")
            count_query = sa.select(sa.func.count()).select_from(row_comments).where(is_own, is_recent)
            if connection.execute(count_query).scalar_one() >= MAX_COMMENTS_PER_HOUR:
                message = format_message("you can send at most {count} comments an hour", MAX_COMMENTS_PER_HOUR)
                raise TooManyRequestsError(message, remedy="send your comment later")
            stored_comment = replace(comment, number=get_next_number(connection, row_comments), at=now)
            connection.execute(sa.insert(row_comments).values(_comment_to_row(stored_comment)))
            message = format_message("a new comment on {table} is waiting for a decision", comment.table)
            if comment.kind == REPORT:
                message = format_message("a report of an error in {table} is waiting for a decision", comment.table)
            notify_accounts(connection, _build_event(COMMENT_KIND, moderators, message, stored_comment))
        return stored_comment

    def find_comment(self, table: str, number: int) -> RowComment | None:
        """Find a comment on a row of a table by its number."""
        query = sa.select(row_comments).where(row_comments.c.number == number, row_comments.c.table_name == table)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _comment_from_row(row)

    def list_comments(
        self,
        table: str,
        *,
        row_key: str | None = None,
        states: Collection[str] = (SHOWN,),
        author: str | None = None,
        before_number: int | None = None,
    ) -> list[RowComment]:
        """List the comments of a table, the newest first; at most `MAX_LISTED_COMMENTS`.

        Parameters
        ----------
        table
            ``schema.table``.
        row_key
            Only comments on this row.
        states
            Only comments in these states.
        author
            Only comments of this account.
        before_number
            Only comments with a smaller number.
        """
        conditions = [row_comments.c.table_name == table, row_comments.c.state.in_(states)]
        if row_key is not None:
            conditions.append(row_comments.c.row_key == row_key)
        if author is not None:
            conditions.append(row_comments.c.author == author)
        if before_number is not None:
            conditions.append(row_comments.c.number < before_number)
        query = sa.select(row_comments).where(*conditions)
        query = query.order_by(row_comments.c.number.desc()).limit(MAX_LISTED_COMMENTS)
        with self._database.begin_read() as connection:
            return [_comment_from_row(row) for row in connection.execute(query)]

    def decide_comment_and_notify(self, comment: RowComment, state: str, by: str, reason: str) -> RowComment:
        """Store a decision on a comment, and return the changed comment.

        Parameters
        ----------
        comment
            The comment in the state in which the decision found it.
        state
            The new state.
        by, reason
            Who decided, and why.

        Raises
        ------
        PreconditionFailedError
            Somebody else has decided in the meantime.
        """
        decided_comment = replace(comment, state=state, by=by, reason=reason, decided=format_current_time())
        is_unchanged = (row_comments.c.number == comment.number) & (row_comments.c.state == comment.state)
        with self._database.begin_write() as connection:
            update = sa.update(row_comments).where(is_unchanged).values(_comment_to_row(decided_comment))
            if not connection.execute(update).rowcount:
                raise PreconditionFailedError(
                    "somebody else has decided on the comment in the meantime", remedy="reload the page"
                )
            if comment.author not in {"", by}:
                message = format_message("your comment on {table} is {state}", comment.table, format_message(state))
                notify_accounts(connection, _build_event(COMMENT_DECIDED_KIND, (comment.author,), message, comment))
        return decided_comment

    def remove_author_data(self, account: str) -> None:
        """Delete an account's comments that nobody has read, and its name in others."""
        with self._database.begin_write() as connection:
            if not sa.inspect(connection).has_table(row_comments.name):
                return
            is_own = row_comments.c.author == account
            connection.execute(sa.delete(row_comments).where(is_own, row_comments.c.state == WAITING))
            connection.execute(sa.update(row_comments).where(is_own).values(author=""))
            connection.execute(sa.update(row_comments).where(row_comments.c.by == account).values(by=""))


def _build_event(kind: str, accounts: Collection[str], message: TranslatableMessage, comment: RowComment) -> SiteEvent:
    # it leads to the value, but does not name the row, which the accounts may no longer see
    path = f"/comments/{quote(comment.table, safe='')}?comment={comment.number}#comment-{comment.number}"
    return SiteEvent(kind=kind, accounts=accounts, message=message, path=path, table=comment.table)


def _comment_to_row(comment: RowComment) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(comment, name) for name in RowComment.__slots__}
    values["table_name"] = values.pop("table")
    return values


def _comment_from_row(row: Any) -> RowComment:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's name of the mapping of a row)
    values["table"] = values.pop("table_name")
    return RowComment(**values)
