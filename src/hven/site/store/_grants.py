"""Grants, and the log of their changes.

A grant is what one account gives to another: a token, a membership of a project, a delegation, or access for a referee.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import NotFoundError
from hven.site.store._database import (
    audit,
    format_current_time,
    get_next_number,
    grants,
    hash_secret,
    insert_meta_value,
    read_meta_value,
    update_meta_value,
)
from hven.site.store._deletion_time import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.site.store._database import StateDatabase

GRANTS_VERSION_KEY = "grants"  # key in `meta`: its value rises with each change
POLL_INTERVAL_SECONDS = 0.25  # seconds between two reads of that value


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessGrant:
    """One right of one account.

    Attributes
    ----------
    id
        Identifier, which need not be secret.
    kind
        ``token``, ``member``, ``delegation`` ...
    subject
        The account that has the right; empty: whoever has the secret.
    object
        What the right applies to: a project, a collection, the name of a person.
    role
        Which role the subject has there.
    by
        The account that gave it.
    created
        ISO time, UTC.
    until
        Seconds since 1970 at which the right ends; None: it does not end.
    facts
        Further facts that the kind needs.
    """

    id: str
    kind: str
    subject: str = ""
    object: str = ""
    role: str = ""
    by: str = ""
    created: str = ""
    until: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the log: when which account did what to which object, and the details."""

    number: int
    at: str
    by: str
    what: str
    object: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _GrantsSnapshot:
    """All grants at one version."""

    version: int
    grants_by_id: Mapping[str, tuple[AccessGrant, str]]  # with the digest of its secret
    grants_by_subject: Mapping[str, Sequence[AccessGrant]]


