"""What one query may say and how long it may take: counted and refused with its place, before anything is planned for minutes."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from hven import query
from hven.adql import bounds
from hven.errors import HvenError, Timeout
from hven.holdings import Site
from hven.model import clock
from hven.testing.site import tiny_site

TABLE = pa.table({"n": np.arange(3000, dtype=np.int32), "word": [f"w{n}" for n in range(3000)]})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with tiny_site(tmp_path_factory.mktemp("bounds"), {"s.t": TABLE}) as opened:
        yield opened


def ask(site: Site, text: str) -> list[dict[str, object]]:
    with query.run(text, site=site) as result:
        return result.table().to_pylist()


def joins(number: int) -> str:
    return "SELECT TOP 1 t0.n FROM s.t AS t0 " + " ".join(f"JOIN s.t AS t{i} ON t{i - 1}.n = t{i}.n" for i in range(1, number))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (joins(300), "at most 64 tables"),
        (f"SELECT {'*'.join(['n'] * 60_000)} AS p FROM s.t", "at most 50,000 terms"),
        (f"SELECT {','.join(['n'] * 30_000)} FROM s.t", "at most 5,000 columns"),
        (f"SELECT '{'x' * 900_000}' AS x, n FROM s.t", "would stand in each row"),
        (f"SELECT {','.join(['word || word'] * 200)} FROM s.t", "operations that make text"),
        (" UNION ".join(["SELECT n FROM s.t"] * 2_001), "at most 2,000 SELECTs"),
        (f"SELECT {'LOG(' * 40}n{')' * 40} AS x FROM s.t", "too long in the engine's own words"),
    ],
)
def test_what_a_query_has_too_many_of_is_refused(site: Site, text: str, said: str) -> None:
    with pytest.raises(HvenError, match=said):
        ask(site, text)


def test_the_place_is_where_it_becomes_too_much(site: Site) -> None:
    text = joins(70)
    with pytest.raises(HvenError) as fault:
        ask(site, text)
    assert text[fault.value.offset :].startswith("s.t AS t64")  # type: ignore[attr-defined]


def test_a_wide_table_is_asked_whole(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["hven.adql.bind"], "COLUMNS", 1)
    assert ask(site, "SELECT TOP 1 * FROM s.t") == [{"n": 0, "word": "w0"}]
    with pytest.raises(HvenError, match="columns"):
        ask(site, "SELECT TOP 1 *, n FROM s.t")


def test_the_clock_of_a_request_counts_what_happens_before_the_engine(site: Site) -> None:
    spent = clock.Clock(5)
    spent.until -= 6
    token = clock.running.set(spent)
    try:
        with pytest.raises(Timeout, match="5 s"):  # while names are bound
            ask(site, f"SELECT {'+'.join(['n'] * 300)} AS s FROM s.t")
        with pytest.raises(Timeout, match="5 s"):  # before the engine begins
            ask(site, "SELECT TOP 1 n FROM s.t WHERE n > 17")
        assert query.run("SELECT n FROM s.t WHERE n > 18", site=site, seconds=60).table().num_rows > 0  # one that has its own
    finally:
        clock.running.reset(token)


def test_what_is_just_short_enough_is_answered(site: Site) -> None:
    assert bounds.TABLES >= 20
    assert ask(site, joins(20)) is not None
    assert len(ask(site, f"SELECT TOP 2 n FROM s.t WHERE {' OR '.join(f'n = {n}' for n in range(5000))}")) == 2
