"""The tree of counts is never wrong: each number is that of the rows to which the branch leads, whatever the values are, who asks, and when."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.model import RetryBackoffLog
from hven.model._failures import FIRST_PAUSE_SECONDS
from hven.model.errors import TimeLimitError
from hven.model.settings import Settings
from hven.model.table import Column, Table
from hven.model.types import BOOLEAN, FLOAT32, INT32, INT64, STRING, TIMESTAMP
from hven.portal._explore import page_queries
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site, publish_rows
from shared import EXAMPLES_FACTOR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.site import Site

HOME = "http://vo.example"
TEXTS = (
    "SOHO", "soho", "S O H O", " SOHO", "null", "NULL", "", " ", "a,b", 'say "hi"', '"', "'", "a..b", "..", "*", "A*", "!x", "<5", ">=3", "=x", "~x", "-5", "5",
    "1..2", "a|b", "a&b=c", "100%", "_", "é", "E\u0301", "Ünïcode", "x" * 200, "a\\b", "not stated", "a;b", "1e3", "2004-01-01", "+-1", "\u200b", "tab\tin", "a#b#c", "SOHO#SDO", "SDO", "#", "#SDO#", "sdo#soho", "a'b", "Straße", "STRASSE", "İ", "a/b", "1/2",
)  # fmt: skip
LEVELS = ("mission", "instrument_host_name", "level", "flag", "size", "begun", "number")
COLUMNS = (
    Column(name="id", type=INT32),
    Column(name="mission", type=STRING),
    Column(name="instrument_host_name", type=STRING),
    Column(name="level", type=INT32, enum="levels"),
    Column(name="flag", type=BOOLEAN),
    Column(name="size", type=FLOAT32),
    Column(name="begun", type=TIMESTAMP),
    Column(name="number", type=INT64),
)
ENUMS = {"levels": {"1": "raw", "2": "calibrated", "3": "Raw"}}
VALUES: dict[str, tuple[Any, ...]] = {
    "level": (1, 2, 3, 7, None),
    "flag": (True, False, None),
    "size": (0.1, -0.0, 0.0, 1e-30, 3.4e38, float("nan"), None),
    "begun": (datetime(2004, 1, 1), datetime(2004, 1, 1, 12), datetime(2004, 1, 1, 12, 0, 0, 123_456), None),
    "number": (-5, 0, 2**53 + 1, 2**63 - 1, -(2**63), None),
}
TYPES = {
    "id": pa.int32(),
    "mission": pa.string(),
    "instrument_host_name": pa.string(),
    "level": pa.int32(),
    "flag": pa.bool_(),
    "size": pa.float32(),
    "begun": pa.timestamp("us"),
    "number": pa.int64(),
}


def make_rows(made: np.random.Generator, count: int) -> pa.Table:
    """Draw rows: few texts, so that several rows share each, of all texts that mean something to somebody."""
    texts = [*made.choice(np.array(TEXTS, object), 6, replace=False), None]
    columns: dict[str, list[Any]] = {"id": list(range(count))}
    for name in LEVELS:
        values = texts if name in {"mission", "instrument_host_name"} else VALUES[name]
        some = [values[at] for at in made.choice(len(values), min(len(values), 3), replace=False)]
        columns[name] = [some[at] for at in made.integers(0, len(some), count)]
    return pa.table({name: pa.array(values, TYPES[name]) for name, values in columns.items()})


def make_table(name: str) -> Table:
    return Table(schema=name, name="main", primary=("id",), columns=COLUMNS, enums=ENUMS)


def read_json(client: Client, path: str) -> Any:
    answer = client.ask("GET", path.partition("?")[0], path.partition("?")[2].encode(), headers={"accept": "application/json"})  # fmt: skip
    assert answer.status == 200, (path, answer.text[:300])
    return json.loads(answer.body)


def walk(branches: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for branch in branches:
        yield branch
        yield from walk(branch["branches"])


def check_tree(client: Client, expected: int | None) -> None:
    """Compare each level with the query to which it leads, and with the sum of what is below it."""
    tree = read_json(client, "/tree")
    assert tree["rows"] == sum(one["rows"] for one in tree["branches"])
    assert expected in (None, tree["rows"])
    assert not tree["least"]
    walked = 0
    for branch in walk(tree["branches"]):
        if branch["branches"]:
            assert branch["rows"] == sum(one["rows"] for one in branch["branches"]), branch["name"]
        path = branch["url"].removeprefix(HOME)
        if path.startswith("/collections/") and "/main" in path:
            where, _, query = path.partition("?")
            assert read_json(client, f"{where}/count?{query}")["total"] == branch["rows"], (branch["name"], query)
            walked += 1
    assert walked >= len(tree["branches"]) - sum("/search" in one["url"] for one in tree["branches"])


def make_files(made: np.random.Generator, count: int) -> pa.Table:
    """Draw files of observations, one to three of each: most have all values of their observation in common."""
    rows = make_rows(made, count)
    observations = np.sort(made.integers(0, count, int(made.integers(count, 3 * count))))
    rows = rows.take(pa.array(observations))
    files = pa.array([f"https://files.example/{at}" for at in range(len(rows))])
    rows = rows.set_column(0, "id", pa.array(range(len(rows)), pa.int32()))
    return rows.append_column("obs_id", pa.array([f"o{at}" for at in observations])).append_column("access_url", files)


FILES = replace(
    make_table("c"),
    columns=(
        *COLUMNS,
        Column(name="obs_id", type=STRING),
        Column(name="access_url", type=STRING, ucd="meta.ref.url;meta.file"),
    ),
)


@pytest.mark.parametrize("seed", range(6 * EXAMPLES_FACTOR))
def test_each_level_has_the_rows_to_which_it_leads(tmp_path: Path, seed: int) -> None:
    made = np.random.default_rng(seed)
    with make_site(tmp_path, made) as (site, tables):
        client = Client(create_and_start_application(site))
        half = Client(create_and_start_application(site, policies=build_odd_rows_hidden_policies("id")))
        for _ in range(3):
            check_tree(client, count_lines(tables))
            check_tree(half, None)
            tables["b.main"] = (make_table("b"), make_rows(made, int(made.integers(1, 60))))  # a sync
            publish_rows(site, *tables["b.main"])
            site.refresh_published_state()


@pytest.mark.parametrize("seed", range(4 * EXAMPLES_FACTOR))
def test_a_number_that_is_shown_while_counts_fail_is_right(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A level of which something is not counted says that there is more; after a pause all of it is there."""
    made = np.random.default_rng(seed)
    now = [1000.0]
    with make_site(tmp_path, made) as (site, tables):
        site.get_or_create(RetryBackoffLog, lambda: now[0])
        real = page_queries.QueryRunner.run_query
        failing = made.choice(np.array(["a", "b", "c"]))

        def fail(self: Any, query: Any, *args: Any, **more: Any) -> Any:
            if f"ident(name='{failing}'" in repr(query).lower():
                raise TimeLimitError("too late")
            return real(self, query, *args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(page_queries.QueryRunner, "run_query", fail)
            client = Client(create_and_start_application(site))  # which begins to count
            tree = read_json(client, "/tree")
        assert tree["least"] == (failing == "c"), "of tables of rows the whole is known"
        for branch in walk(tree["branches"]):
            path = branch["url"].removeprefix(HOME)
            if "/main" in path and branch["rows"] is not None:
                where, _, query = path.partition("?")
                total = read_json(client, f"{where}/count?{query}")["total"]
                assert total > branch["rows"] if branch["least"] else total == branch["rows"]
        now[0] += FIRST_PAUSE_SECONDS
        check_tree(client, count_lines(tables))


@contextmanager
def make_site(tmp_path: Path, made: np.random.Generator) -> Iterator[tuple[Site, dict[str, tuple[Table, pa.Table]]]]:
    """Make a site of two tables of rows and one of files, with a tree of one to three levels."""
    levels = [str(one) for one in made.permutation(np.array(LEVELS))[: made.integers(1, 4)]]
    for name in ("a", "b", "c"):
        descriptor = tmp_path / f"collections/{name}/{name}.yaml"
        descriptor.parent.mkdir(parents=True)
        descriptor.write_text(
            f"collection: {name}\ntitle: {name}\ntables:\n  main: {{source: {{kind: csv, files: x.csv}}}}\n"
        )
    tables = {f"{name}.main": (make_table(name), make_rows(made, int(made.integers(1, 60)))) for name in ("a", "b")}
    tables["c.main"] = (FILES, make_files(made, int(made.integers(1, 30))))
    tree = replace(Settings(directory=tmp_path).tree, levels=tuple(levels))
    with open_tiny_site(tmp_path, tables, public_url=HOME, tree=tree) as site:
        yield site, tables


def count_lines(tables: dict[str, tuple[Table, pa.Table]]) -> int:
    """Count rows, and of files the observations."""
    return sum(
        len(set(rows["obs_id"].to_pylist())) if "obs_id" in rows.column_names else len(rows)
        for _, rows in tables.values()
    )
