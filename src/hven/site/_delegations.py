"""Delegations: for a time, an account sees the rows that name another person.

A delegation covers all of these rows, or those of one collection.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.adql import normalize_person_name
from hven.model.errors import UserError, suggest_spelling
from hven.site._people_tables import find_groups_and_aliases
from hven.site.history import parse_instant

if TYPE_CHECKING:
    from hven.site._site import Site
    from hven.site.store import AccessGrant

DELEGATION_KIND = "delegation"


def grant_delegation_and_list_doubts(
    site: Site, account: str, delegator: str, *, row_condition: str | None = None, expiry_text: str, granted_by: str
) -> tuple[AccessGrant, list[str]]:
    """Let an account see the rows of another person: that person's own, not those that were delegated to them.

    Parameters
    ----------
    site
        The site.
    account
        The account that gets the delegation.
    delegator
        Name of the other person as it stands in rows: an account, or one of its other names.
    row_condition
        ``column=value``: only these rows, for example of a collection or a programme.
    expiry_text
        ISO 8601, UTC unless it says otherwise; a day means its end.
    granted_by
        The account that gives the delegation.

    Returns
    -------
    grant
        The new grant.
    doubts
        Sentences about accounts and columns that are not known here.

    Raises
    ------
    UserError
        The time is not in the future, the condition is not valid, or the delegation leads back to the account itself.
    """
    column, equals, column_value = (part.strip() for part in (row_condition or "").partition("="))
    if row_condition is not None and not (column and equals and column_value):
        raise UserError(
            f"{row_condition!r:.80} is not a condition", remedy="write column=value, such as progid=60.A-9237"
        )
    expiry_instant = parse_instant(expiry_text)
    expiry_timestamp = 0.0
    if expiry_instant is not None:
        expiry_timestamp = datetime.fromisoformat(expiry_instant).timestamp()
    if expiry_timestamp <= datetime.now(UTC).timestamp():
        raise UserError(
            f"{expiry_text!r:.80} is not a time in the future",
            remedy="write a future date or time, such as 2027-12-31 or 2027-12-31T12:00:00",
        )
    known_accounts = [account_name for account_name, _ in site.store.users.list_accounts()]
    delegations = site.store.grants.list_grants(DELEGATION_KIND)
    delegation_pairs = [(delegation.subject, delegation.object) for delegation in delegations]
    account_names = {*known_accounts, account, *(delegation.subject for delegation in delegations)}
    names_by_account = {
        account_name: list_normalized_account_names(site, account_name) for account_name in account_names
    }
    _check_delegation_cycle(account, delegator, names_by_account, delegation_pairs)
    doubts = []
    if account not in known_accounts:
        suggestion = suggest_spelling(account, known_accounts) or "create it, or check the name"
        doubts.append(f"there is no account {account}: {suggestion}")
    other_names = sorted(names_by_account.get(delegator, frozenset()) - {normalize_person_name(delegator)})
    if other_names:
        doubts.append(
            f"the delegation covers the rows that name {delegator}; rows that name {' or '.join(other_names)} need "
            "a delegation for this name"
        )
    column_names: set[str] = set()
    for published_table in site.get_published_state().tables_by_name.values():
        column_names |= {table_column.name for table_column in published_table.table.columns}
    if column and column not in column_names:
        suggestion = suggest_spelling(column, column_names) or "the delegation shows no rows"
        doubts.append(f"no table has a column {column}: {suggestion}")
    facts = {}
    if row_condition is not None:
        facts = {"column": column, "value": column_value}
    grant, _ = site.store.grants.add_grant(
        DELEGATION_KIND, subject=account, object=delegator, expiry_time=expiry_timestamp, actor=granted_by, facts=facts
    )
    return grant, doubts


def list_normalized_account_names(site: Site, account: str) -> frozenset[str]:
    """Return all names of an account, as `hven.adql.normalize_person_name` writes them.

    Parameters
    ----------
    site
        The site.
    account
        Name of the account.
    """
    configured_aliases = site.settings.people.aliases.get(account, ())
    _, table_aliases = find_groups_and_aliases(site, account)
    return frozenset(map(normalize_person_name, (account, *configured_aliases, *table_aliases)))


def _check_delegation_cycle(
    account: str, delegator: str, names_by_account: dict[str, frozenset[str]], delegations: list[tuple[str, str]]
) -> None:
    paths = [[account, delegator]]
    visited_names = set[str]()
    for path in paths:  # the list grows meanwhile
        last_name = normalize_person_name(path[-1])
        owner_accounts: list[str] = []
        if last_name not in visited_names:
            owner_accounts = [owner for owner, owner_names in names_by_account.items() if last_name in owner_names]
        visited_names.add(last_name)
        if account in owner_accounts:
            if len(path) == 2:
                raise UserError(f"{delegator!r} is already one of the names of the account {account!r}")
            remedy = (
                "end another delegation of this cycle first; a delegation covers only a person's own rows, not the "
                "rows that others delegated to this person"
            )
            raise UserError(f"the delegations form a cycle: {' for '.join(map(repr, path))}", remedy=remedy)
        paths += [[*path, delegated_name] for owner, delegated_name in delegations if owner in owner_accounts]
