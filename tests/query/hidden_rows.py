"""Compare random queries on two sites, of which one has additional rows that a row policy hides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from query_comparison import MAX_ROWS, NONDETERMINISTIC_WORDS, assert_same_rows, run_query

from hven.model.errors import HvenError
from hven.site import Site
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site
from query_tables import PUBLISHED_TABLES, TABLES
from random_queries import write_random_query

POLICIES = build_odd_rows_hidden_policies("id")  # every table has that column


def _select_visible_rows(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(pc.bit_wise_and(rows.column("id"), pa.scalar(1, rows.column("id").type)), 0))


def _add_hidden_rows(rows: pa.Table) -> pa.Table:
    """Add rows between and after the existing ones, with keys that the policy hides."""
    odd = pc.add(pc.multiply(pa.array(range(rows.num_rows)), 2), 101).cast(rows.column("id").type)
    return pa.concat_tables([rows, rows.set_column(rows.column_names.index("id"), "id", odd)])


@contextmanager
def open_twin_sites(directory: Path, **settings: Any) -> Iterator[tuple[Site, Site]]:
    """Open the site without hidden rows and the one with them; `settings` are functions of the name of the site."""
    with ExitStack() as stack:
        sites = []
        for name, chosen in (("without", _select_visible_rows), ("with", _add_hidden_rows)):
            tables = {table.qualified_name: (table, chosen(rows)) for table, rows in PUBLISHED_TABLES}
            more = {key: made(name) for key, made in settings.items()}
            sites.append(stack.enter_context(open_tiny_site(directory / name, tables, **more)))
        yield sites[0], sites[1]


def compare_seed(sites: tuple[Site, Site], seed: int) -> str:
    """Check that the query of a seed ends alike on both sites; return the class of its error, or ``rows``."""
    text = write_random_query(seed, TABLES)
    one, two = (run_query(site, text, POLICIES) for site in sites)
    if isinstance(one, HvenError) or isinstance(two, HvenError):
        assert type(one) is type(two), f"seed {seed}: {one!r} without hidden rows, {two!r} with them\n{text}"
        assert str(one) == str(two), f"seed {seed}: {one} without hidden rows, {two} with them\n{text}"
        return type(one).__name__
    if not NONDETERMINISTIC_WORDS.search(text) and one.num_rows < MAX_ROWS:
        assert_same_rows(f"seed {seed}", text, one, two)
    return "rows"
