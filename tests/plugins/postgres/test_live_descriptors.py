"""What `hven check` says of tables that are read in place: each fault with its place and a remedy, missing indexes with the statement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from hven import descriptor
from hven.model.errors import Fault
from hven.model.settings import Settings
from hven.plugins.postgres.live.source import (
    LiveIndexInfo,
    LiveTableInfo,
    Options,
    find_cone_search_index,
    list_missing_index_hints,
    table_info_from_json,
)
from hven.plugins.postgres.live.source import open as open_source
from hven.sources import SourceContext
from postgres_cluster import run_server

HEAD = "collection: ops\ntitle: T\ntables:\n  cubes:\n    columns: {id: {type: int64}, x: {type: float64}, w: {type: string}}\n"
SOURCE = "    source: {kind: live, url: $OPS_DB, table: cubes}\n"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_server() as where:
        url = f"postgresql://{where}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE cubes (id bigint PRIMARY KEY, x float8, w text, ra float8, dec float8, extra jsonb, shape polygon)"
            )
        yield url


@pytest.fixture
def faults(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPS_DB", database)

    def check(text: str, **files: str) -> list[Fault]:
        place = tmp_path / "collections" / "ops"
        place.mkdir(parents=True, exist_ok=True)
        (place / "ops.yaml").write_text(text)
        for name, content in files.items():
            (place / name.replace("__", ".")).write_text(content)
        return descriptor.check_descriptor(place / "ops.yaml", Settings(directory=tmp_path))

    return check


def format_faults(found: list[Fault]) -> str:
    return "\n".join(f"{fault.severity} {fault}" for fault in found)


def test_a_table_that_fits_has_no_faults_but_hints(faults) -> None:
    found = faults(HEAD + SOURCE)
    assert not [fault for fault in found if fault.severity == "error"]
    text = format_faults(found)
    assert "the column extra has the type jsonb, which Hven does not serve" in text
    assert "->> 'key'" in text
    assert "the column shape has the type polygon" in text


@pytest.mark.parametrize(
    ("setting", "place", "words"),
    [
        ("    map: {x: 'jd(parse_time(w))'}\n", "7:18", "PARSE_TIME cannot be written in the database's SQL"),
        ("    map: {x: sexagesimal(w)}\n", "7:14", "SEXAGESIMAL cannot be written in the database's SQL"),
        ("    text: {w: '{file.name}'}\n", "7:12", "file.name is a fact about files"),
        ("    where: regexp_extract(w, 'a') = 'b'\n", "7:12", "REGEXP_EXTRACT cannot be written in the database's SQL"),
        ("    map: {x: missing + 1}\n", "7:14", "the source has no column 'missing'"),
        (
            "    lookup: {w: {from: id, table: many.csv, key: k, value: v}}\n",
            "7:14",
            "more than 64 keys cannot be written in SQL",
        ),
    ],
)
def test_what_cannot_be_said_in_sql_is_refused_with_its_place(faults, setting: str, place: str, words: str) -> None:
    many = "k,v\n" + "".join(f"{number},w{number}\n" for number in range(100))
    found = [fault for fault in faults(HEAD + SOURCE + setting, many__csv=many) if fault.severity == "error"]
    assert len(found) == 1, format_faults(found)
    assert words in str(found[0])
    assert f"ops.yaml:{place}" in str(found[0])
    assert found[0].remedy


@pytest.mark.parametrize(
    ("source", "words", "severity"),
    [
        ("{kind: live, url: $OPS_DB, table: cubez}", "did you mean 'public.cubes'", "error"),
        (
            "{kind: live, url: 'postgresql://me:secret@db/x', table: cubes}",
            "put the whole address into a secret",
            "error",
        ),
        ("{kind: live, url: $NOT_SET, table: cubes}", "NOT_SET is not set", "warning"),
        ("{kind: live, url: 'postgresql://me@127.0.0.1:9/x', table: cubes}", "does not respond", "warning"),
        ("[{kind: live, url: $OPS_DB, table: cubes}, {kind: csv, files: a.csv}]", "can have only one source", "error"),
    ],
)
def test_sources_that_are_not_there(faults, source: str, words: str, severity: str) -> None:
    found = faults(f"{HEAD}    source: {source}\n", a__csv="id,x,w\n1,2,3\n")
    assert any(words in str(fault) and fault.severity == severity and "ops.yaml:6:" in str(fault) for fault in found), (
        format_faults(found)
    )
    assert "secret@" not in format_faults(found)


def test_a_look_is_remembered_whole(database: str) -> None:
    import json
    from dataclasses import asdict

    look = open_source(
        Options(url="$X", table="cubes"), SourceContext(resolve_secret=lambda _: database)
    ).inspect_table()  # type: ignore[attr-defined]
    assert look.primary == ("id",)
    assert table_info_from_json(json.loads(json.dumps(asdict(look), default=str))) == look
    assert table_info_from_json({"name": "of another version"}) is None


@pytest.mark.parametrize(
    ("method", "keys", "extensions", "expected"),
    [
        ("btree", ("q3c_ang2ipix(ra, dec)",), ("q3c",), "q3c"),
        ("btree", ("public.q3c_ang2ipix(ra, dec)",), ("q3c",), "q3c"),
        ("btree", ("q3c_ang2ipix(ra, dec)",), (), ""),
        ("btree", ("q3c_ang2ipix(dec, ra)",), ("q3c",), ""),
        ("gist", ("spoint(radians(ra), radians(dec))",), ("pgsphere",), "pgsphere"),
        (
            "gist",
            ("spoint(radians((ra)::double precision), radians((dec)::double precision))",),
            ("pgsphere",),
            "pgsphere",
        ),
        ("btree", ("dec", "ra"), ("q3c",), "latitude"),
        ("btree", ("ra", "dec"), (), ""),
    ],
)
def test_which_index_serves_cones(
    method: str, keys: tuple[str, ...], extensions: tuple[str, ...], expected: str
) -> None:
    look = LiveTableInfo(
        name='"public"."t"',
        kind="r",
        columns=(),
        indexes=(LiveIndexInfo(method=method, keys=keys),),
        extensions=extensions,
    )
    assert find_cone_search_index(look, "ra", "dec") == expected
    found = [hint.remedy for hint in list_missing_index_hints(look, ("ra", "dec"), {"id": "the key"})]
    assert any('("id")' in text for text in found)
    assert (len(found) == 2) == (expected == "")
    assert all(text.startswith("CREATE INDEX CONCURRENTLY ON") for text in found)
