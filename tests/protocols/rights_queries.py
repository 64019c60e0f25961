"""Random queries under policies of descriptors: hidden rows change neither answers nor errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "query"))

from query_comparison import MAX_ROWS, NONDETERMINISTIC_WORDS, RANDOM_FUNCTIONS, UPLOADS, assert_same_rows

from hven import query as query_pipeline
from hven.model.errors import EvaluationError, HvenError, QueryError, TimeLimitError, TooLargeError
from hven.model.table import Column, RowAccessPolicy, Table
from hven.model.types import INT16, STRING, TIMESTAMP
from hven.site import AccessPolicyBinder, PublishedState, Site
from hven.site.auth import Principal
from hven.testing.site import open_tiny_site
from query_tables import PUBLISHED_TABLES, TABLES
from random_queries import write_random_query

READER = Principal(name="anna", groups=frozenset({"p1"}), aliases=frozenset({"A. Berg"}))
POLICY = {
    "sky.stars": "release_date <= now or reader in (pi)",
    "sky.photometry": "hven_k = 0 or 'spica' in groups",
    "sky.labels": "project in groups or hven_k = 0",
    "sky.shapes": "NOT (hven_k > 0) AND (release_date <= now or reader in (pi) or 'spica' in groups)",
}
POLICY_COLUMNS = (
    Column(name="hven_k", type=INT16, hidden=True),
    Column(name="release_date", type=TIMESTAMP, hidden=True),
    Column(name="pi", type=STRING, hidden=True),
    Column(name="project", type=STRING, hidden=True),
)
PAST, FUTURE = datetime(2001, 1, 1), datetime(2999, 1, 1)
VISIBLE_VALUES = [(0, PAST, None, "p1"), (0, None, "Bob / ANNA", "p1"), (0, FUTURE, "a.  berg; x", None)]
HIDDEN_VALUES = [(1, None, "Carl", "p2"), (1, FUTURE, None, None), (1, FUTURE, "annab", "p12")]
HIDDEN_WORD = "xyzzy hidden"
NUMBER = re.compile(r"(?<!line )(?<!column )-?\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b")


def _draw_strange_value(chance: Random, column: pa.ChunkedArray, kind: pa.DataType) -> Any:
    """Draw a value that no visible row has, on which casts and sums may fail; shapes are those of others or NULL."""
    if pa.types.is_string(kind):
        return chance.choice([HIDDEN_WORD, HIDDEN_WORD * 9, "", "1e400", "POLYGON", None])
    if pa.types.is_integer(kind):
        bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
        most = 2 ** (bits - signed) - 1
        return chance.choice([most, most - 1, -most - 1 if signed else most, 0])
    if pa.types.is_floating(kind):
        return chance.choice([1e38, -1e38, float("nan"), float("inf"), 0.0, None])
    if pa.types.is_timestamp(kind):
        return chance.choice([datetime(1, 1, 1), datetime(9999, 12, 31), None])
    return chance.choice([*column.to_pylist(), None])


def _build_tables(*, hidden: bool) -> dict[str, tuple[Table, pa.Table]]:
    """Build the tables of random queries with columns for policies; hidden rows are among the others."""
    chance, made = Random(17), {}
    for table, rows in PUBLISHED_TABLES:
        full = table.copy_with(columns=(*table.columns, *POLICY_COLUMNS))
        lines, decided = [], []
        for number, row in enumerate([*rows.to_pylist(), None]):
            if hidden:
                for one in HIDDEN_VALUES:
                    lines.append({name: _draw_strange_value(chance, rows.column(name), rows.schema.field(name).type) for name in rows.column_names})  # fmt: skip
                    decided.append(one)
            if row is not None:
                lines.append(row)
                decided.append(VISIBLE_VALUES[number % 3])
        found = pa.Table.from_pylist(lines, schema=rows.schema)
        for place, column in enumerate(POLICY_COLUMNS):
            found = found.append_column(column.name, pa.array([one[place] for one in decided], column.type.arrow))
        made[table.qualified_name] = (full, found)
    return made


def _apply_policies(site: Site) -> PublishedState:
    """Return the published state of a site with policies."""
    holdings = site.get_published_state()
    published = {name: replace(item, table=item.table.copy_with(policy=RowAccessPolicy(rows=POLICY[name]) if name in POLICY else None)) for name, item in holdings.tables_by_name.items()}  # fmt: skip
    assert AccessPolicyBinder(site.engines.find_engine).bind_policies_and_list_problems(published) == []
    return replace(holdings, tables_by_name=published, version=f"{holdings.version} guarded", _access_keys={}, _catalogues={}, _owner_catalogues={})  # fmt: skip


@dataclass(frozen=True)
class TwinSites:
    """The same tables: without hidden rows, without them but with policies, and with hidden rows and policies."""

    plain: tuple[Site, PublishedState]
    deleted: tuple[Site, PublishedState]
    guarded: tuple[Site, PublishedState]


@contextmanager
def open_twin_sites(directory: Path, **settings: Any) -> Iterator[TwinSites]:
    """Open the sites; `settings` are functions of the name of a site."""
    with ExitStack() as stack:
        without, hiding = (
            stack.enter_context(
                open_tiny_site(directory / name, _build_tables(hidden=name == "hiding"), **{key: made(name) for key, made in settings.items()})
            )
            for name in ("without", "hiding")
        )  # fmt: skip
        yield TwinSites(
            (without, without.get_published_state()),
            (without, _apply_policies(without)),
            (hiding, _apply_policies(hiding)),
        )


def run_query(at: tuple[Site, PublishedState], text: str) -> pa.Table | HvenError:
    """Run a query as the reader; return its rows, or the error that the reader gets."""
    try:
        with query_pipeline.run_query(
            text, READER, site=at[0], published_state=at[1], uploads=UPLOADS, maxrec=MAX_ROWS, timeout_seconds=60
        ) as result:
            schema = pa.schema([(column.name, column.type.arrow) for column in result.columns])
            return pa.Table.from_batches(result.iterate_batches(), schema=schema)
    except (QueryError, TooLargeError, TimeLimitError) as error:
        return error


def compare_seed(sites: TwinSites, seed: int) -> str:
    """Check that the query of a seed ends alike on all sites.

    Returns the class of its error, ``rows``, or ``some`` if ties and random numbers decide which rows there are.
    """
    text = write_random_query(seed, TABLES)
    one, two = run_query(sites.plain, text), run_query(sites.guarded, text)
    if RANDOM_FUNCTIONS.search(text) and {type(one), type(two)} == {EvaluationError, pa.Table}:
        # on one site, a random number was outside of the domain of the function around it
        shown = two.to_pylist() if isinstance(two, pa.Table) else two
        assert HIDDEN_WORD not in str(shown), f"seed {seed}: a text of a hidden row\n{text}"
        return "some"
    if isinstance(one, HvenError) or isinstance(two, HvenError):
        kind = type(one).__name__
        if EvaluationError in (type(one), type(two)):
            # errors do not show values to users with hidden rows, and whether a constant is computed for no row
            # depends on the plan
            one = run_query(sites.deleted, text)
            kind = kind if kind == type(one).__name__ else "planned otherwise"
        assert type(one) is type(two), f"seed {seed}: {one!r} without hidden rows, {two!r} with them\n{text}"
        if isinstance(one, HvenError):
            messages = [str(one), str(two)]
            if RANDOM_FUNCTIONS.search(text):  # an error may quote a random number, which no row decides
                messages = [NUMBER.sub("N", message) for message in messages]
            assert messages[0] == messages[1], f"seed {seed}: {one} without hidden rows, {two} with them\n{text}"
            return kind
        assert isinstance(two, pa.Table)
    if not NONDETERMINISTIC_WORDS.search(text) and one.num_rows < MAX_ROWS:
        assert_same_rows(f"seed {seed}", text, one, two)
        return "rows"
    texts = [column.to_pylist() for column in two.columns if pa.types.is_string(column.type)]
    assert HIDDEN_WORD not in str(texts), f"seed {seed}: a text of a hidden row\n{text}"
    if not RANDOM_FUNCTIONS.search(text) and " TOP " not in text and "OFFSET" not in text:
        assert one.num_rows == two.num_rows, f"seed {seed}: {one.num_rows} and {two.num_rows} rows\n{text}"
    return "some"
