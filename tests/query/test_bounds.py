"""What one query may say and how long it may take: counted and refused with its place, before anything is planned for minutes."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from hven import adql, query
from hven.adql import _query_limits as bounds
from hven.model import deadlines
from hven.model.errors import HvenError, TimeLimitError, TooLargeError
from hven.query import memory_watchdog
from hven.services import find_http_status
from hven.site import Site
from hven.testing.site import open_tiny_site

TABLE = pa.table({"n": np.arange(3000, dtype=np.int32), "word": [f"w{n}" for n in range(3000)]})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("bounds"), {"s.t": TABLE}) as opened:
        yield opened


def ask(site: Site, text: str) -> list[dict[str, object]]:
    with query.run_query(text, site=site) as result:
        return result.read_table().to_pylist()


def joins(number: int) -> str:
    return "SELECT TOP 1 t0.n FROM s.t AS t0 " + " ".join(
        f"JOIN s.t AS t{i} ON t{i - 1}.n = t{i}.n" for i in range(1, number)
    )


KEYS = ",".join(f"n + {i}" for i in range(1_001))
DOUBLED = ", ".join(f"a{i} AS (SELECT x.n FROM a{i - 1} AS x JOIN a{i - 1} AS y ON x.n = y.n)" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (joins(300), "at most 64 tables"),
        (f"SELECT {'*'.join(['n'] * 30_000)} AS p FROM s.t", "at most 25,000 terms"),
        (f"SELECT {','.join(['n'] * 30_000)} FROM s.t", "at most 5,000 columns"),
        (f"SELECT '{'x' * 900_000}' AS x, n FROM s.t", "the literals in the select list have more than"),
        (f"SELECT {','.join(['word || word'] * 200)} FROM s.t", "operations that create strings"),
        (" UNION ".join(["SELECT 1 AS n"] * 1_501), "at most 1,500 SELECTs"),
        (f"SELECT {','.join(['n'] * 60_000)} FROM s.t", "at most 100,000 words"),
        (f"WITH a0 AS (SELECT n FROM s.t), {DOUBLED} SELECT n FROM a9", "at most 256 tables in one FROM"),
        (
            f"WITH a AS (SELECT s.t.n FROM s.t, s.t AS b) SELECT n FROM a {'UNION SELECT n FROM a ' * 750}",
            "at most 1,500 tables",
        ),
        (f"SELECT COUNT(*) AS c FROM s.t GROUP BY {KEYS}", "at most 1,000 expressions in one GROUP BY"),
        (f"SELECT n FROM s.t ORDER BY {KEYS}", "at most 1,000 expressions in one ORDER BY"),
        (f"SELECT SUM(n) OVER (PARTITION BY {KEYS}) AS s FROM s.t", "expressions in one PARTITION BY"),
        ("SELECT CAST(word AS CHAR(70000)) AS c FROM s.t", "70000. is too long"),
        (
            "SELECT CAST(word AS CHAR(20000)) AS c, CAST(word AS CHAR(20000)) AS d FROM s.t",
            "at most 32,768 characters in all its CHAR values",
        ),
        (f"SELECT {'LOG(' * 40}n{')' * 40} AS x FROM s.t", "too long when translated into the engine's SQL"),
    ],
)
def test_what_a_query_has_too_many_of_is_refused(site: Site, text: str, said: str) -> None:
    with pytest.raises(HvenError, match=said):
        ask(site, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"SELECT REPLACE(word, 'w', '{'x' * 30_000}') AS x FROM s.t", None),
        (
            f"SELECT REPLACE(word, '1', '{'x' * 20_000}') AS x FROM s.t WHERE n = 11",
            "a text of 40001 bytes would be built; 32768 are the most",
        ),
        (
            f"SELECT word || '{'x' * 20_000}' AS x, word || word AS y FROM s.t",
            "a text of more than 16384 bytes would be built",
        ),  # for both
        (f"SELECT REPLACE(word || word, 'w', '{'x' * 20_000}') AS x FROM s.t", "16384 are the most"),
        (f"SELECT REGEXP_REPLACE(word, 'w', '{'x' * 30_000}') AS x FROM s.t WHERE n > 9", None),
        # five matches, perhaps
        (f"SELECT REGEXP_REPLACE(word, 'w', '{'x' * 30_000}') AS x FROM s.t WHERE n > 999", "131072 are the most"),
    ],
)
def test_the_length_of_a_text_is_known_before_it_is_built(site: Site, text: str, said: str | None) -> None:
    if said is None:
        assert ask(site, text.replace("SELECT", "SELECT TOP 2", 1))
        return
    with pytest.raises(HvenError, match=said):
        ask(site, text)


def test_the_place_is_where_it_becomes_too_much(site: Site) -> None:
    text = joins(70)
    with pytest.raises(HvenError) as fault:
        ask(site, text)
    assert text[fault.value.offset :].startswith("s.t AS t64")  # type: ignore[attr-defined]


def test_a_wide_table_is_asked_whole(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["hven.adql.binder"], "MAX_SELECT_COLUMNS", 1)
    assert ask(site, "SELECT TOP 1 * FROM s.t") == [{"n": 0, "word": "w0"}]
    with pytest.raises(HvenError, match="columns"):
        ask(site, "SELECT TOP 1 *, n FROM s.t")


def test_the_clock_of_a_request_counts_what_happens_before_the_engine(site: Site) -> None:
    spent = deadlines.Deadline(5)
    spent.expiry_time -= 6
    token = deadlines.CURRENT_DEADLINE.set(spent)
    try:
        with pytest.raises(TimeLimitError, match="5 s"):  # while names are bound
            ask(site, f"SELECT {'+'.join(['n'] * 300)} AS s FROM s.t")
        with pytest.raises(TimeLimitError, match="5 s"):  # while the text is cut into words, and read
            adql.parse_query(f"SELECT {'+'.join(['n'] * 300)} AS s FROM s.t")
        with pytest.raises(TimeLimitError, match="5 s"):  # before the engine begins
            ask(site, "SELECT TOP 1 n FROM s.t WHERE n > 17")
        # one that has its own
        assert (
            query.run_query("SELECT n FROM s.t WHERE n > 18", site=site, timeout_seconds=60).read_table().num_rows > 0
        )
    finally:
        deadlines.CURRENT_DEADLINE.reset(token)


def test_what_is_just_short_enough_is_answered(site: Site) -> None:
    assert bounds.MAX_FROM_TABLES >= 20
    assert ask(site, joins(20)) is not None
    assert len(ask(site, f"SELECT TOP 2 n FROM s.t WHERE {' OR '.join(f'n = {n}' for n in range(5000))}")) == 2


def test_a_query_by_which_the_process_holds_too_much_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([0])
    monkeypatch.setattr(memory_watchdog, "measure_process_bytes", lambda: next(looks, 1 << 50))
    with pytest.raises(TooLargeError, match="all queries together used more memory") as fault:
        ask(site, "SELECT COUNT(*) AS c FROM s.t AS a, s.t AS b, s.t AS c WHERE a.n + b.n < c.n - 9000")
    assert find_http_status(fault.value) == 413
    monkeypatch.undo()
    assert ask(site, "SELECT COUNT(*) AS c FROM s.t") == [{"c": 3000}]
