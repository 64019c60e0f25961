"""Grants: what somebody gave to somebody (a token, a place in a project, a delegation, a look for a referee), and the log of who changed what."""

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

from hven.model.errors import NotFound
from hven.site.store._database import audit, following, grants, meta, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.site.store._database import Database

VERSION = "grants"  # in `meta`: rises with each change
LOOK = 0.25  # seconds between two looks at it


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
class Line:
    """A line of the log: when, who, did what, with what, and its particulars."""

    number: int
    at: str
    by: str
    what: str
    object: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Known:
    """All grants at one version."""

    version: int
    every: Mapping[str, tuple[Grant, str]]  # with the digest of its secret
    subjects: Mapping[str, tuple[Grant, ...]]


class Grants:
    """The grants of a site. Thread-safe; each process sees a change of another one within `LOOK`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = _Known(-1, {}, {})
        self._looked = 0.0
        self._lock = threading.Lock()

    def add(
        self,
        kind: str,
        *,
        subject: str = "",
        object: str = "",  # noqa: A002  (as the field is called)
        role: str = "",
        until: float | None = None,
        by: str,
        facts: Mapping[str, Any] | None = None,
        secret: bool = False,
    ) -> tuple[Grant, str]:
        """Give something to somebody, and write it down.

        Parameters
        ----------
        kind, subject, object, role, by, facts
            As `Grant` has them.
        until
            Seconds since 1970; None: it has no end.
        secret
            It is proved by a secret, of which a digest alone is kept.

        Returns
        -------
        grant
            As it stands now.
        proof
            ``ID.SECRET``, or empty; nobody can read it again.
        """
        ident, word = secrets.token_hex(6), secrets.token_urlsafe(32) if secret else ""
        made = Grant(
            id=ident, kind=kind, subject=subject, object=object, role=role, by=by, created=now(), until=until,
            facts=dict(facts or {}),
        )  # fmt: skip
        values = {name: getattr(made, name) for name in Grant.__slots__}
        with self._database.writing() as connection:
            values |= {"facts": json.dumps(made.facts), "hash": _digest(word) if secret else ""}
            connection.execute(sa.insert(grants).values(values))
            changed(connection, f"{kind} given", made, by)
        self._looked = 0.0
        return made, f"{ident}.{word}" if secret else ""

    def end(self, ident: str, *, by: str) -> Grant:
        """Take a grant back, and write it down.

        Parameters
        ----------
        ident
            Its id.
        by
            Who does.

        Returns
        -------
        grant
            As it was.

        Raises
        ------
        NotFound
            There is none.
        """
        with self._database.writing() as connection:
            row = connection.execute(sa.select(grants).where(grants.c.id == ident)).first()
            if row is None:
                raise NotFound(f"nothing of the number {ident!r:.40} was given to anybody")
            gone = _read(row)
            connection.execute(sa.delete(grants).where(grants.c.id == ident))
            changed(connection, f"{gone.kind} ended", gone, by)
        self._looked = 0.0
        return gone

    def all(
        self,
        kind: str | None = None,
        *,
        subject: str | None = None,
        object: str | None = None,  # noqa: A002
    ) -> list[Grant]:
        """List the grants that are in force, as they were given.

        Parameters
        ----------
        kind, subject, object
            Those alone.

        Returns
        -------
        grants
            In the order in which they were given.
        """
        known, moment = self._now(), time.time()
        some: Iterable[Grant] = (
            (one for one, _ in known.every.values()) if subject is None else known.subjects.get(subject, ())
        )
        return [
            one
            for one in some
            if kind in {None, one.kind} and object in {None, one.object} and (one.until is None or moment < one.until)
        ]

    def holds(self, kind: str, proof: str) -> Grant | None:
        """Return the grant that a proof is of; None: none of this kind, or none any more. The comparison takes the same time either way.

        Parameters
        ----------
        kind
            Of the grant.
        proof
            ``ID.SECRET``.
        """
        ident, _, word = proof.partition(".")
        one, kept = self._now().every.get(ident, (None, ""))
        same = hmac.compare_digest(_digest(word), kept or "0" * 64)
        if one is None or not same or one.kind != kind or (one.until is not None and time.time() >= one.until):
            return None
        return one

    def find(self, kind: str, ident: str) -> Grant | None:
        """Return a grant that is in force by its id; None: there is none of this kind, or none any more.

        Parameters
        ----------
        kind
            Of the grant.
        ident
            Its id.
        """
        one, _ = self._now().every.get(ident, (None, ""))
        return one if one is not None and one.kind == kind and (one.until is None or time.time() < one.until) else None

    def sweep(self, before: float) -> int:
        """Remove grants that have long been over; the log keeps that they were, and how many went.

        Parameters
        ----------
        before
            Seconds since 1970: those that were over by then.

        Returns
        -------
        gone
            How many.
        """
        if not any(one.until is not None and one.until <= before for one, _ in self._now().every.values()):
            return 0
        with self._database.writing() as connection:
            gone = connection.execute(sa.delete(grants).where(grants.c.until <= before)).rowcount
            if gone:
                made = Grant(id="", kind="grants", object="grants", facts={"count": gone})
                changed(connection, "removed, long over", made, "hven")
        self._looked = 0.0
        return gone

    def version(self) -> int:
        """Return a number that rises with each change, in every process."""
        return self._now().version

    def note(self, by: str, what: str, object: str, facts: Mapping[str, Any] | None = None) -> None:  # noqa: A002
        """Write a line of the log that changes nothing.

        Parameters
        ----------
        by, what, object, facts
            As `Line` has them.
        """
        with self._database.writing() as connection:
            _note(connection, by, what, object, facts or {})

    def audit(
        self,
        *,
        object: str | None = None,  # noqa: A002
        by: str | None = None,
        most: int = 1000,
    ) -> list[Line]:
        """Read the log, newest first.

        Parameters
        ----------
        object, by
            Those lines alone.
        most
            Lines.

        Returns
        -------
        lines
            At most so many.
        """
        query = sa.select(audit).order_by(audit.c.number.desc()).limit(most)
        if object is not None:
            query = query.where(audit.c.object == object)
        if by is not None:
            query = query.where(audit.c.by == by)
        with self._database.reading() as connection:
            return [
                Line(row.number, row.at, row.by, row.what, row.object, json.loads(row.facts))
                for row in connection.execute(query)
            ]

    def _now(self) -> _Known:
        if time.monotonic() - self._looked < LOOK:
            return self._known
        with self._lock, self._database.reading() as connection:
            version = int(connection.execute(_VERSION).scalar() or 0)
            if version != self._known.version:
                rows = connection.execute(sa.select(grants).order_by(grants.c.created)).all()
                every = {row.id: (_read(row), row.hash) for row in rows}
                subjects: dict[str, list[Grant]] = {}
                for one, _ in every.values():
                    subjects.setdefault(one.subject, []).append(one)
                self._known = _Known(version, every, {name: tuple(some) for name, some in subjects.items()})
            self._looked = time.monotonic()
        return self._known


def leave(connection: sa.Connection, account: str) -> None:
    """Remove what an account was given, and what it gave as its own."""
    gone = (grants.c.subject == account) | ((grants.c.kind == "delegation") & (grants.c.by == account))
    if connection.execute(sa.delete(grants).where(gone)).rowcount:
        changed(connection, "account removed", Grant(id="", kind="account", subject=account), "owner")


def changed(connection: sa.Connection, what: str, grant: Grant, by: str) -> None:
    """Write down a change, and let all processes see that there is one."""
    found = connection.execute(_VERSION).scalar()
    values = {"key": VERSION, "value": str(int(found or 0) + 1)}
    query = sa.insert(meta) if found is None else sa.update(meta).where(meta.c.key == VERSION)
    connection.execute(query.values(values))
    told = {"id": grant.id, "subject": grant.subject, "role": grant.role, "until": grant.until, **grant.facts}
    # what begins with _ is a digest, or such: in no log
    told = {name: one for name, one in told.items() if one and name[0] != "_"}
    _note(connection, by, what, grant.object or grant.subject, told)


def _note(connection: sa.Connection, by: str, what: str, about: str, facts: Mapping[str, Any]) -> None:
    number = following(connection, audit)
    connection.execute(
        sa.insert(audit).values(number=number, at=now(), by=by, what=what, object=about, facts=json.dumps(facts))
    )


def _read(row: sa.Row[Any]) -> Grant:
    return Grant(
        **{name: getattr(row, name) for name in Grant.__slots__ if name != "facts"}, facts=json.loads(row.facts)
    )


_VERSION = sa.select(meta.c.value).where(meta.c.key == VERSION)


def _digest(secret: str) -> str:
    # the secret has 256 random bits: a slow hash would protect nothing more
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
