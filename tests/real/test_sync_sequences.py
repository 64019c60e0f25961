"""Real sources as they changed: each sequence is followed, and ends equal to its last state, with the counts that one finds by hand."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from shared import shared

pytestmark = pytest.mark.slow

PLANETS = """
collection: planets
title: Open Exoplanet Catalogue
description: As it was on three days
subjects: [exoplanets]
tables:
  main:
    primary: [name]
    max_rejects: 0.1
    source: {kind: csv, files: planets.csv, header: false, names: [%s], types: {%s}}
    sync: %s
    follow: true
    columns:
      name: {type: string, required: true}
    rules:
      once: {check: unique, columns: name}
"""
NAMES = [
    "name", "binary_flag", "mass", "radius", "period", "axis", "eccentricity", "periastron", "longitude", "node", "inclination", "temperature", "age", "method",
    "found_in", "lastupdate", "ra_text", "dec_text", "parsecs", "star_mass", "star_radius", "metallicity", "star_temperature", "star_age",
]  # fmt: skip


def write_site(directory: Path, name: str, text: str) -> Path:
    place = directory / "collections" / name
    place.mkdir(parents=True)
    (place / f"{name}.yaml").write_text(text)
    (directory / "hven.toml").write_text('name = "x"\nauthority = "x.org"\n')
    return place


def put(
    place: Path, name: str, packed: Path, change: Callable[[list[str]], list[str]] = lambda lines: lines
) -> list[list[str]]:
    """Unpack a state beside the descriptor; gives its records."""
    lines = change(gzip.decompress(packed.read_bytes()).decode().splitlines())
    path = place / name
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text("\n".join(lines) + "\n")
    os.utime(path, ns=(before + 10**9, before + 10**9))  # later, however quick this test is
    return list(csv.reader(line for line in lines if not line.startswith("#")))


def rows(site: Site, text: str) -> list[dict[str, object]]:
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


def first(records: list[list[str]]) -> dict[str, list[str]]:
    """Give the records by name; of those that have one name, the first. One planet of 2020 has no name: it cannot be published."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record[0]:
            found.setdefault(record[0], [*(value.strip() for value in record[:24])])
    return found


@pytest.mark.parametrize(
    "how", ["{deletions: compare}", "{watermark: lastupdate, overlap: 0, deletions: compare, full: 1 d}"]
)
def test_exoplanets_of_three_years(tmp_path: Path, how: str) -> None:
    types = ", ".join(f"{name}: string" for name in NAMES)
    place = write_site(tmp_path, "planets", PLANETS % (", ".join(NAMES), types, how))
    days = ["2015-12-11", "2017-12-01", "2020-08-06"]
    files = [shared(f"data/sync/exoplanets/open_exoplanet_catalogue_{day}.csv.gz") for day in days]

    # the list of lists came in 2017; a source with another number of columns is another test's
    def narrow(lines: list[str]) -> list[str]:
        return [line if line.startswith("#") else ",".join(_cut(line)) for line in lines if line.strip()]

    counts = []
    with Site(load_settings(tmp_path, {})) as site:
        before = first(put(place, "planets.csv", files[0], narrow))
        ingest_collection(site, "planets")
        assert len(before) == 2105
        for file in files[1:]:
            after = first(put(place, "planets.csv", file, narrow))
            report = sync_collection(site, "planets", read_everything="watermark" in how, accept_changes=True)
            change = report.changes["planets.main"]
            added, removed = after.keys() - before.keys(), before.keys() - after.keys()
            changed = {name for name in after.keys() & before.keys() if after[name] != before[name]}
            stale = {name for name in changed if after[name][15] == before[name][15]}
            assert (change.added, change.removed, change.changed) == (len(added), len(removed), len(changed))
            assert report.tables["planets.main"].rejected == {"2017-12-01": 3, "2020-08-06": 1}[file.name[-17:-7]]
            counts.append((len(added), len(removed), len(changed), len(stale)))
            listed = ", ".join(NAMES)
            served = {
                str(row["name"]): [("" if value is None else str(value)) for value in row.values()]
                for row in rows(site, f"SELECT {listed} FROM planets.main")
            }
            assert served == after
            assert not sync_collection(site, "planets").published
            before = after
    # as the description of the data counts them: 28 and 123 changes under an unchanged date (122 if of three repeated names the first counts)
    assert counts[0][1:] == (18, 109, 28)
    assert counts[1] == (512 - 1, 64, 317, 122), "one of the new ones has no name"


def _cut(line: str) -> list[str]:
    import io

    (record,) = csv.reader([line])
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(record[:24])
    return [out.getvalue()]


