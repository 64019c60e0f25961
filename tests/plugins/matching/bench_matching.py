"""Match 2.5 million stars with 2.5 million others at another epoch, and match again after changes; beside STILTS tmatch2.

Further journeys match 500,000 uploaded rows with 2.5 million stars by TAP, identify the targets of headers among 2.5 million
objects, and, with ``--big``, match 2.5 million stars with 20 million.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

COUNT, CHANGES = 2_500_000, 1_000
LARGE_COUNT, UPLOAD_COUNT = 20_000_000, 500_000
YEARS = 24.75
SECONDS, MEBIBYTES, LARGE_SECONDS, UPLOAD_SECONDS = 15.0, 2048, 300.0, 2.0
NAMES = ("matching.mutual", "matching.memory", "matching.update")
LARGE_NAMES = ("matching.large", "matching.large.memory")
UPLOAD_NAME = "matching.upload"
# identifications: targets, and how many seconds they may take
IDENTIFICATIONS = {"matching.identify": (35_277, 5.0), "matching.identify.headers": (1_000_000, 30.0)}
SITE_SETTINGS = """\
name = "stars"
[limits]
upload = "1 GiB"
maxrec_default = 1000000
maxrec_hard = 1000000
"""
DESCRIPTOR = """\
collection: sky
title: Generated stars
tables:
  stars:
    source: {kind: parquet, files: stars.parquet}
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
"""
UPLOAD_QUERY = "SELECT u.source, s.id FROM TAP_UPLOAD.u AS u JOIN sky.stars AS s ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < 1.5 / 3600"


def run(only: str = "", *, big: bool = False) -> Iterator[object]:
    """Match tables in memory, upload a table, and match a large table."""
    from bench.measure import CACHE

    directory = CACHE / "matching"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    if any(only in name for name in NAMES):
        yield from run_matches(directory)
    if only in UPLOAD_NAME:
        yield run_upload(directory)
    if any(only in name for name in IDENTIFICATIONS):
        yield from run_identifications(directory)
    if big and any(only in name for name in LARGE_NAMES):
        large_directory = directory / "large"
        large_directory.mkdir()
        yield from run_large_match(large_directory)


def run_matches(directory: Path) -> Iterator[object]:
    """Match, and match again after 1,000 stars have changed; the sources read tables in memory."""
    from bench.measure import Journey

    first, second = generate_catalogues(COUNT)
    write_table(directory / "first.arrow", first)
    write_table(directory / "second.arrow", second)
    known_seconds, known_pairs = run_tmatch2(directory, first, second)
    facts = run_measured_match(directory, "update")
    if abs(facts["pairs"] - known_pairs) > 2:  # of pairs at the radius, to the last bit
        raise AssertionError(f"{facts['pairs']:,} pairs, but STILTS finds {known_pairs:,}")
    for name, value, unit, goal in (
        (NAMES[0], facts["seconds"], "s", SECONDS),
        (NAMES[1], facts["mebibytes"], "MiB", MEBIBYTES),
        (NAMES[2], facts["update_seconds"], "s", SECONDS / 2),
    ):
        note = f"{COUNT:,} x {COUNT:,}, {facts['pairs']:,} pairs; STILTS tmatch2 without epochs: {known_seconds:.1f} s"
        yield Journey(name=name, value=value, unit=unit, reference=goal, ratio=value / goal, target=1.0, note=note)


def run_large_match(directory: Path) -> Iterator[object]:
    """Match 2.5 million stars with 20 million others."""
    from bench.measure import Journey

    first, second = generate_catalogues(LARGE_COUNT)
    write_table(directory / "first.arrow", first)
    write_table(directory / "second.arrow", second)
    del first, second
    facts = run_measured_match(directory)
    note = f"{COUNT:,} x {LARGE_COUNT:,}, {facts['pairs']:,} pairs"
    for name, value, unit, goal in (
        (LARGE_NAMES[0], facts["seconds"], "s", LARGE_SECONDS),
        (LARGE_NAMES[1], facts["mebibytes"], "MiB", MEBIBYTES),
    ):
        yield Journey(name=name, value=value, unit=unit, reference=goal, ratio=value / goal, target=1.0, note=note)


def run_identifications(directory: Path) -> Iterator[object]:
    """Identify targets among 2.5 million objects with three names each."""
    from bench.measure import Journey

    random = np.random.default_rng(46)
    ra, dec = random.uniform(0, 360, COUNT), np.degrees(np.arcsin(random.uniform(-1, 1, COUNT)))
    numbers = np.arange(COUNT).astype(str)
    objects = {
        "oid": np.arange(COUNT),
        "main_id": np.char.add("HD ", numbers),
        "ids": np.char.add(np.char.add("TYC ", numbers), np.char.add("|2MASS J", numbers)),
        "ra": ra,
        "dec": dec,
        "pmra": random.normal(0, 30, COUNT),
        "pmdec": random.normal(0, 30, COUNT),
    }
    write_table(directory / "objects.arrow", pa.table(objects))
    for name, (count, goal) in IDENTIFICATIONS.items():
        chosen = random.integers(0, COUNT, count)
        prefixes = np.array(["hd", "TYC  ", "2MASS J", "field "])[random.integers(0, 4, count)]
        targets = {
            "number": np.arange(count),
            "target_name": np.char.add(prefixes, numbers[chosen]),
            "target_ra": (ra[chosen] + random.normal(0, 1, count) / 3600) % 360,
            "target_dec": np.clip(dec[chosen] + random.normal(0, 1, count) / 3600, -90, 90),
            "epoch": random.uniform(2005, 2026, count),
        }
        write_table(directory / "targets.arrow", pa.table(targets))
        facts = run_measured_match(directory, "identify")
        note = f"{count:,} targets among {COUNT:,} objects, {facts['identified']:,} identified; {facts['mebibytes']:,.0f} MiB"
        yield Journey(
            name=name,
            value=facts["seconds"],
            unit="s",
            reference=goal,
            ratio=facts["seconds"] / goal,
            target=1.0,
            note=note,
        )


def run_measured_match(directory: Path, *words: str) -> dict[str, float]:
    """Match the tables of a directory in a process of its own; return seconds and the largest memory."""
    facts: dict[str, float] = json.loads(
        subprocess.run([sys.executable, __file__, str(directory), *words], check=True, capture_output=True).stdout
    )
    return facts


def run_upload(directory: Path) -> object:
    """Upload 500,000 rows to a server, and match them with 2.5 million stars."""
    from bench.measure import HVEN, Journey, median, serve_site
    from pyarrow import parquet

    _, second = generate_catalogues(COUNT)
    site = directory / "site"
    folder = site / "collections/sky"
    folder.mkdir(parents=True)
    (site / "hven.toml").write_text(SITE_SETTINGS)
    (folder / "sky.yaml").write_text(DESCRIPTOR)
    # positions of the same epoch: an upload has no proper motions
    parquet.write_table(second.rename_columns(["id", "ra", "dec"]), folder / "stars.parquet")
    subprocess.run([HVEN, "ingest", "sky", "--site", site], check=True, capture_output=True)
    upload = io.BytesIO()
    parquet.write_table(second.slice(0, UPLOAD_COUNT), upload)
    with serve_site(site) as server:
        counts: list[int] = []
        seconds = median(lambda: counts.append(send_upload(server, upload.getvalue())), 5, 1)
    if min(counts) < UPLOAD_COUNT:
        raise AssertionError(f"{min(counts):,} pairs of {UPLOAD_COUNT:,} uploaded rows")
    note = f"{UPLOAD_COUNT:,} rows as Parquet against {COUNT:,}, {counts[0]:,} pairs as Parquet"
    return Journey(
        name=UPLOAD_NAME,
        value=seconds,
        unit="s",
        reference=UPLOAD_SECONDS,
        ratio=seconds / UPLOAD_SECONDS,
        target=1.0,
        note=note,
    )


def generate_catalogues(later_count: int) -> tuple[pa.Table, pa.Table]:
    """Generate stars, and these and further stars 24.75 years later with errors of 0.3 arcsec, in another order."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from plugins.matching.generated_stars import move_stars

    random = np.random.default_rng(45)
    ra, dec = random.uniform(0, 360, COUNT), np.degrees(np.arcsin(random.uniform(-1, 1, COUNT)))
    pmra, pmdec = random.normal(0, 30, (2, COUNT))
    later_ra, later_dec = move_stars(ra, dec, pmra, pmdec, YEARS)
    later_dec = np.clip(later_dec + random.normal(0, 0.3, COUNT) / 3600, -90, 90)
    later_ra = (later_ra + random.normal(0, 0.3, COUNT) / 3600 / np.cos(np.radians(later_dec))) % 360
    further_count = later_count - COUNT
    later_ra = np.concatenate([later_ra, random.uniform(0, 360, further_count)])
    later_dec = np.concatenate([later_dec, np.degrees(np.arcsin(random.uniform(-1, 1, further_count)))])
    order = random.permutation(later_count)
    first = {"id": np.arange(COUNT), "ra": ra, "dec": dec, "pmra": pmra, "pmdec": pmdec}
    return pa.table(first), pa.table({"source": order, "ra": later_ra[order], "dec": later_dec[order]})


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as an Arrow file."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=131_072)


