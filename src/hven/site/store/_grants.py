"""Grants and the log of their changes.

A grant is what one account gave to another: a token, a place in a project, a delegation, or a look for a referee.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import NotFoundError
from hven.site.store._database import audit, format_current_time, get_next_number, grants, meta

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.site.store._database import StateDatabase

GRANTS_VERSION_KEY = "grants"  # in `meta`: rises with each change
POLL_INTERVAL_SECONDS = 0.25  # seconds between two looks at it


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One right that somebody has.

    Attributes
    ----------
    id
        Nothing that must be secret.
    kind
        ``token``, ``member``, ``delegation`` ...
    subject
        The account that has it; empty: whoever has the secret.
    object
        What it is about: a project, a collection, the name of a person.
    role
        Which part of it.
    by
        Who gave it.
    created
        ISO, UTC.
    until
        Seconds since 1970 from which it is none; None: it has no end.
    facts
        What else its kind wants.
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
    """A line of the log: when, who, did what, with what, and its particulars."""

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
    grants_by_id: Mapping[str, tuple[Grant, str]]  # with the digest of its secret
    grants_by_subject: Mapping[str, tuple[Grant, ...]]


class GrantStore:
    """The grants of a site. Thread-safe; each process sees a change of another one within `POLL_INTERVAL_SECONDS`."""

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
    ) -> tuple[Grant, str]:
        """Give something to somebody, and write it down.

        Parameters
        ----------
        grant_kind, subject, object, role, actor, facts
            As `Grant` has them.
        expiry_time
            Seconds since 1970; None: it has no end.
        with_secret
            It is proved by a secret, of which a digest alone is kept.

        Returns
        -------
        grant
            As it stands now.
        proof
            ``ID.SECRET``, or empty; nobody can read it again.
        """
        grant_id = secrets.token_hex(6)
        secret_text = secrets.token_urlsafe(32) if with_secret else ""
        new_grant = Grant(
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
        values = {name: getattr(new_grant, name) for name in Grant.__slots__}
        with self._database.begin_write() as connection:
            values |= {"facts": json.dumps(new_grant.facts), "hash": _hash_secret(secret_text) if with_secret else ""}
            connection.execute(sa.insert(grants).values(values))
            record_change(connection, f"{grant_kind} given", new_grant, actor)
        self._last_poll = 0.0
        return new_grant, f"{grant_id}.{secret_text}" if with_secret else ""

    def revoke_grant(self, grant_id: str, *, actor: str) -> Grant:
        """Take a grant back, and write it down.

        Parameters
        ----------
        grant_id
            Its id.
        actor
            Who does.

        Returns
        -------
        grant
            As it was.

        Raises
        ------
        NotFoundError
            There is none.
        """
        with self._database.begin_write() as connection:
            row = connection.execute(sa.select(grants).where(grants.c.id == grant_id)).first()
            if row is None:
                raise NotFoundError(f"nothing of the number {grant_id!r:.40} was given to anybody")
            revoked_grant = _grant_from_row(row)
            connection.execute(sa.delete(grants).where(grants.c.id == grant_id))
            record_change(connection, f"{revoked_grant.kind} ended", revoked_grant, actor)
        self._last_poll = 0.0
        return revoked_grant

    def list_grants(
        self,
        grant_kind: str | None = None,
        *,
        subject: str | None = None,
        object: str | None = None,  # noqa: A002
    ) -> list[Grant]:
        """List the grants that are in force, as they were given.

        Parameters
        ----------
        grant_kind, subject, object
            Those alone.

        Returns
        -------
        grants
            In the order in which they were given.
        """
        current_grants = self._load_current_grants()
        current_time = time.time()
        candidates: Iterable[Grant] = (
            (grant for grant, _ in current_grants.grants_by_id.values())
            if subject is None
            else current_grants.grants_by_subject.get(subject, ())
        )
        return [
            grant
            for grant in candidates
            if grant_kind in {None, grant.kind}
            and object in {None, grant.object}
            and (grant.until is None or current_time < grant.until)
        ]

    def verify_proof(self, grant_kind: str, proof: str) -> Grant | None:
        """Return the grant that a proof is of; None: none of this kind, or none any more.

        The comparison takes the same time either way.

        Parameters
        ----------
        grant_kind
            Of the grant.
        proof
            ``ID.SECRET``.
        """
        grant_id, _, secret_text = proof.partition(".")
        grant, stored_digest = self._load_current_grants().grants_by_id.get(grant_id, (None, ""))
        is_match = hmac.compare_digest(_hash_secret(secret_text), stored_digest or "0" * 64)
        if (
            grant is None
            or not is_match
            or grant.kind != grant_kind
            or (grant.until is not None and time.time() >= grant.until)
        ):
            return None
        return grant

    def find_grant(self, grant_kind: str, grant_id: str) -> Grant | None:
        """Return a grant that is in force by its id; None: there is none of this kind, or none any more.

        Parameters
        ----------
        grant_kind
            Of the grant.
        grant_id
            Its id.
        """
        grant, _ = self._load_current_grants().grants_by_id.get(grant_id, (None, ""))
        if grant is not None and grant.kind == grant_kind and (grant.until is None or time.time() < grant.until):
            return grant
        return None

    def delete_expired_grants(self, expired_before: float) -> int:
        """Remove grants that have long been over; the log keeps that they were, and how many went.

        Parameters
        ----------
        expired_before
            Seconds since 1970: those that were over by then.

        Returns
        -------
        gone
            How many.
        """
        if not any(
            grant.until is not None and grant.until <= expired_before
            for grant, _ in self._load_current_grants().grants_by_id.values()
        ):
            return 0
        with self._database.begin_write() as connection:
            deleted_count = connection.execute(sa.delete(grants).where(grants.c.until <= expired_before)).rowcount
            if deleted_count:
                log_grant = Grant(id="", kind="grants", object="grants", facts={"count": deleted_count})
                record_change(connection, "removed, long over", log_grant, "hven")
        self._last_poll = 0.0
        return deleted_count

    def get_version(self) -> int:
        """Return a number that rises with each change, in every process."""
        return self._load_current_grants().version

    def log_event(
        self,
        actor: str,
        action: str,
        object: str,  # noqa: A002
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a line of the log that changes nothing.

        Parameters
        ----------
        actor, action, object, facts
            As `AuditEntry` has them.
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
        """Read the log, newest first.

        Parameters
        ----------
        object, by
            Those lines alone.
        row_limit
            Lines.

        Returns
        -------
        lines
            At most so many.
        """
        query = sa.select(audit).order_by(audit.c.number.desc()).limit(row_limit)
        if object is not None:
            query = query.where(audit.c.object == object)
        if by is not None:
            query = query.where(audit.c.by == by)
        with self._database.begin_read() as connection:
            return [
                AuditEntry(row.number, row.at, row.by, row.what, row.object, json.loads(row.facts))
                for row in connection.execute(query)
            ]

    def _load_current_grants(self) -> _GrantsSnapshot:
        if time.monotonic() - self._last_poll < POLL_INTERVAL_SECONDS:
            return self._snapshot
        with self._lock, self._database.begin_read() as connection:
            version = int(connection.execute(_VERSION_QUERY).scalar() or 0)
            if version != self._snapshot.version:
                rows = connection.execute(sa.select(grants).order_by(grants.c.created)).all()
                grants_by_id = {row.id: (_grant_from_row(row), row.hash) for row in rows}
                grants_by_subject: dict[str, list[Grant]] = {}
                for grant, _ in grants_by_id.values():
                    grants_by_subject.setdefault(grant.subject, []).append(grant)
                self._snapshot = _GrantsSnapshot(
                    version,
                    grants_by_id,
                    {name: tuple(subject_grants) for name, subject_grants in grants_by_subject.items()},
                )
            self._last_poll = time.monotonic()
        return self._snapshot


def delete_account_grants(connection: sa.Connection, account: str) -> None:
    """Remove what an account was given, and what it gave as its own."""
    row_condition = (grants.c.subject == account) | ((grants.c.kind == "delegation") & (grants.c.by == account))
    if connection.execute(sa.delete(grants).where(row_condition)).rowcount:
        record_change(connection, "account removed", Grant(id="", kind="account", subject=account), "owner")


def record_change(connection: sa.Connection, action: str, grant: Grant, actor: str) -> None:
    """Write down a change, and let all processes see that there is one."""
    version_text = connection.execute(_VERSION_QUERY).scalar()
    values = {"key": GRANTS_VERSION_KEY, "value": str(int(version_text or 0) + 1)}
    query = sa.insert(meta) if version_text is None else sa.update(meta).where(meta.c.key == GRANTS_VERSION_KEY)
    connection.execute(query.values(values))
    logged_facts = {"id": grant.id, "subject": grant.subject, "role": grant.role, "until": grant.until, **grant.facts}
    # what begins with _ is a digest, or such: in no log
    logged_facts = {name: fact_value for name, fact_value in logged_facts.items() if fact_value and name[0] != "_"}
    _insert_audit_entry(connection, actor, action, grant.object or grant.subject, logged_facts)


def _insert_audit_entry(
    connection: sa.Connection, actor: str, action: str, object_name: str, facts: Mapping[str, Any]
) -> None:
    number = get_next_number(connection, audit)
    connection.execute(
        sa.insert(audit).values(
            number=number, at=format_current_time(), by=actor, what=action, object=object_name, facts=json.dumps(facts)
        )
    )


def _grant_from_row(row: sa.Row[Any]) -> Grant:
    return Grant(
        **{name: getattr(row, name) for name in Grant.__slots__ if name != "facts"}, facts=json.loads(row.facts)
    )


_VERSION_QUERY = sa.select(meta.c.value).where(meta.c.key == GRANTS_VERSION_KEY)


def _hash_secret(secret: str) -> str:
    # the secret has 256 random bits: a slow hash would protect nothing more
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