def test_tiles_without_any_time(tmp_path: Path) -> None:
    text = """
collection: tiles
title: Tiles of DESI
description: Their state on three days
subjects: [surveys]
tables:
  main:
    primary: [TILEID]
    position: [RA, DEC]
    source: {kind: csv, files: tiles.ecsv}
    sync: {deletions: compare, guard: {changed: 100 %}}
"""
    place = write_site(tmp_path, "tiles", text)
    files = sorted(shared("data/sync/desi-tiles").glob("*.ecsv.gz"))
    wanted = [None, (15, 0, 17_041), (2, 0, 2)]
    with Site(load_settings(tmp_path, {})) as site:
        for number, file in enumerate(files):
            records = put(place, "tiles.ecsv", file)
            if number == 0:
                ingest_collection(site, "tiles")
                continue
            change = sync_collection(site, "tiles").changes["tiles.main"]
            assert (change.added, change.removed, change.changed) == wanted[number]
            if number == 2:
                assert change.mapped <= 20, "what did not change is not mapped again"
        body = [record[0].split(" ") for record in records[1:]]
        served = rows(site, "SELECT TILEID, STATUS, RA FROM tiles.main ORDER BY TILEID")
        assert [(row["TILEID"], row["STATUS"]) for row in served] == sorted((int(one[0]), one[7]) for one in body)
        assert len(served) == 20_315


def test_lists_of_bursts_month_by_month(tmp_path: Path) -> None:
    text = """
collection: bursts
title: Bursts seen by e-Callisto
description: Lists of a month each
subjects: [solar radio bursts]
tables:
  main:
    primary: [entry]
    max_rejects: 1
    source: {kind: csv, files: "*.txt", delimiter: tab, header: false, names: [on_day, span, kind, stations], comment: "#", types: {on_day: string, span: string, kind: string, stations: string}}
    sync: {deletions: compare}
    where: kind IS NOT NULL
    columns:
      entry: {type: string, required: true}
    rules:
      once: {check: unique, columns: entry}
    map: {entry: "on_day || ' ' || span || ' ' || kind || ' ' || COALESCE(stations, '')"}
"""
    place = write_site(tmp_path, "bursts", text)
    files = sorted(shared("data/radio/burst-lists").glob("*.txt"))
    lines = 0

    def copy(path: Path) -> int:
        kept = [line for line in path.read_text(errors="replace").splitlines() if line[:4].isdigit()]
        (place / path.name).write_text(
            "\n".join(line if line.count("\t") == 3 else "\t".join((line.split("\t") + [""] * 4)[:4]) for line in kept)
            + "\n"
        )
        records = ([*line.split("\t"), "", "", ""][:4] for line in kept)
        return len({tuple(value.strip() for value in record) for record in records if record[2].strip()})

    with Site(load_settings(tmp_path, {})) as site:
        for path in files[:3]:
            lines += copy(path)
        ingest_collection(site, "bursts")
        hows = set()
        for month in range(3, 9):
            more = copy(files[month])
            lines += more
            change = sync_collection(site, "bursts").changes["bursts.main"]
            assert (change.added, change.removed, change.changed) == (more, 0, 0)
            hows.add(change.how if change.why is None else "everything")
        assert any("1 of" in how for how in hows), (
            "files that are as they were are not read, unless a row has what another has"
        )
        (place / files[0].name).unlink()  # a list that is withdrawn
        gone = sync_collection(site, "bursts", accept_changes=True).changes["bursts.main"]
        assert gone.added == gone.changed == 0
        assert gone.removed > 0
        (count,) = rows(site, "SELECT COUNT(*) AS n FROM bursts.main")
        assert count["n"] == lines - gone.removed


def test_a_release_with_other_columns(tmp_path: Path) -> None:
    text = """
collection: jmdc
title: Measured diameters
description: Two releases
subjects: [stellar diameters]
tables:
  main:
    primary: [n]
    source: {kind: fits, files: jmdc.fits, hdu: 1}
    sync: {deletions: compare, guard: {removed: 100 %, changed: 100 %}}
    columns:
      n: {type: int64}
    follow: true
    map: {n: source.row}
"""
    place = write_site(tmp_path, "jmdc", text)
    old, new = (shared(f"data/interferometry/jmdc/JMDC_{day}.fits.gz") for day in ("2016-08-31", "2017-03-28"))
    with Site(load_settings(tmp_path, {})) as site:
        (place / "jmdc.fits").write_bytes(gzip.decompress(old.read_bytes()))
        ingest_collection(site, "jmdc")
        before = site.get_published_state().tables_by_name["jmdc.main"].table
        (place / "jmdc.fits").write_bytes(gzip.decompress(new.read_bytes()))
        report = sync_collection(site, "jmdc", accept_changes=True)
        site.refresh_published_state()
        after = site.get_published_state().tables_by_name["jmdc.main"]
        assert (report.changes["jmdc.main"].rows, after.rows) == (1239, 1239)
        assert len(before.columns) < len(after.table.columns)
        assert report.changes["jmdc.main"].why, "a run that had to read everything says why"
