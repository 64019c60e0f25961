"""Snapshots that share one table: each row has the number of the state in which it came and of the one in which it went.

The table ``b_..`` is made by the first merge of a table. Each snapshot of it is a view ``s_..`` of the rows that came by its number and had
not gone; what a later merge adds or ends, no earlier view can see. Two small indexes have only the rows that came later or went: by these
the changes between two states are found, and what no view shows any more is removed. All who change a table hold one advisory lock;
readers wait for nobody.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from hven.engines.postgres.install import literal, quote
from hven.engines.postgres.places import CELL
from hven.engines.postgres.relations import Kept, Share, remembered

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.table import Table

BORN, DIED = "hven:born", "hven:died"
ALIVE = 2_147_483_647  # the state in which rows go that have not gone
FIRST = 1


def named(snapshot: str) -> str:
    """Name the shared table that a snapshot's merge makes: as the snapshot, with another letter."""
    return f"b{snapshot[1:]}"


def columns() -> str:
    """Write the two columns that a shared table has more."""
    return f"{quote(BORN)} int NOT NULL DEFAULT {FIRST}, {quote(DIED)} int NOT NULL DEFAULT {ALIVE}"


def indexes(texts: Sequence[str]) -> list[str]:
    """Write what follows ``CREATE INDEX ON table``; `texts` is what it would be for a table of its own.

    Indexes of columns have the two numbers, too, so that rows can be counted without a look at the table. Two more are of the rows that came
    later, and of those that went.
    """
    both = f"{quote(BORN)}, {quote(DIED)}"
    found = [f"{text[:-1]}, {both})" if text.startswith('("') and quote(CELL) not in text else text for text in texts]
    return [*found, f"({quote(BORN)}) WHERE {quote(BORN)} > {FIRST}", f"({quote(DIED)}) WHERE {quote(DIED)} < {ALIVE}"]


def digest(table: Table, texts: Sequence[str]) -> str:
    """Digest how a table is to be keyed and indexed: a shared one that is so otherwise is not merged into."""
    return hashlib.sha256(repr((table.primary, table.position, sorted(texts))).encode()).hexdigest()[:16]


def view(schema: str, snapshot: str, share: Share, names: Sequence[str]) -> str:
    """Write the statement that makes a snapshot of a shared table. The two numbers are seen, too: `apart` asks for them."""
    listed = ", ".join(map(quote, (*names, BORN, DIED)))
    return (
        f"CREATE VIEW {quote(schema)}.{quote(snapshot)} AS SELECT {listed} FROM {quote(schema)}.{quote(share.base)} "
        f"WHERE {shown(share)}"
    )


def shown(share: Share) -> str:
    """Write which rows of a shared table a snapshot has."""
    return f"{quote(BORN)} <= {share.number} AND {quote(DIED)} > {share.number}"


def apart(one: Kept, other: Kept) -> str | None:
    """Write which rows of one snapshot's view the other one has not; None if they share nothing."""
    if one.share is None or other.share is None or one.share.base != other.share.base:
        return None
    if one.share.number < other.share.number:
        return f"{quote(DIED)} <= {other.share.number}"
    return f"{quote(BORN)} > {other.share.number}"


def lock(schema: str, base: str) -> str:
    """Write the statement that waits until nobody else changes a shared table, until the end of the transaction."""
    return f"SELECT 1 FROM pg_advisory_xact_lock(hashtextextended({literal(f'hven base {schema}.{base}')}, 0))"


def shares(schema: str) -> str:
    """Write the query for the views and their comments; see `read_shares`."""
    return (
        "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname = {literal(schema)} AND c.relkind = 'v' AND c.relname LIKE 's\\_%'"
    )


def read_shares(rows: Collection[Sequence[Any]]) -> dict[str, Share]:
    """Return view -> what it is of a shared table; views of others are left out."""
    found = {}
    for name, comment in rows:
        try:
            share = remembered(str(comment)).share
        except (json.JSONDecodeError, AttributeError, KeyError):
            continue  # nobody of ours made it
        if share is not None:
            found[str(name)] = share
    return found


def drop(connection: Any, schema: str, name: str) -> None:
    """Remove a snapshot, in a transaction of the caller's, with what only it had.

    A table goes. A view goes with the rows that no other view shows, and the last one with its table. What a merge has begun under this
    name goes as well.
    """
    kinds = dict(
        connection.execute(
            "SELECT c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND c.relname = ANY($2::text[])",
            [schema, [name, f"o{name[1:]}", named(name)]],
        ).fetchall()
    )
    if kinds.get(name) == "v":
        known = read_shares(connection.execute(shares(schema)).fetchall())
        share = known.pop(name, None)
        if share is not None:
            connection.execute(lock(schema, share.base))
            connection.execute(f"DROP VIEW IF EXISTS {quote(schema)}.{quote(name)}")
            known = read_shares(connection.execute(shares(schema)).fetchall())
            left = sorted(other.number for other in known.values() if other.base == share.base)
            for text in forget(schema, share, left):
                connection.execute(text)
            kinds.pop(share.base, None)
    elif name in kinds:
        connection.execute(f"DROP TABLE IF EXISTS {quote(schema)}.{quote(name)}")
    begun = [other for other in kinds if other != name]
    if begun:
        used = {share.base for share in read_shares(connection.execute(shares(schema)).fetchall()).values()}
        for other in begun:
            if other not in used:
                connection.execute(f"DROP TABLE IF EXISTS {quote(schema)}.{quote(other)}")


def forget(schema: str, share: Share, left: Sequence[int]) -> list[str]:
    """Write the statements that remove the rows which only one state showed; `left` are the numbers of the others, ascending.

    If it was the last state, its changes are taken back, so that the one before is again a state that can be merged into.
    """
    here, born, died = f"{quote(schema)}.{quote(share.base)}", quote(BORN), quote(DIED)
    if not left:
        return [f"DROP TABLE IF EXISTS {here}"]
    before = max((number for number in left if number < share.number), default=0)
    after = min((number for number in left if number > share.number), default=None)
    if after is None:
        return [
            f"DELETE FROM {here} WHERE {born} > {before} AND {born} > {FIRST}",
            f"UPDATE {here} SET {died} = {ALIVE} WHERE {died} > {before} AND {died} < {ALIVE}",
        ]
    return [
        f"DELETE FROM {here} WHERE {died} > {share.number} AND {died} <= {after} AND {died} < {ALIVE} AND {born} > {before}"
    ]
