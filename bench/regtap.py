"""A registry of 30,000 resources in RegTAP: the query by which VESPA's portal finds its services, and what pyvo asks, beside DuckDB over the same tables."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import yaml

from bench.measure import CACHE, Journey, measure_seconds, pairs

NAME = "regtap"
PLACE = CACHE / "site-regtap"
RESOURCES, EPN = 30_000, 300  # resources, of which so many have an EPN-TAP table
MS = 20  # milliseconds of VESPA's query
OF_DUCKDB = 3.0  # times what DuckDB takes to bind and answer it
TABLES = ("resource", "res_table", "capability", "interface", "res_subject")
VESPA = """SELECT ivoid, access_url, table_name, res_title, short_name, res_description, reference_url, creator_seq FROM rr.res_table NATURAL JOIN rr.resource NATURAL JOIN rr.capability NATURAL JOIN rr.interface
WHERE (table_utype LIKE 'ivo://ivoa.net/std/epntap#table-2.%' OR table_utype LIKE 'ivo://vopdc.obspm/std/epncore#schema-2.%') AND standard_id LIKE 'ivo://ivoa.net/std/tap%' AND intf_role = 'std' AND {n} > 0"""
SUBJECT = """SELECT ivoid, res_title, access_url FROM rr.resource NATURAL JOIN rr.capability NATURAL JOIN rr.interface NATURAL JOIN rr.res_subject
WHERE res_subject = 'subject {n}' AND standard_id = 'ivo://ivoa.net/std/conesearch' AND intf_role = 'std'"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Measure the queries as a face asks them, without HTTP."""
    if only and only not in NAME:
        return
    from hven import query

    shutil.rmtree(PLACE, ignore_errors=True)
    rows = _rows()
    with _site(rows) as site, duckdb.connect() as raw:
        raw.execute("CREATE SCHEMA rr")
        for name, table in rows.items():
            raw.register("given", table)
            raw.execute(f"CREATE TABLE rr.{name} AS SELECT * FROM given")
            raw.unregister("given")
        for name, text, expected in (("vespa", VESPA, EPN), ("subject", SUBJECT, RESOURCES // 100)):
            number = itertools.count(1)

            def ours(text: str = text, number: Iterator[int] = number, expected: int = expected) -> None:
                with query.run_query(text.format(n=next(number) % 90 + 1), site=site) as result:
                    found = sum(batch.num_rows for batch in result.iterate_batches())
                if found != expected:
                    raise RuntimeError(f"{found} rows, not {expected}")

            def run_reference_query(text: str = text, number: Iterator[int] = number) -> None:
                raw.execute(text.format(n=next(number) % 90 + 1)).fetch_arrow_table()

            ours(), run_reference_query()
            value, reference, ratio = pairs(
                lambda: measure_seconds(ours) * 1e3, lambda: measure_seconds(run_reference_query) * 1e3, 15
            )
            told = f"{RESOURCES:,} resources, {sum(len(table) for table in rows.values()):,} rows; {expected} are found"
            yield Journey(
                name=f"{NAME}.{name}",
                value=value,
                unit="ms",
                reference=float(MS),
                ratio=value / MS,
                target=1.0,
                note=told,
            )
            yield Journey(
                name=f"{NAME}.{name}.beside",
                value=value,
                unit="ms",
                reference=reference,
                ratio=ratio,
                target=OF_DUCKDB,
                note="beside DuckDB over the same tables",
            )
    shutil.rmtree(PLACE, ignore_errors=True)


def _rows() -> dict[str, pa.Table]:
    """Make up what a registry has, without chance: each resource has a table, a page and a service."""
    at = np.arange(RESOURCES)
    ivoid = [f"ivo://authority{n % 60}/resource/{n}" for n in at]
    epn = at % (RESOURCES // EPN) == 0
    standard = ["ivo://ivoa.net/std/tap#aux" if one else "ivo://ivoa.net/std/conesearch" for one in epn]
    twice = np.repeat(at, 2)
    second = np.arange(2 * RESOURCES) % 2 == 1
    found: dict[str, dict[str, Any]] = {
        "resource": {
            "ivoid": ivoid, "short_name": [f"r{n}" for n in at], "res_title": [f"Catalogue {n} of stars and planets" for n in at], "reference_url": [f"https://example.org/{n}" for n in at],
            "res_description": [f"What was seen in the year {1900 + n % 120} at observatory {n % 300}, with words enough for a description of its own" for n in at],
            "creator_seq": [f"Author {n % 900}; Author {n % 700}" for n in at],
        },
        "res_table": {"ivoid": ivoid, "table_index": [1] * RESOURCES, "table_name": [f"t{n}.epn_core" for n in at], "table_utype": ["ivo://ivoa.net/std/epntap#table-2.0" if one else None for one in epn]},
        "capability": {"ivoid": [ivoid[n] for n in twice], "cap_index": np.tile([1, 2], RESOURCES), "standard_id": [standard[n] if two else None for n, two in zip(twice, second, strict=True)]},
        "interface": {
            "ivoid": [ivoid[n] for n in twice], "cap_index": np.tile([1, 2], RESOURCES), "intf_index": np.tile([1, 2], RESOURCES), "intf_role": ["std" if two else None for two in second],
            "access_url": [f"https://host{n % 500}.example.org/{n}" for n in twice],
        },
        "res_subject": {"ivoid": ivoid, "res_subject": [f"subject {n % 100}" for n in at + 1]},
    }  # fmt: skip
    columns = _columns()
    made = {}
    for name, values in found.items():
        size = len(values["ivoid"])
        arrays = {one.name: pa.array(values[one.name], one.type.arrow) if one.name in values else pa.nulls(size, one.type.arrow) for one in columns[name]}  # fmt: skip
        made[name] = pa.table(arrays)
    return made


def _columns() -> dict[str, list[Any]]:
    """Read the columns of the standard."""
    from hven.descriptor._merging import list_standards
    from hven.model.table import Column
    from hven.model.types import parse_type

    tables = yaml.safe_load(list_standards()["regtap-1.2"].read_text(encoding="utf-8"))["tables"]
    return {
        name: [
            Column(name=column, type=parse_type(said["type"]), indexed=bool(said.get("indexed")))
            for column, said in tables[name]["columns"].items()
        ]
        for name in TABLES
    }


def _site(rows: dict[str, pa.Table]) -> Any:
    from hven.model.table import Table
    from hven.testing.site import open_tiny_site

    columns = _columns()
    keys = {"resource": ("ivoid",), "res_table": ("ivoid", "table_index"), "capability": ("ivoid", "cap_index"), "interface": ("ivoid", "intf_index")}  # fmt: skip
    return open_tiny_site(PLACE, {f"rr.{name}": (Table(schema="rr", name=name, primary=keys.get(name, ()), columns=tuple(columns[name])), table) for name, table in rows.items()})  # fmt: skip
