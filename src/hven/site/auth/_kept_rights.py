"""Who owns what outlives a request, and which rights it relies on: it can be read as long as its reader has all of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from hven.adql import normal
from hven.model.errors import Forbidden, NotFound, say
from hven.site.auth import _invitations as invitations
from hven.site.auth._permit import DEFAULT, INVITED, Reader, recognised, row_filters, visible
from hven.site.auth.local import SCOPES, reader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site.auth._permit import People, Policy
    from hven.site.store import Store

SAID = "said:"  # before a group that the proof of a request said itself (a provider's token): nobody can be asked for it later
NO_RIGHTS = ("user:", "scope:", SAID)  # beginnings of what is recorded beside rights
NAMED = 3  # rights that a message names


class PublishedTable(Protocol):
    """What is asked of a table that is published (`hven.site.Published`)."""

    @property
    def table(self) -> Table:
        """Who sees it stands there."""

    @property
    def reads(self) -> Sequence[str]:
        """The tables that a view reads."""


def rights_of(who: Reader) -> frozenset[str]:
    """Return the rights that a reader has now, one text each: groups, other names, delegations.

    Parameters
    ----------
    who
        The reader.

    Returns
    -------
    rights
        What the account has as itself (its name, the scope of its token) is not among them.
    """
    groups = {name for name in who.groups if not name.startswith(NO_RIGHTS)}
    names = {f"name:{normal(alias)}" for alias in who.aliases}
    delegations = {f"delegation:{json.dumps((one.name, one.column, one.value))}" for one in who.delegations}
    return frozenset(groups | names | delegations)


def record_rights(who: Reader, store: Store, settings: Settings) -> list[str]:
    """Write down the rights of a reader for what they begin now: `restore_reader` reads it when the work is done.

    Parameters
    ----------
    who
        The reader.
    store, settings
        Of the site.

    Returns
    -------
    record
        The rights; the scope of the token; and, marked, the groups that nothing but the proof of this request says.
    """
    proved = who.groups if who.proved_groups is None else who.proved_groups
    known = frozenset[str]() if who.name is None else reader(who.name, store, settings).groups
    said = {name for name in proved - known if not name.startswith(NO_RIGHTS)} if who.name is not None else ()
    scopes = who.groups & {*SCOPES.values()}
    return sorted({*rights_of(who), *scopes, *(f"{SAID}{name}" for name in said)})


def missing_rights(record: Iterable[str], who: Reader) -> list[str]:
    """List the rights that something relies on and a reader does not have.

    Parameters
    ----------
    record
        As `record_rights` wrote it.
    who
        The reader.

    Returns
    -------
    rights
        In order; empty: they may read it, as far as it is theirs. The owner of the site lacks nothing.
    """
    needed = {one for one in record if not one.startswith(NO_RIGHTS)}
    return [] if not needed or "owner" in who.groups else sorted(needed - rights_of(who))


def check_kept(
    what: str, owner: str | None, record: Collection[str], who: Reader, store: Store, *, to_read: bool = True
) -> None:
    """Check that a reader may read what was kept, or remove it.

    Parameters
    ----------
    what
        It is, in words.
    owner
        Its principal (`Reader.principal`); None: of nobody in particular, for whoever knows where it is.
    record
        The rights that it relies on, as `record_rights` wrote them.
    who
        The reader.
    store
        Of the site.
    to_read
        False: to remove it, for which ownership is enough.

    Raises
    ------
    NotFound
        Its owner is an invitation that has ended: it is there for nobody, and will be removed.
    Forbidden
        It is somebody else's, or relies on rights that the reader does not have now.
    """
    if "owner" in who.groups:
        return
    ended = owner is not None and owner.startswith(INVITED) and invitations.find_invitation(store, owner) is None
    missing = missing_rights(record, who)
    if ended or (owner is None and missing):  # to others it is not even told which rights these are
        raise NotFound(
            say("{what} is not there any more", what), remedy="it has ended with the right by which it was made"
        )
    if owner is not None and owner not in who.principals:
        raise Forbidden(say("{what} belongs to somebody else", what), remedy="log in as its owner")
    if missing and to_read:
        shown = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        raise Forbidden(
            say("{what} relies on rights that you do not have now: {rights}", what, shown),
            remedy="ask again: the answer has what you may see now",
        )


def rules_of(names: Iterable[str], published: Mapping[str, PublishedTable]) -> dict[str, str]:
    """Return a digest of what descriptors say about who sees tables; beside a result it tells whether that was changed since.

    Parameters
    ----------
    names
        Qualified names; those that are not published are left out.
    published
        What is published now.

    Returns
    -------
    rules
        By qualified name: of the tables, and of those that views read.
    """
    known = [name for name in names if name in published]
    known += [one for name in known for one in published[name].reads if one in published]
    return {name: _rule_of(published[name].table) for name in known}


def is_open_still(
    rules: Mapping[str, str], published: Mapping[str, PublishedTable], who: Reader, policies: Sequence[Policy] = DEFAULT
) -> bool:
    """Return whether nothing was closed since a result was made: of each of its tables the rule is that of then, or the reader sees all rows now.

    Parameters
    ----------
    rules
        As `rules_of` returned them then.
    published
        What is published now; tables that are no more close nothing.
    who
        The reader.
    policies
        What readers may see.
    """
    changed = [
        published[name].table
        for name, rule in rules.items()
        if name in published and _rule_of(published[name].table) != rule
    ]
    return all(visible(one, who, policies) for one in changed) and not row_filters(changed, who, policies)


def _rule_of(table: Table) -> str:
    said = repr((table.access, table.project if table.access == "members" else "", table.policy))
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def restore_reader(
    owner: str | None, record: Collection[str], store: Store, settings: Settings, people: People | None = None
) -> Reader:
    """Return the reader who began something, with the rights that they have now.

    Parameters
    ----------
    owner
        Its principal; None: nobody in particular.
    record
        As `record_rights` wrote it when it was begun.
    store, settings, people
        As for `recognised`.

    Raises
    ------
    Forbidden
        It was begun under an invitation that has ended.
    """
    invited = owner if owner is not None and owner.startswith(INVITED) else None
    if owner is None or invited is not None:
        who = Reader()
    else:
        said = {name.removeprefix(SAID) for name in record if name.startswith(SAID)}
        who = reader(owner, store, settings, *said, *({"owner"} & {*record}))
        who = recognised(who, settings, store.grants, people)
    for name in {one for one in record if one.startswith(INVITED)} | ({invited} if invited else set()):
        grant = invitations.find_invitation(store, name)
        if grant is not None:
            who = replace(who, groups=who.groups | invitations.groups_of_invitation(grant))
        elif name == invited:
            raise Forbidden("the invitation under which this was begun has ended", remedy="ask for another one")
    return who


__all__ = [
    "NO_RIGHTS",
    "check_kept",
    "is_open_still",
    "missing_rights",
    "record_rights",
    "restore_reader",
    "rights_of",
    "rules_of",
]