def run_tmatch2(directory: Path, first: pa.Table, second: pa.Table) -> tuple[float, int]:
    """Match with STILTS; return its seconds, and the number of pairs that are the best of both sides."""
    from astropy.table import Table

    from plugins.matching.generated_stars import move_stars

    columns = (first[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec"))
    ra, dec = move_stars(*columns, YEARS)
    Table({"id": first["id"].to_numpy(), "ra": ra, "dec": dec}).write(directory / "first.fits")
    Table({name: second[name].to_numpy() for name in second.column_names}).write(directory / "second.fits")
    pairs = []
    begin = time.perf_counter()
    for find in ("best1", "best2"):
        out = directory / f"{find}.fits"
        subprocess.run(
            ["stilts", "tmatch2", f"in1={directory / 'first.fits'}", f"in2={directory / 'second.fits'}", "matcher=sky",
             "values1=ra dec", "values2=ra dec", "params=1.5", f"find={find}", "join=1and2", f"out={out}", "progress=none"],
            check=True,
        )  # fmt: skip
        rows = Table.read(out)
        pairs.append(np.asarray(rows["id"]).astype(np.int64) * COUNT + np.asarray(rows["source"]))
        if find == "best1":
            seconds = time.perf_counter() - begin
    return seconds, len(np.intersect1d(*pairs))


def send_upload(server: Any, data: bytes) -> int:
    """Upload a table, and return the number of its pairs."""
    from urllib.parse import urlencode

    from pyarrow import parquet

    boundary = "rows"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="u"; filename="u.parquet"\r\n'
    head += "Content-Type: application/vnd.apache.parquet\r\n\r\n"
    params = {"LANG": "ADQL", "RESPONSEFORMAT": "parquet", "UPLOAD": "u,param:u", "QUERY": UPLOAD_QUERY}
    connection = server.connect()
    connection.request(
        "POST",
        f"/tap/sync?{urlencode(params)}",
        head.encode() + data + f"\r\n--{boundary}--\r\n".encode(),
        {"content-type": f"multipart/form-data; boundary={boundary}"},
    )
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {body[:300]!r}")
    return int(parquet.read_metadata(io.BytesIO(body)).num_rows)


def find_table_name(text: str) -> str:
    """Find the name of the table of a query, its last word."""
    return re.search(r"(\w+)$", text.replace('"', ""))[1]  # type: ignore[index]


class Rows:
    """Rows of a table in memory, or of an Arrow file, as an answer to a query."""

    def __init__(self, source: pa.Table | Path, names: Sequence[str], *, has_rows: bool) -> None:
        from hven.model.table import build_columns_from_arrow

        self._source = source
        self._has_rows = has_rows
        schema = source.schema if isinstance(source, pa.Table) else pa.ipc.open_file(str(source)).schema
        self._names = names or schema.names
        self.columns = build_columns_from_arrow(pa.schema([schema.field(name) for name in self._names]))

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if not self._has_rows:
            return
        if isinstance(self._source, pa.Table):
            yield from self._source.select(self._names).to_batches()
            return
        with pa.OSFile(str(self._source)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(self._names)


def read_peak_mebibytes() -> float:
    """Read the largest memory of this process; that of `getrusage` begins with the memory of the process that made it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


def measure_match(directory: Path, *, has_update: bool) -> dict[str, float]:
    """Match tables, and match them again with changes; return seconds and the largest memory."""
    from hven.plugins.matching import match_source
    from hven.plugins.matching.match_options import Options
    from hven.sources import SourceContext

    paths = {name: directory / f"{name}.arrow" for name in ("first", "second")}
    tables: dict[str, pa.Table | Path] = dict(paths)
    if has_update:
        tables = {name: pa.ipc.open_file(pa.memory_map(str(path))).read_all() for name, path in paths.items()}

    def run_query(text: str, uploads: object = None) -> Rows:
        table = tables[find_table_name(text)]
        if "TOP 0" in text:
            return Rows(table, (), has_rows=False)
        names = re.findall(r"\w+", text.split("FROM", maxsplit=1)[0].removeprefix("SELECT"))
        return Rows(table, names, has_rows=True)

    reference = {"table": "sky.first", "id": "id", "ra": "ra", "dec": "dec", "pmra": "pmra", "pmdec": "pmdec"}
    catalogue = {
        "table": "sky.second",
        "id": "source",
        "ra": "ra",
        "dec": "dec",
        "epoch": 1991.25 + YEARS,
        "radius": 1.5,
    }
    options = Options.model_validate({"reference": {**reference, "epoch": 1991.25}, "catalogues": {"gaia": catalogue}})
    facts = {}
    runs = (("first", "seconds"), ("second", "update_seconds")) if has_update else (("first", "seconds"),)
    for run_name, figure in runs:
        context = SourceContext(
            run_query=run_query, cache_directory=directory / "cache", run_name=run_name, table_name="a.b"
        )
        begin = time.perf_counter()
        pair_count = 0
        for batch in match_source.open(options, context).read_batches():
            pair_count += len(batch) - batch.column("XM_GAIA_id").null_count
        facts[figure] = time.perf_counter() - begin
        if run_name == "first":
            facts["pairs"] = pair_count
            facts["mebibytes"] = read_peak_mebibytes()
        if has_update:
            latitudes = tables["second"]["dec"].to_numpy().copy()
            latitudes[:CHANGES] += 0.1 / 3600
            tables["second"] = tables["second"].set_column(2, "dec", pa.array(np.minimum(latitudes, 90)))
    return facts


def measure_identification(directory: Path) -> dict[str, float]:
    """Identify targets among objects; return seconds, the number of identified targets, and the largest memory."""
    from hven.plugins.matching import identify_source
    from hven.plugins.matching.identify_options import Options
    from hven.sources import SourceContext

    def run_query(text: str, uploads: object = None) -> Rows:
        path = directory / f"{find_table_name(text)}.arrow"
        if "TOP 0" in text:
            return Rows(path, (), has_rows=False)
        names = re.findall(r"\w+", text.split("FROM", maxsplit=1)[0].removeprefix("SELECT"))
        return Rows(path, names, has_rows=True)

    positions = {"ra": "ra", "dec": "dec"}
    motions = {"pmra": "pmra", "pmdec": "pmdec"}
    target_columns = {"id": "number", "name": "target_name", "ra": "target_ra", "dec": "target_dec", "epoch": "epoch"}
    options = Options.model_validate({
        "targets": {"table": "obs.targets", **target_columns},
        "among": {
            "simbad": {"table": "obs.objects", "id": "oid", "names": ["main_id", "ids"], **positions, **motions, "epoch": 2000}
        },
    })  # fmt: skip
    context = SourceContext(run_query=run_query, cache_directory=directory / "cache", table_name="a.b")
    begin = time.perf_counter()
    identified = 0
    for batch in identify_source.open(options, context).read_batches():
        identified += len(batch) - batch.column("ident_id").null_count
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "identified": identified, "mebibytes": read_peak_mebibytes()}


if __name__ == "__main__":
    if "identify" in sys.argv[2:]:
        print(json.dumps(measure_identification(Path(sys.argv[1]))))
    else:
        print(json.dumps(measure_match(Path(sys.argv[1]), has_update="update" in sys.argv[2:])))
