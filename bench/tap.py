"""One set of journeys against any TAP service: ``python -m bench.tap URL``; as group ``tap``, against Hven beside raw references."""

from __future__ import annotations

import argparse
import http.client
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv

from bench.measure import Journey, Server, against, descendants, serve_site
from bench.needs import list_needs, need
from bench.tapclient import Client, Figure, Service, TapError
from bench.tapjourneys import (
    DUMPED,
    FORMATS,
    GUIDES,
    MANY,
    Plan,
    choose_stars,
    figures,
    median_of,
    plan_journeys,
    run_wrk,
)

# --- Hven beside raw references: group `tap` of `python -m bench` ---------------------------------------------


def build_service(server: Server) -> Service:
    """Give the service that a running ``hven serve`` is."""
    return Service(
        url=f"http://127.0.0.1:{server.port}/tap", name="Hven", health="/health/live", pids=lambda: server.pids
    )


# journey -> (reference, bound of value/reference; rates: at least). Bounds: the aims of the issue over the references' figures on two quiet cores,
# so that another machine is judged alike; where DuckDB itself does the work, 2.5 times DuckDB
TARGETS: dict[str, tuple[str, float]] = {
    "trivial": ("health", 5.0), "cone": ("engine.cone", 4.0), "key": ("engine.key", 4.0), "group": ("duckdb.group", 2.5),
    "top10.indexed": ("engine.top10", 4.0), "top10.unindexed": ("duckdb.top10", 2.5), "tables": ("health", 5.0), "capabilities": ("health", 5.0),
    "tap_schema": ("health", 11.0), "async.one": ("trivial", 50.0), "async.ten": ("trivial", 400.0), "upload.sync": ("duckdb.match", 1.0),
    "upload.async": ("duckdb.match", 1.6), "upload.many.sync": ("duckdb.match.many", 1.0), "upload.many.async": ("duckdb.match.many", 1.6), "dump.binary2": ("pyarrow.csv", 2.0), "dump.tabledata": ("pyarrow.csv", 4.0), "dump.csv": ("pyarrow.csv", 2.0),
    "dump.fits": ("pyarrow.csv", 4.0), "dump.parquet": ("pyarrow.csv", 4.0), "dump.arrow": ("pyarrow.csv", 2.0), "cones.1": ("health.1", 0.085),
    "cones.8": ("health.8", 0.085), "cones.32": ("health.32", 0.07), "cones.32.p95": ("p50", 3.0), "memory.most": ("bound", 1.0),
    # 8 clients on two cores beside the work of the dumps; a blocked cone would wait seconds
    "slow.cones.p95": ("slow.idle.p95", 3.0), "slow.group": ("slow.idle.group", 3.0), "slow.memory": ("slow.bound", 1.0),
} | {f"first.{form}": ("trivial", 40.0) for form in FORMATS}  # fmt: skip
BOUND_MIB = 500.0
SLOW_MIB = 100.0
BESIDE = {
    "trivial": "trivial",
    "cones.32.p50": "p50",
    "slow.idle.p95": "slow.idle.p95",
    "slow.idle.group": "slow.idle.group",
}  # what others are set beside


