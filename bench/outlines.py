"""A million footprints in PostgreSQL: those that hold a point or meet a circle, through a union, too; beside psql with pgSphere's index of the same polygons."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np

from bench import peer, postgres, tapclient
from bench import regions as footprints
from bench.measure import CACHE, Journey, against, serve_site

SITE = CACHE / "site-postgres-footprints"
NAMESPACE = "bench_outlines"
NAMES = tuple(f"postgres.regions.{name}" for name in ("point", "circle", "union"))
GOALS = {NAMES[0]: 5.0, NAMES[1]: 5.0, NAMES[2]: 10.0}  # ms: a union asks two indexes
KNOWN = 0.83  # ms that psql and ``/health`` take together, where nothing else is done
DESCRIPTOR = """\
collection: fields
title: Footprints
subjects: [surveys]
tables:
  main:
    primary: id
    position: [ra, dec]
    source: {{kind: parquet, files: {file}}}
    columns:
      id: {{type: int64, ucd: meta.id;meta.main}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      s_region: {{type: polygon, unit: deg, ucd: pos.outline;obs.field}}
"""
BOTH = f"(SELECT id, s_region FROM {{0}} UNION ALL SELECT id + {footprints.ROWS}, s_region FROM {{0}}) AS v"
HOLDS = "SELECT id FROM {} WHERE 1 = CONTAINS(POINT({:.5f}, {:.5f}), s_region)"
MEETS = "SELECT id FROM {} WHERE 1 = INTERSECTS(s_region, CIRCLE({:.5f}, {:.5f}, 0.1))"
RAW_HOLDS = "SELECT id FROM {} WHERE spoint(radians({:.5f}), radians({:.5f})) <@ s_region"
RAW_MEETS = "SELECT id FROM {} WHERE s_region && scircle(spoint(radians({:.5f}), radians({:.5f})), radians(0.1))"
# of some polygons at the poles pgSphere says that they cross themselves
LOADED = """\
CREATE SCHEMA IF NOT EXISTS raw;
CREATE TABLE raw.texts (id bigint, ring text);
\\copy raw.texts FROM '{file}'
CREATE FUNCTION raw.read(t text) RETURNS spoly LANGUAGE plpgsql AS $$ BEGIN RETURN t::spoly; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;
CREATE TABLE raw.polygons AS SELECT id, raw.read(ring) AS s_region FROM raw.texts;
DROP TABLE raw.texts;
CREATE INDEX ON raw.polygons USING gist (s_region);
"""


def is_selected(only: str) -> bool:
    """Tell whether one of these journeys is meant."""
    return any(only in name for name in NAMES)


def journeys(port: int, only: str) -> Iterator[Journey]:
    """Ask for footprints: the service, psql and ``/health`` in turns; both must know the same."""
    file = footprints.draw_polygons()
    postgres.publish_collections(SITE, {"fields": (DESCRIPTOR, file, "postgres")}, NAMESPACE)
    load_polygons(port, file)
    lon, lat = footprints.positions(np.random.default_rng(7), 5_000)
    some = np.abs(lat) < 80.0
    places = itertools.cycle(zip(lon[some].tolist(), lat[some].tolist(), strict=True))
    ours, theirs = (
        ("fields.main", BOTH.format("fields.main")),
        ("raw.polygons", BOTH.format("raw.polygons")),
    )
    with serve_site(SITE) as server, contextlib.closing(postgres.Psql(port, NAMESPACE, "s_region")) as psql:
        client = tapclient.Client(f"http://127.0.0.1:{server.port}/tap")
        there = tapclient.Client(f"http://127.0.0.1:{server.port}")
        for name, (query, table), (raw, other) in (
            (NAMES[0], (HOLDS, ours[0]), (RAW_HOLDS, theirs[0])),
            (NAMES[1], (MEETS, ours[0]), (RAW_MEETS, theirs[0])),
            (NAMES[2], (HOLDS, ours[1]), (RAW_HOLDS, theirs[1])),
        ):
            if only not in name:
                continue
            rows = compare_answers(client, psql, lambda place: query.format(table, *place), lambda place: raw.format(other, *place), list(itertools.islice(places, 60)))  # noqa: B023  # fmt: skip
            took, known, health = postgres.measure_in_turns(
                [
                    lambda: client.sync(query.format(table, *next(places)), "csv"),  # noqa: B023
                    lambda: psql.copy(raw.format(other, *next(places))),  # noqa: B023
                    lambda: there.get("/health"),
                ]
            )
            note = f"of {footprints.ROWS:,} polygons (goal {GOALS[name]:g} ms); psql, pgSphere's GiST index: {known:.2f} ms, + /health {health:.2f} ms, in turns; {rows}"
            yield against(name, took, known + health, GOALS[name] / KNOWN, unit="ms", note=note)


def compare_answers(
    client: tapclient.Client,
    psql: postgres.Psql,
    query: Callable[[tuple[float, float]], str],
    raw: Callable[[tuple[float, float]], str],
    places: list[tuple[float, float]],
) -> str:
    """Compare answers, but for polygons that pgSphere does not take; say how many rows there are."""
    without = {int(line) for line in psql.copy("SELECT id FROM raw.polygons WHERE s_region IS NULL").split()}
    rows = 0
    for place in places:
        here = {int(line) for line in client.sync(query(place), "csv").split()[1:]}
        there = {int(line) for line in psql.copy(raw(place)).split()}
        if here - without != there:
            raise AssertionError(f"at {place}: {sorted(here - without ^ there)} are in one answer alone")
        rows += len(here)
    if not rows:
        raise AssertionError("no answer has a row")
    return f"{rows / len(places):.1f} rows, the same ones but for {len(without)} polygons that pgSphere refuses"


def load_polygons(port: int, file: Path) -> None:
    """Load the polygons into a table of pgSphere's, once."""
    psql = [peer.BINARIES / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", peer.OWNER, "-d", "hven", "-qX", "-v", "ON_ERROR_STOP=1"]  # fmt: skip
    if peer.did([*psql, "-Atc", "SELECT to_regclass('raw.polygons')"], 60).strip():
        return
    texts = CACHE / "outlines.tsv"
    corners = ", ".join(
        f"'(' || s_region[{2 * at + 1}] || 'd,' || s_region[{2 * at + 2}] || 'd)'" for at in range(footprints.CORNERS)
    )
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT id, '{{' || concat_ws(',', {corners}) || '}}' FROM '{file}') TO '{texts}' (HEADER false, DELIMITER '\t', QUOTE '')"
        )
    peer.did([*psql, "-c", "DROP SCHEMA IF EXISTS raw CASCADE"], 60)
    peer.did([*psql, "-1", "-f", "-"], 900, text=LOADED.format(file=texts))
    peer.did([*psql, "-c", "VACUUM (FREEZE, ANALYZE) raw.polygons"], 300)
    texts.unlink()


__all__ = ["NAMES", "is_selected", "journeys"]