class AccessGrantStore:
    """The grants of a site. Thread-safe; a process sees another one's change within `POLL_INTERVAL_SECONDS`."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._snapshot = _GrantsSnapshot(-1, {}, {})
        self._last_poll = 0.0
        self._lock = threading.Lock()

    def add_grant(
        self,
        grant_kind: str,
        *,
        subject: str = "",
        object: str = "",  # noqa: A002  (as the field is called)
        role: str = "",
        expiry_time: float | None = None,
        actor: str,
        facts: Mapping[str, Any] | None = None,
        with_secret: bool = False,
    ) -> tuple[AccessGrant, str]:
        """Give a right to an account, and log it.

        Parameters
        ----------
        grant_kind, subject, object, role, actor, facts
            As in `AccessGrant`.
        expiry_time
            Seconds since 1970; None: the right does not end.
        with_secret
            Whether a secret proves the right; only a digest of the secret is stored.

        Returns
        -------
        grant
            The new grant.
        proof
            ``ID.SECRET``, or empty; nobody can read it again.
        """
        grant_id = secrets.token_hex(6)
        proof, secret_digest = "", ""
        if with_secret:
            secret_text = secrets.token_urlsafe(32)
            proof, secret_digest = f"{grant_id}.{secret_text}", hash_secret(secret_text)
        new_grant = AccessGrant(
            id=grant_id,
            kind=grant_kind,
            subject=subject,
            object=object,
            role=role,
            by=actor,
            created=format_current_time(),
            until=expiry_time,
            facts=dict(facts or {}),
        )
        values = {name: getattr(new_grant, name) for name in AccessGrant.__slots__}
        values |= {"facts": json.dumps(new_grant.facts), "hash": secret_digest}
        with self._database.begin_write() as connection:
            connection.execute(sa.insert(grants).values(values))
            log_grant_change_and_increment_version(connection, f"{grant_kind} given", new_grant, actor)
        self._last_poll = 0.0
        return new_grant, proof

    def revoke_grant(self, grant_id: str, *, actor: str) -> AccessGrant:
        """Revoke a grant, and log it.

        Parameters
        ----------
        grant_id
            Id of the grant.
        actor
            The account that revokes it.

        Returns
        -------
        grant
            The grant as it was.

        Raises
        ------
        NotFoundError
            No grant has this id.
        """
        row_condition = grants.c.id == grant_id
        with self._database.begin_write() as connection:
            row = connection.execute(sa.select(grants).where(row_condition)).first()
            if row is None:
                remedy = "it may have ended; `hven delegate`, `hven token list` and `hven referee list` show the ids"
                raise NotFoundError(f"there is no grant with the number {grant_id!r:.40}", remedy=remedy)
            revoked_grant = _grant_from_row(row)
            connection.execute(sa.delete(grants).where(row_condition))
            log_grant_change_and_increment_version(connection, f"{revoked_grant.kind} ended", revoked_grant, actor)
        self._last_poll = 0.0
        return revoked_grant

    def list_grants(
        self,
        grant_kind: str | None = None,
        *,
        subject: str | None = None,
        object: str | None = None,  # noqa: A002
    ) -> list[AccessGrant]:
        """List the grants that are in force.

        Parameters
        ----------
        grant_kind, subject, object
            Only grants with these values; None: any.

        Returns
        -------
        grants
            Grants in the order in which they were given.
        """
        current_grants = self._load_current_grants()
        current_time = time.time()
        candidates: Iterable[AccessGrant]
        if subject is None:
            candidates = (grant for grant, _ in current_grants.grants_by_id.values())
        else:
            candidates = current_grants.grants_by_subject.get(subject, ())
        listed_grants = []
        for grant in candidates:
            is_match = grant_kind in {None, grant.kind} and object in {None, grant.object}
            if is_match and not _is_expired(grant, current_time):
                listed_grants.append(grant)
        return listed_grants

    def verify_proof(self, grant_kind: str, proof: str) -> AccessGrant | None:
        """Return the grant that a proof belongs to; None: it proves no grant of this kind that is in force.

        The comparison takes the same time either way.

        Parameters
        ----------
        grant_kind
            Kind of the grant.
        proof
            ``ID.SECRET``.
        """
        grant_id, _, secret_text = proof.partition(".")
        grant, stored_digest = self._load_current_grants().grants_by_id.get(grant_id, (None, ""))
        is_match = hmac.compare_digest(hash_secret(secret_text), stored_digest or "0" * 64)
        if grant is None or not is_match or grant.kind != grant_kind:
            return None
        if _is_expired(grant, time.time()):
            return None
        return grant

    def find_grant(self, grant_kind: str, grant_id: str) -> AccessGrant | None:
        """Return the grant of an id; None: there is none of this kind that is in force.

        Parameters
        ----------
        grant_kind
            Kind of the grant.
        grant_id
            Id of the grant.
        """
        grant, _ = self._load_current_grants().grants_by_id.get(grant_id, (None, ""))
        if grant is None or grant.kind != grant_kind or _is_expired(grant, time.time()):
            return None
        return grant

    def delete_expired_grants(self, expired_before: float) -> int:
        """Delete grants that ended long ago; the log keeps their lines, and says how many were deleted.

        Parameters
        ----------
        expired_before
            Seconds since 1970: grants that had ended by then.

        Returns
        -------
        gone
            How many were deleted.
        """
        current_grants = self._load_current_grants().grants_by_id.values()
        if not any(_is_expired(grant, expired_before) for grant, _ in current_grants):
            return 0
        statement = sa.delete(grants).where(grants.c.until <= expired_before)
        with self._database.begin_write() as connection:
            deleted_count = connection.execute(statement).rowcount
            if deleted_count:
                log_grant = AccessGrant(id="", kind="grants", object="grants", facts={"count": deleted_count})
                log_grant_change_and_increment_version(connection, "removed, long over", log_grant, "hven")
        self._last_poll = 0.0
        return deleted_count

    def get_version(self) -> int:
        """Return a number that rises with each change in any process."""
        return self._load_current_grants().version

    def log_event(
        self,
        actor: str,
        action: str,
        object: str,  # noqa: A002
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Log an event that changes no grant.

        Parameters
        ----------
        actor, action, object, facts
            As `by`, `what`, `object` and `facts` of `AuditEntry`.
        """
        with self._database.begin_write() as connection:
            _insert_audit_entry(connection, actor, action, object, facts or {})

    def list_audit_entries(
        self,
        *,
        object: str | None = None,  # noqa: A002
        by: str | None = None,
        row_limit: int = 1000,
    ) -> list[AuditEntry]:
        """List entries of the log, the newest first.

        Parameters
        ----------
        object, by
            Only entries with these values; None: any.
        row_limit
            At most this many entries.

        Returns
        -------
        lines
            The entries.
        """
        query = sa.select(audit).order_by(audit.c.number.desc()).limit(row_limit)
        if object is not None:
            query = query.where(audit.c.object == object)
        if by is not None:
            query = query.where(audit.c.by == by)
        with self._database.begin_read() as connection:
            return [_audit_entry_from_row(row) for row in connection.execute(query)]

    def _load_current_grants(self) -> _GrantsSnapshot:
        if time.monotonic() - self._last_poll < POLL_INTERVAL_SECONDS:
            return self._snapshot
        with self._lock, self._database.begin_read() as connection:
            version = int(read_meta_value(connection, GRANTS_VERSION_KEY) or 0)
            if version != self._snapshot.version:
                rows = connection.execute(sa.select(grants).order_by(grants.c.created)).all()
                grants_by_id = {row.id: (_grant_from_row(row), row.hash) for row in rows}
                grants_by_subject: dict[str, list[AccessGrant]] = {}
                for grant, _ in grants_by_id.values():
                    grants_by_subject.setdefault(grant.subject, []).append(grant)
                self._snapshot = _GrantsSnapshot(version, grants_by_id, grants_by_subject)
            self._last_poll = time.monotonic()
        return self._snapshot