class References:
    """The same work without a service, in the same run; each is measured when first asked for."""

    def __init__(self, service: Service, plan: Plan, site: Path, stars: Path, found: dict[str, float]) -> None:
        self._service, self._plan, self._site, self._stars, self._found = service, plan, site, stars, found

    def __getitem__(self, name: str) -> float:
        if name not in self._found:
            kind = name.partition(".")[0]
            {"health": self._health, "engine": self._engine, "duckdb": self._duckdb, "pyarrow": self._pyarrow}[kind](
                name
            )
        return self._found[name]

    def _health(self, name: str) -> None:
        parts = urlsplit(self._service.url)
        base = f"{parts.scheme}://{parts.netloc}"
        if name == "health":
            client = Client(base)
            self._found[name] = median_of(lambda: client.get(self._service.health), 100, 20) * 1e3
        else:
            self._found[name] = run_wrk(base, [self._service.health], int(name.partition(".")[2]), 3)[0]

    def _engine(self, name: str) -> None:
        """Ask the engine in this process; /health on top is what HTTP costs at the least."""
        from hven import query
        from hven.model import settings
        from hven.site import Site

        service, places, keys = self._service, self._plan.places(), self._plan.keys()
        texts: dict[str, Callable[[], str]] = {
            "engine.cone": lambda: service.cone(*next(places)),
            "engine.key": lambda: f"SELECT {service.columns} FROM {service.table} WHERE {service.id} = '{next(keys)}'",
            "engine.top10": lambda: (
                f"SELECT TOP 10 {service.id}, {service.indexed} FROM {service.table} WHERE {service.indexed} IS NOT NULL "
                f"ORDER BY {service.indexed}"
            ),
        }
        with Site(settings.load_settings(self._site)) as site:

            def run_query_in_engine(text: str) -> None:
                with query.run_query(text, site=site) as result:
                    list(result.iterate_batches())

            for each, text in texts.items():
                self._found[each] = median_of(lambda: run_query_in_engine(text()), 100, 20) * 1e3 + self["health"]  # noqa: B023

    def _duckdb(self, name: str) -> None:
        """Ask DuckDB, over a table of its own; the match by cells of 1/100 degree, as one would write it."""
        service, plan, many = self._service, self._plan, name == "duckdb.match.many"
        if many:
            plan = choose_stars(service, plan, MANY)
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE stars AS SELECT * FROM read_csv('{self._stars}')")
            connection.register("places", pa.table({"nr": list(range(len(plan.ids))), "lon": plan.ra, "lat": plan.dec}))
            bound = 1 / 3600
            sphere = (
                f"2 * asin(sqrt(sin(radians(s.{service.dec} - u.lat) / 2) ** 2 + cos(radians(s.{service.dec})) * cos(radians(u.lat)) "
                f"* sin(radians(s.{service.ra} - u.lon) / 2) ** 2)) <= radians({bound})"
            )
            texts = {
                "duckdb.group": f"SELECT {service.group}, count(*) FROM stars GROUP BY {service.group}",
                "duckdb.top10": f"SELECT {service.id}, {service.unindexed} FROM stars WHERE {service.unindexed} IS NOT NULL ORDER BY {service.unindexed} LIMIT 10",
                "duckdb.match": f"WITH u AS (SELECT nr, lon, lat, unnest([floor((lat - {bound}) * 100), floor((lat + {bound}) * 100)]) AS zone FROM places) "
                f"SELECT DISTINCT u.nr, s.{service.id} FROM u JOIN stars s ON floor(s.{service.dec} * 100) = u.zone "
                f"AND s.{service.dec} BETWEEN u.lat - {bound} AND u.lat + {bound} AND {sphere}",
            }
            if many:
                texts = {name: texts["duckdb.match"]}
            times, warm = (3, 1) if many else (7, 2)
            for each, text in texts.items():
                self._found[each] = (
                    median_of(lambda text=text: connection.execute(text).fetch_arrow_table(), times, warm) * 1e3
                )  # type: ignore[misc]

    def _pyarrow(self, name: str) -> None:
        """Write the dump's rows as CSV to memory, with pyarrow, s."""
        client = Client(self._service.url)
        rows = min(DUMPED, self._plan.rows)
        body = client.sync(
            f"SELECT TOP {rows} {self._service.columns} FROM {self._service.table}", "arrow", maxrec=rows + 1
        )
        table = pa.ipc.open_stream(body).read_all()
        self._found[name] = median_of(lambda: pacsv.write_csv(table, io.BytesIO()), 5, 1)


