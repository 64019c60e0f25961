"""Looks: who operates the site, or curates a project, has the eyes of another reader for an hour; looks at files that are not everybody's are written down."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model.errors import Forbidden, HvenError
from hven.site.auth._permit import ANONYMOUS, ROLES, Reader, alike, recognised
from hven.site.auth.local import SCOPES, reader
from hven.site.auth.session import proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.auth._permit import People, Policy
    from hven.site.store import Store

COOKIE = "hven_as"
SECONDS = 3600.0  # after which one is oneself again
NOBODY, GROUP, PROJECT = "anonymous", "group", "project:"  # whom one may name besides an account
MOST = 200  # accounts that are listed


def choices(who: Reader, store: Store, settings: Settings) -> list[str]:
    """List as whom somebody may look: nobody, roles of projects; with `see_as` of ``[health]`` groups and, as far as there is room, accounts.

    Parameters
    ----------
    who
        The reader, as themself.
    store, settings
        Of the site.

    Returns
    -------
    names
        As `look_as` takes them; none: as nobody else.
    """
    every = _every(who, settings)
    roles = [f"{PROJECT}{one.name}:{role}" for one in settings.projects for role in ROLES]
    roles = [one for one in roles if every or _curated(who, one)]
    groups = [f"{GROUP}:{one}" for one in sorted(settings.people.groups)] if every else []
    accounts = [name for name, _ in store.users.all()[:MOST]] if every else []
    return [NOBODY, *accounts, *groups, *roles] if _may(who, settings) else []


def look_as(who: Reader, whom: str, store: Store, settings: Settings, people: People | None = None) -> Reader:
    """Return the reader as whom somebody looks: never one who sees more, unless `see_as` of ``[health]`` lets operators.

    Parameters
    ----------
    who
        The reader, as themself.
    whom
        `NOBODY`, an account, ``group:NAME``, ``project:NAME:ROLE``.
    store, settings, people
        As for `recognised`.

    Returns
    -------
    reader
        Of no account's name, so that nothing is theirs: no job, no table, no token.

    Raises
    ------
    Forbidden
        Not as this one, or there is none.
    """
    every = _every(who, settings)
    before, _, last = whom.rpartition(":")
    seen: Reader | None = None
    if who.name is None or who.by or who.groups & {*SCOPES.values()}:
        pass  # a token that leaked shall not open more
    elif whom == NOBODY and _may(who, settings):
        return Reader(by=who.name)
    elif whom.startswith(PROJECT) and last in ROLES and (every or _curated(who, whom)):
        roles = ROLES[: ROLES.index(last) + 1]
        seen = Reader(groups=frozenset({before, *(f"{before}:{one}" for one in roles)}))
    elif every and before == GROUP and last not in {"", "owner"}:
        seen = Reader(groups=frozenset({last}))
    elif every and not before and store.users.there(whom):
        seen = recognised(reader(whom, store, settings), settings, store.grants, people)
        seen = replace(seen, aliases=seen.aliases | {whom})
    if seen is None:
        raise Forbidden(
            f"you may not see this site as {whom!r:.80}",
            remedy="curators see their project in its roles; operators what everybody does, or with see_as under [health] in hven.toml whatever an account or a group does",
        )
    return replace(seen, name=f"as {whom}", by=str(who.name))


def begin(store: Store, name: str, whom: str, until: int) -> str:
    """Return the cookie of who looks as another: signed for one account, so that nobody looks unseen by the log.

    Parameters
    ----------
    store
        Of the site.
    name
        Of the account.
    whom
        As for `look_as`.
    until
        Seconds since 1970.

    Raises
    ------
    Forbidden
        There is no such account.
    """
    key = store.sessions.key_of(name)
    if key is None:
        raise Forbidden("only accounts of this site look as others", remedy="ask the site's owner for one")
    signature = hmac.digest(key, repr(("as", until, whom)).encode(), hashlib.sha256).hex()
    return f"{until}.{whom.encode().hex()}.{signature}"


def looking(
    who: Reader, headers: Mapping[str, str], store: Store, settings: Settings, people: People | None = None
) -> Reader:
    """Return as whom somebody looks: as themself without the cookie, and when its time or their right is over.

    Parameters
    ----------
    who
        As they logged in.
    headers
        Of the request, names in lower case.
    store, settings, people
        As for `recognised`.
    """
    given = proof_of(headers, COOKIE) or ""
    try:
        until, text, _ = given.split(".")
        whom = bytes.fromhex(text).decode()
        right = begin(store, who.name or "", whom, int(until))
        if not hmac.compare_digest(right.encode(), given.encode()) or int(until) <= time.time():
            return who
        return look_as(who, whom, store, settings, people)
    except (ValueError, HvenError):
        return who


def looked(
    store: Store, who: Reader, what: str, path: str, files: Table, named: Sequence[Table], policies: Sequence[Policy]
) -> None:
    """Write down that somebody was given a file, or what it says of itself, if not everybody is.

    Parameters
    ----------
    store
        Of the site.
    who
        The reader.
    what
        They did, in two words.
    path
        Of the file.
    files
        The collection's table of files.
    named
        Those of its tables whose policy says who takes the files that their rows name.
    policies
        What readers may see.
    """
    rights = [(table.rights, str(table.policy.path)) for table in named if table.policy and table.rights]
    shut = any(one.locked(ANONYMOUS, {column: path}) for one, column in rights)
    if who.person and (shut or not (named or alike(files, who, policies))):
        seen = {"as": who.name or "anonymous"} if who.by else {}
        store.grants.note(who.person, what, files.schema, {"file": path, **seen})


def _every(who: Reader, settings: Settings) -> bool:
    return settings.health.see_as and who.name in settings.health.operators


def _may(who: Reader, settings: Settings) -> bool:
    return who.name in settings.health.operators or any(_curated(who, one) for one in who.groups)


def _curated(who: Reader, role: str) -> bool:
    """Return whether this is a role, not above one's own, of a project that one curates."""
    return role in who.groups and f"{role.rpartition(':')[0]}:curator" in who.groups