def delete_account_grants(connection: sa.Connection, account: str) -> None:
    """Delete what an account was given, and the delegations that it gave."""
    is_own_delegation = (grants.c.kind == "delegation") & (grants.c.by == account)
    row_condition = (grants.c.subject == account) | is_own_delegation
    if connection.execute(sa.delete(grants).where(row_condition)).rowcount:
        log_grant_change_and_increment_version(
            connection, "account removed", AccessGrant(id="", kind="account", subject=account), "owner"
        )


def log_grant_change_and_increment_version(
    connection: sa.Connection, action: str, grant: AccessGrant, actor: str
) -> None:
    """Log a change, and let all processes see that there is one."""
    version_text = read_meta_value(connection, GRANTS_VERSION_KEY)
    next_version_text = str(int(version_text or 0) + 1)
    if version_text is None:
        insert_meta_value(connection, GRANTS_VERSION_KEY, next_version_text)
    else:
        update_meta_value(connection, GRANTS_VERSION_KEY, next_version_text)
    until_text = "" if grant.until is None else format_timestamp(grant.until)
    facts = {"id": grant.id, "subject": grant.subject, "role": grant.role, "until": until_text, **grant.facts}
    # a fact whose name begins with _ is a digest or the like: it belongs in no log
    logged_facts = {name: fact for name, fact in facts.items() if fact and name[0] != "_"}
    _insert_audit_entry(connection, actor, action, grant.object or grant.subject, logged_facts)


def _insert_audit_entry(
    connection: sa.Connection, actor: str, action: str, object_name: str, facts: Mapping[str, Any]
) -> None:
    values = {
        "number": get_next_number(connection, audit),
        "at": format_current_time(),
        "by": actor,
        "what": action,
        "object": object_name,
        "facts": json.dumps(facts),
    }
    connection.execute(sa.insert(audit).values(values))


def _audit_entry_from_row(row: sa.Row[Any]) -> AuditEntry:
    facts = json.loads(row.facts)
    return AuditEntry(row.number, row.at, row.by, row.what, row.object, facts)


def _grant_from_row(row: sa.Row[Any]) -> AccessGrant:
    values = {name: getattr(row, name) for name in AccessGrant.__slots__}
    values["facts"] = json.loads(row.facts)
    return AccessGrant(**values)


def _is_expired(grant: AccessGrant, time_seconds: float) -> bool:
    return grant.until is not None and grant.until <= time_seconds
