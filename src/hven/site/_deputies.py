"""Delegations: an account sees the rows in which the name of somebody else stands, all of them or some, until a moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.adql import normal
from hven.model.errors import UserError, nearest
from hven.site._people import people_of
from hven.site.past import instant

if TYPE_CHECKING:
    from hven.site._site import Site
    from hven.site.store import Grant

KIND = "delegation"


def delegate(
    site: Site, account: str, name: str, *, where: str | None = None, until: str, by: str
) -> tuple[Grant, list[str]]:
    """Let an account see the rows of somebody else: their own, not those that were delegated to them.

    Parameters
    ----------
    site
        Where.
    account
        Who gets it.
    name
        Of the other one, as it stands in rows: an account, or one of its other names.
    where
        ``column=value``: of these rows alone, a collection, a programme ...
    until
        ISO 8601, UTC unless it says otherwise; a day means its end.
    by
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
    column, equals, value = (part.strip() for part in (where or "").partition("="))
    if where is not None and not (column and equals and value):
        raise UserError(f"{where!r:.80} is no condition", remedy="column=value: progid=60.A-9237")
    moment = instant(until)
    end = datetime.fromisoformat(moment).timestamp() if moment is not None else 0.0
    if end <= datetime.now(UTC).timestamp():
        raise UserError(f"{until!r:.80} is no moment to come", remedy="a day, or a time: 2027-12-31T12:00:00")
    known = [one for one, _ in site.store.users.all()]
    granted = site.store.grants.all(KIND)
    names = {one: names_of(site, one) for one in {*known, account, *(one.subject for one in granted)}}
    _refuse_circles(account, name, names, [(one.subject, one.object) for one in granted])
    doubts = [] if account in known else [f"there is no account {account}: {nearest(account, known) or 'yet'}"]
    columns = {one.name for item in site.current().published.values() for one in item.table.columns}
    if column and column not in columns:
        doubts.append(f"no table has a column {column}: {nearest(column, columns) or 'no row is seen by it'}")
    facts = {"column": column, "value": value} if where is not None else {}
    return site.store.grants.add(KIND, subject=account, object=name, until=end, by=by, facts=facts)[0], doubts


def names_of(site: Site, account: str) -> frozenset[str]:
    """Return all names of an account, as `hven.adql.normal` writes them.

    Parameters
    ----------
    site
        Where it is one.
    account
        Its name.
    """
    said = site.settings.people.aliases.get(account, ())
    return frozenset(map(normal, (account, *said, *people_of(site, account)[1])))


def _refuse_circles(account: str, name: str, names: dict[str, frozenset[str]], granted: list[tuple[str, str]]) -> None:
    paths, seen = [[account, name]], set[str]()
    for path in paths:  # grows
        last = normal(path[-1])
        owners = [] if last in seen else [one for one, all_of in names.items() if last in all_of]
        seen.add(last)
        if account in owners:
            own = len(path) == 2
            raise UserError(
                f"{name} is a name of {account}'s own" if own else f"{' for '.join(path)}: a circle",
                remedy=""
                if own
                else "a delegation hands on one's own rows, never those that one was given: end the other one first",
            )
        paths += [[*path, theirs] for one, theirs in granted if one in owners]


__all__ = ["delegate", "names_of"]