NEEDS = {"wrk": tuple(f"tap.{name}" for name in (*TARGETS, *BESIDE) if name.startswith(("cones", "slow")))}


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys against Hven, each beside its reference."""
    from bench import data, foundation

    wanted_here = only.removeprefix("tap.")
    if only and not any(wanted_here in name for name in (*TARGETS, *BESIDE)):
        return
    foundation.ready()
    with serve_site(foundation.SITE) as server:
        service = build_service(server)
        plan = plan_journeys(service)
        found: dict[str, float] = {"bound": BOUND_MIB, "slow.bound": SLOW_MIB}
        references = References(service, plan, foundation.SITE, data.tycho_csv(), found)
        for figure in figures(service, plan, only=wanted_here):
            journey = judge_figure(figure, references, found)
            if journey is not None:
                yield journey


def judge_figure(figure: Figure, references: References, found: dict[str, float]) -> Journey | None:
    """Set a figure beside its reference; None for figures that only others are set beside."""
    if figure.name in BESIDE:
        found[BESIDE[figure.name]] = figure.value
    if figure.name not in TARGETS:
        return None
    reference, target = TARGETS[figure.name]
    if reference == "trivial" and reference not in found:
        client = Client(references._service.url)
        found["trivial"] = (
            median_of(
                lambda: client.sync(f"SELECT TOP 1 {references._service.id} FROM {references._service.table}"), 50, 10
            )
            * 1e3
        )
    failed = figure.known is None
    beside = 1.0 if failed else references[reference]
    guide = f"aim {GUIDES[figure.name][2]} {figure.unit}" if figure.name in GUIDES else ""
    note = "; ".join(part for part in (f"beside {reference}", guide, figure.note) if part)
    return against(
        f"tap.{figure.name}", figure.value, beside, target, unit=figure.unit, higher=figure.higher, note=note
    )


# --- alone ---------------------------------------------------------------------------------------------------


def line(figure: Figure) -> str:
    guide = GUIDES.get(figure.name)
    said = f"  (guide: DaCHS {guide[0]}, vollt {guide[1]}, aim {guide[2]})" if guide else ""
    return f"{figure.name:<18} {figure.value:>11.4g} {figure.unit:<4}{said}  {figure.note}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.tap", description=__doc__)
    parser.add_argument("url", metavar="URL", help="base URL of a TAP service")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--only", default="", metavar="WORD", help="journeys whose name has this word")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--post", action="store_true", help="ask by POST (32 clients: threads instead of wrk)")
    parser.add_argument(
        "--pid",
        type=int,
        action="append",
        default=[],
        help="a process of the service: it and its children are weighed (more than once)",
    )
    for name in ("table", "id", "ra", "dec", "indexed", "unindexed", "group", "columns", "frame"):
        default = Service.__dataclass_fields__[name].default
        parser.add_argument(f"--{name}", default=default, help=f"default: {default or 'none'}")
    options = parser.parse_args()
    names = {
        name: getattr(options, name)
        for name in ("table", "id", "ra", "dec", "indexed", "unindexed", "group", "columns", "frame", "post")
    }
    if not options.post:
        need("tap", list_needs(NEEDS, options.only))
    given: list[int] = options.pid
    service = Service(
        url=options.url, pids=lambda: [*given, *(child for pid in given for child in descendants(pid))], **names
    )
    try:
        plan = plan_journeys(service, quick=options.quick)
    except (TapError, OSError, http.client.HTTPException) as error:
        print(f"{options.url}: {error}", file=sys.stderr)
        return 2
    print(f"{options.url}: {plan.rows:,} rows in {service.table}")
    found = []
    for figure in figures(service, plan, only=options.only):
        print(line(figure), flush=True)
        found.append(figure)
    if options.json:
        options.json.write_text(
            json.dumps({figure.name: asdict(figure) | {"value": figure.known} for figure in found}, indent=1) + "\n"
        )
    return 1 if any(figure.known is None for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
