"""Delegations: for a time, an account sees the rows that name another person.

A delegation covers all of these rows, or those of one collection.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.adql import normalize_name
from hven.model.errors import UserError, suggest_spelling
from hven.site._people_tables import find_groups_and_aliases
from hven.site.history import parse_instant

if TYPE_CHECKING:
    from hven.site._site import Site
    from hven.site.store import Grant

DELEGATION_KIND = "delegation"


def grant_delegation(
    site: Site, account: str, delegator: str, *, row_condition: str | None = None, expiry_text: str, granted_by: str
) -> tuple[Grant, list[str]]:
    """Let an account see the rows of somebody else: their own, not those that were delegated to them.

    Parameters
    ----------
    site
        Where.
    account
        Who gets it.
    delegator
        Of the other one, as it stands in rows: an account, or one of its other names.
    row_condition
        ``column=value``: of these rows alone, a collection, a programme ...
    expiry_text
        ISO 8601, UTC unless it says otherwise; a day means its end.
    granted_by
        Who gives it.

    Returns
    -------
    grant
        As it stands now.
    doubts
        Accounts and columns that are not known here.

    Raises
    ------
    UserError
        No such moment is to come, the condition is none, or the delegation leads back to the account itself.
    """
    column, equals, value = (part.strip() for part in (row_condition or "").partition("="))
    if row_condition is not None and not (column and equals and value):
        raise UserError(f"{row_condition!r:.80} is no condition", remedy="column=value: progid=60.A-9237")
    expiry_instant = parse_instant(expiry_text)
    if expiry_instant is not None:
        expiry_timestamp = datetime.fromisoformat(expiry_instant).timestamp()
    else:
        expiry_timestamp = 0.0
    if expiry_timestamp <= datetime.now(UTC).timestamp():
        raise UserError(f"{expiry_text!r:.80} is no moment to come", remedy="a day, or a time: 2027-12-31T12:00:00")
    known_accounts = [account_name for account_name, _ in site.store.users.list_accounts()]
    delegations = site.store.grants.list_grants(DELEGATION_KIND)
    names_by_account = {
        account_name: list_account_names(site, account_name)
        for account_name in {*known_accounts, account, *(account_name.subject for account_name in delegations)}
    }
    _check_delegation_cycle(
        account,
        delegator,
        names_by_account,
        [(account_name.subject, account_name.object) for account_name in delegations],
    )
    if account in known_accounts:
        doubts = []
    else:
        doubts = [f"there is no account {account}: {suggest_spelling(account, known_accounts) or 'yet'}"]
    columns = {
        account_name.name
        for item in site.get_published_state().tables_by_name.values()
        for account_name in item.table.columns
    }
    if column and column not in columns:
        doubts.append(f"no table has a column {column}: {suggest_spelling(column, columns) or 'no row is seen by it'}")
    if row_condition is not None:
        facts = {"column": column, "value": value}
    else:
        facts = {}
    return site.store.grants.add_grant(
        DELEGATION_KIND, subject=account, object=delegator, expiry_time=expiry_timestamp, actor=granted_by, facts=facts
    )[0], doubts


def list_account_names(site: Site, account: str) -> frozenset[str]:
    """Return all names of an account, as `hven.adql.normalize_name` writes them.

    Parameters
    ----------
    site
        Where it is one.
    account
        Its name.
    """
    aliases = site.settings.people.aliases.get(account, ())
    return frozenset(map(normalize_name, (account, *aliases, *find_groups_and_aliases(site, account)[1])))


def _check_delegation_cycle(
    account: str, delegator: str, names_by_account: dict[str, frozenset[str]], delegations: list[tuple[str, str]]
) -> None:
    paths = [[account, delegator]]
    visited_names = set[str]()
    for path in paths:  # grows
        last_name = normalize_name(path[-1])
        if last_name in visited_names:
            owner_accounts = []
        else:
            owner_accounts = [owner for owner, owner_names in names_by_account.items() if last_name in owner_names]
        visited_names.add(last_name)
        if account in owner_accounts:
            is_own_name = len(path) == 2
            raise UserError(
                f"{delegator} is a name of {account}'s own" if is_own_name else f"{' for '.join(path)}: a circle",
                remedy=""
                if is_own_name
                else "a delegation hands on one's own rows, never those that one was given: end the other one first",
            )
        paths += [[*path, delegated_name] for owner, delegated_name in delegations if owner in owner_accounts]


__all__ = ["grant_delegation", "list_account_names"]
