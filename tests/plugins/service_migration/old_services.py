"""Services to be replaced: a Hven as the TAP service of another program, a SITools2, an ERDDAP, and a full registry."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

from json_servers import JsonServer, Reply, Request
from process_runner import run_hven

STAR_COUNT = 1200
MAXREC = 500
AUTHORITY = "old.example.org"
STARS_DESCRIPTOR = """\
collection: survey
title: Stars of the survey
description: Positions and magnitudes.
short_name: Survey
subjects: [astrometry]
creators: ["Brahe, T."]
contact: {name: The data team, email: data@example.org}
licence: CC-BY-4.0
registry: {id: survey/q/all, services: {stars.cone: survey/q/cone}}
examples:
  - {title: Bright stars, query: SELECT star FROM survey.stars WHERE vmag < 2}
tables:
  stars:
    title: Stars
    primary: star
    position: [ra, dec]
    columns:
      star: {type: string, ucd: meta.id;meta.main, indexed: true, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      vmag: {type: float64, unit: mag, ucd: phot.mag;em.opt.V, description: Magnitude}
      kind: {type: string, description: Kind of star}
      n: {type: int32, description: Number}
      access_url: {type: string, ucd: meta.ref.url, description: File}
    source: {kind: csv, files: stars.csv}
"""


def write_stars(url: str) -> str:
    """Write the rows of the survey as CSV; the first ten name files of a server."""
    lines = ["star,ra,dec,vmag,kind,n,access_url"]
    for number in range(STAR_COUNT):
        kind = ("dwarf", "giant", "")[number % 3]
        address = f"{url}/data/spectra/s{number}.txt" if number < 10 else ""
        lines.append(
            f"S{number:05d},{number * 0.29:.4f},{number % 170 - 85},{number % 90 / 7},{kind},{number},{address}"
        )
    return "\n".join(lines) + "\n"


def build_old_site(directory: Path, files_url: str = "http://127.0.0.1:9") -> None:
    """Build the site that plays the old service; its TAP sends at most 500 rows."""
    run_hven("init", directory)
    (directory / "hven.toml").write_text(
        f'name = "Old"\nauthority = "{AUTHORITY}"\ncontact_name = "Team"\ncontact_email = "team@example.org"\n'
        f'public_url = "http://old.example.org"\n[registry]\norganisation = "Observatory"\n'
        f"[limits]\nmaxrec_default = 100\nmaxrec_hard = {MAXREC}\n"
    )
    folder = directory / "collections/survey"
    folder.mkdir(parents=True)
    (folder / "survey.yaml").write_text(STARS_DESCRIPTOR)
    (folder / "stars.csv").write_text(write_stars(files_url))
    run_hven("--site", directory, "ingest", "survey")


def build_new_site(directory: Path) -> Path:
    """Create the site that takes over; it may ask addresses of this machine."""
    run_hven("init", directory)
    text = (directory / "hven.toml").read_text()
    (directory / "hven.toml").write_text("allow_private = true\n" + text)
    return directory


def read_settings_lines(report: Path) -> str:
    """Read the lines for hven.toml in a report."""
    return report.read_text().partition("Lines for hven.toml\n-------------------\n")[2]


def add_settings(site: Path, lines: str, public_url: str = "") -> None:
    """Replace the settings of a site by the lines of a report."""
    text = 'name = "New"\nallow_private = true\ncontact_name = "Team"\ncontact_email = "team@example.org"\n'
    if public_url:
        text += f'public_url = "{public_url}"\n'
    authority, _, rest = lines.partition("\n")
    if not authority.startswith("authority"):
        authority, rest = "", lines
    (site / "hven.toml").write_text(f"{text}{authority}\n{rest}\n")


@dataclass
class SitoolsServer(JsonServer):
    """A SITools2 server with one project and one data set of 700 records."""

    record_count: int = 700
    stated_count: int | None = None
    paths: list[str] = field(default_factory=list)

    def build_record(self, number: int) -> dict[str, Any]:
        record = {"recnum": number, "date__obs": f"2012-08-10T00:{number % 60:02d}:00.000", "wavelnth": 171}
        return record if number % 5 else {**record, "get": f"{self.base}/file/{number}.fits"}

    def reply(self, asked: Request) -> Reply:
        self.paths.append(asked.path)
        if asked.path == "/sitools/portal/projects":
            project = {"name": "SDO", "sitoolsAttachementForUsers": "/sdo"}
            return Reply.from_document({"success": True, "data": [project], "total": 1})
        if asked.path == "/sitools/sdo/datasets":
            return Reply.from_document({"success": True, "data": [{"name": "Images", "url": "/webs_aia_dataset"}]})
        if asked.path == "/webs_aia_dataset":
            return Reply.from_document({"success": True, "dataset": self.build_data_set()})
        numbers = self.filter_records(asked.given.get("p[0]", ""))
        total = len(numbers) if self.stated_count is None else self.stated_count
        if asked.path == "/webs_aia_dataset/count":
            return Reply.from_document({"success": True, "total": total})
        if asked.path == "/webs_aia_dataset/records":
            start, limit = int(asked.given.get("start", 0)), min(int(asked.given.get("limit", 300)), 300)
            data = [self.build_record(number) for number in numbers[start : start + limit]]
            return Reply.from_document({"total": total, "data": data})
        return Reply(status=404, body=b"nothing")

    def filter_records(self, condition: str) -> list[int]:
        """Return the numbers of the records that fulfil a filter; those at both ends belong to a range."""
        numbers = list(range(self.record_count))
        if not condition:
            return numbers
        kind, name, *values = condition.split("|")
        records = [self.build_record(number) for number in numbers]
        if kind == "NUMERIC_BETWEEN":
            low, high = map(float, values)
            return [number for number in numbers if low <= records[number].get(name, -1e9) <= high]
        return [number for number in numbers if str(records[number].get(name)) in values]

    @staticmethod
    def build_data_set() -> dict[str, Any]:
        columns = [
            {"columnAlias": "recnum", "sqlColumnType": "int4", "header": "Record", "primaryKey": True},
            {"columnAlias": "date__obs", "sqlColumnType": "timestamp", "toolTip": "Begin of the exposure"},
            {"columnAlias": "wavelnth", "sqlColumnType": "int4", "unit": {"unitName": "Angstrom"}},
            {"columnAlias": "get", "sqlColumnType": "text"},
            {"columnAlias": "secret", "sqlColumnType": "text", "columnRenderer": {"behavior": "noClientAccess"}},
        ]
        return {"name": "AIA images", "description": "<b>Images</b> of the Sun", "columnModel": columns}


@dataclass
class ErddapServer(JsonServer):
    """An ERDDAP server with a table and a grid."""

    def reply(self, asked: Request) -> Reply:
        if asked.path == "/erddap/info/index.json":
            names = ["griddap", "tabledap", "Title", "Dataset ID"]
            rows = [["", "x", "All", "allDatasets"], ["", "x", "Buoys", "buoys"], ["x", "", "A grid", "sst"]]
            return Reply.from_document({"table": {"columnNames": names, "rows": rows}})
        if asked.path == "/erddap/info/buoys/index.json":
            names = ["Row Type", "Variable Name", "Attribute Name", "Data Type", "Value"]
            rows = [
                ["attribute", "NC_GLOBAL", "summary", "String", "Temperatures of the sea"],
                ["variable", "time", "", "double", ""],
                ["attribute", "time", "units", "String", "seconds since 1970-01-01T00:00:00Z"],
                ["variable", "sea_temp", "", "float", ""],
                ["attribute", "sea_temp", "units", "String", "degC"],
                ["attribute", "sea_temp", "long_name", "String", "Temperature of the water"],
            ]
            return Reply.from_document({"table": {"columnNames": names, "rows": rows}})
        if asked.path == "/erddap/tabledap/buoys.csv":
            text = "time,sea_temp\nUTC,degC\n2020-01-01T00:00:00Z,11.5\n2020-01-02T00:00:00Z,12.25\n"
            return Reply(body=text.encode(), kind="text/csv")
        return Reply(status=404, body=b"nothing")


class FullRegistry:
    """A full registry: it harvests publishing registries one after the other, and answers one query of RegTAP.

    Like the registries of the Virtual Observatory, it has one record for each identifier. A harvested record replaces
    an older one, and a later deletion removes it, whichever registry it comes from.
    """

    def __init__(self) -> None:
        self.updates: dict[str, str] = {}
        self._last_changes: dict[str, str] = {}

    def harvest(self, url: str) -> None:
        """Harvest all records of a publishing registry."""
        with urllib.request.urlopen(f"{url}?verb=ListRecords&metadataPrefix=ivo_vor", timeout=60) as answer:
            root = etree.fromstring(answer.read())
        for header in root.iterfind(".//{*}header"):
            ivoid = header.findtext("{*}identifier").lower()
            datestamp = header.findtext("{*}datestamp")
            if datestamp < self._last_changes.get(ivoid, ""):
                continue
            self._last_changes[ivoid] = datestamp
            self.updates[ivoid] = datestamp
            if header.get("status") == "deleted":
                del self.updates[ivoid]

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve ``rr.resource``."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = registry.write_votable().encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-votable+xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/tap"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def write_votable(self) -> str:
        rows = "".join(f"<TR><TD>{escape(key)}</TD><TD>{value}</TD></TR>" for key, value in self.updates.items())
        fields = "".join(f'<FIELD name="{name}" datatype="char" arraysize="*"/>' for name in ("ivoid", "updated"))
        return (
            '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
            '<INFO name="QUERY_STATUS" value="OK"/>'
            f"<TABLE>{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
        )
