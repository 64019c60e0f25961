"""Search over 200 collections with 2 x 10^7 rows, as a page computes it, beside DuckDB over a table of all their values."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from bench.measure import CACHE, Journey, measure_seconds, pairs

NAME = "discovery.search"
PLACE = CACHE / "site-finding"
COLLECTIONS, ROWS = 200, 100_000  # rows of each
OBJECTS = 5_000  # names of each collection
MS = 50  # milliseconds of one search, all in
OF_DUCKDB = 2.0  # times what DuckDB takes, on all processors, to find them unweighed
WORDS = (
    "mars",
    "olivine",
    "survey 17",
    "object 31",
    "M 31",
    "instrument 7 spectra",
    "no such thing",
    "crism olivine",
    "obj",
    "calibrated",
)


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Measure searches with words that are in many collections, in one, in none."""
    if only and only not in NAME:
        return
    from hven.plugins.discovery import data_search, word_search
    from hven.plugins.discovery.value_index import ValueIndex
    from hven.portal._explore.page_queries import QueryRunner
    from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

    shutil.rmtree(PLACE, ignore_errors=True)
    with _site() as site:
        holdings = site.get_published_state()
        road = QueryRunner(
            site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=holdings
        )
        catalogue = holdings.get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES)
        tables = [one for one in catalogue.tables() if one.schema.startswith("c")]
        begun = time.process_time()
        site.get_or_create(ValueIndex).make(tables, road)
        made = time.process_time() - begun
        begun = time.process_time()
        ValueIndex().index_tables(tables, road)  # as another process does
        mapped = time.process_time() - begun
        words = itertools.cycle(WORDS)
        said = word_search.collect_table_texts(catalogue.schemas, holdings.resources)

        def search() -> None:
            text = next(words)
            found = data_search.search_data(text, tables, road, said, cache_key=0)
            word_search.find_metadata(text, catalogue.schemas, holdings.resources)
            if bool(found.values) == (text == "no such thing") and text != "M 31":
                raise RuntimeError(f"{text}: {len(found.values)} values")

        values, _ = site.get_or_create(ValueIndex).known(tables, road, 60.0)
        rows = [
            pa.table(
                {
                    "c": pa.array([number] * len(one.rows), pa.int32()),
                    "v": one.keys(np.arange(len(one.rows))),
                    "n": one.rows,
                }
            )
            for number, one in enumerate(values)
        ]
        with duckdb.connect() as connection:
            connection.register("read", pa.concat_tables(rows))
            connection.execute("CREATE TABLE held AS SELECT * FROM read")
            total = len(WORDS)

            def raw() -> None:
                for text in WORDS:
                    test = " AND ".join(["contains(v, ?)"] * len(text.split()))
                    connection.execute(
                        f"SELECT c, v, n FROM held WHERE {test} ORDER BY n DESC LIMIT 30", text.lower().split()
                    ).fetchall()

            def search_all_words() -> None:
                for _ in WORDS:
                    search()

            search_all_words(), raw()
            found, beside, ratio = pairs(
                lambda: measure_seconds(search_all_words) / total * 1e3, lambda: measure_seconds(raw) / total * 1e3, 5
            )
    shutil.rmtree(PLACE, ignore_errors=True)
    told = f"{COLLECTIONS} collections, {COLLECTIONS * ROWS:,} rows, {sum(len(one.rows) for one in values):,} values; counted in {made:.1f} s of processors, mapped by another process in {mapped:.2f}"
    yield Journey(name=NAME, value=found, unit="ms", reference=float(MS), ratio=found / MS, target=1.0, note=told)
    yield Journey(
        name=f"{NAME}.beside", value=found, unit="ms", reference=beside, ratio=ratio, target=OF_DUCKDB,
        note="beside DuckDB over a table of the same values: contains, the most rows first",
    )  # fmt: skip


def _site() -> Any:
    """Publish collections of observations, without chance."""
    from hven.model.table import Column, Table
    from hven.model.types import FLOAT64, INT32, STRING
    from hven.testing.site import open_tiny_site

    columns = (
        Column(name="id", type=INT32, ucd="meta.id"),
        Column(name="target_name", type=STRING, ucd="meta.id;src"),
        Column(name="instrument_name", type=STRING, ucd="meta.id;instr"),
        Column(name="mineral", type=STRING, ucd="meta.code"),
        Column(name="object", type=STRING, ucd="meta.id;meta.main"),
        Column(name="level", type=STRING, ucd="meta.code"),
        Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main"),
        Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main"),
    )
    number = np.arange(ROWS)

    def text(values: list[str], place: Any) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(place, pa.int32()), pa.array(values)).cast(pa.string())

    made = {}
    for at in range(COLLECTIONS):
        table = Table(schema=f"c{at}", name="main", title=f"Survey {at}", primary=("id",), position=("ra", "dec"), columns=columns)  # fmt: skip
        made[f"c{at}.main"] = (
            table,
            pa.table(
                {
                    "id": pa.array(number, pa.int32()),
                    "target_name": text(["Mars", "Phobos", "Moon", f"asteroid {at}"], number % 4),
                    "instrument_name": text(["CRISM", "OMEGA", f"instrument {at}"], number % 3),
                    "mineral": text(["olivine", "pyroxene", "ice", f"spectra {at}"], number // 7 % 4),
                    "object": text([f"survey {at} object {one}" for one in range(OBJECTS)], number % OBJECTS),
                    "level": text(["raw", "calibrated"], number % 2),
                    "ra": (number * 0.0137 + at) % 360,
                    "dec": (number * 0.0071 + at) % 160 - 80,
                }
            ),
        )
    return open_tiny_site(PLACE, made)
