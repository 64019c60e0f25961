"""A service to inject faults into: TAP 1.1 with EPN-TAP, ObsCore and its radio extension, on sqlite3.

It shares no code with Hven.
"""

from __future__ import annotations

import copy
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape, quoteattr

XML = {"Content-Type": "text/xml"}
SQL = {"char": "TEXT", "int": "INTEGER", "long": "INTEGER", "short": "INTEGER", "double": "REAL", "float": "REAL"}
NOW = "2026-01-01T00:00:00Z"


@dataclass
class Column:
    name: str
    datatype: str = "char"
    unit: str = ""
    ucd: str = ""
    utype: str = ""
    xtype: str = ""
    arraysize: str = ""
    description: str = "what it is"
    std: int = 0
    indexed: int = 0

    def __post_init__(self) -> None:
        if self.datatype == "char" and not self.arraysize:
            self.arraysize = "*"


@dataclass
class Table:
    name: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    utype: str = ""
    description: str = "a table"
    kind: str = "table"

    def column(self, name: str) -> Column:
        return next(one for one in self.columns if one.name == name)

    def drop_column(self, name: str) -> None:
        self.columns = [one for one in self.columns if one.name != name]


def build_schema_tables() -> list[Table]:
    """Build TAP_SCHEMA as TAP 1.1 section 4 defines it."""
    layout = {
        "schemas": "schema_name utype description schema_index#",
        "tables": "schema_name table_name table_type utype description table_index#",
        "columns": 'table_name column_name datatype arraysize xtype "size"# description utype unit ucd indexed# principal# std# column_index#',
        "keys": "key_id from_table target_table description utype",
        "key_columns": "key_id from_column target_column",
    }
    return [
        Table(
            f"TAP_SCHEMA.{name}",
            [Column(word.rstrip("#"), "int" if word.endswith("#") else "char", std=1) for word in words.split()],
            [],
        )
        for name, words in layout.items()
    ]


KEYS = [("1", "tables", "schemas", "schema_name"), ("2", "columns", "tables", "table_name"), ("3", "keys", "tables", "from_table"),
        ("4", "keys", "tables", "target_table"), ("5", "key_columns", "keys", "key_id")]  # fmt: skip
FORMATS = {"application/x-votable+xml": "votable", "text/csv": "csv", "votable": "votable", "csv": "csv", "": "votable"}


class QueryFault(Exception):
    """The query is wrong."""


@dataclass
class TapServer:
    """The service: its tables, its faults, and replacements in its documents.

    `misbehaviours` are words that the answers look for.
    """

    tables: list[Table]
    misbehaviours: set[str] = field(default_factory=set)
    replacements: list[tuple[str, str, str]] = field(default_factory=list)  # document, old, new
    schema_edits: list[str] = field(default_factory=list)  # SQL over TAP_SCHEMA
    base: str = "http://world.example/tap"

    def __post_init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.database: sqlite3.Connection | None = None

    def copy(self) -> TapServer:
        return TapServer(
            copy.deepcopy(self.tables),
            set(self.misbehaviours),
            list(self.replacements),
            list(self.schema_edits),
            self.base,
        )

    def table(self, name: str) -> Table:
        return next(one for one in self.tables if one.name.lower() == name.lower())

    @property
    def epn(self) -> Table:
        return self.table("demo.epn_core")

    @property
    def obscore(self) -> Table:
        return self.table("ivoa.obscore")

    @property
    def radio(self) -> Table:
        return self.table("ivoa.obscore_radio")

    # --- the database --------------------------------------------------------------------------------------------

    def build_database(self) -> sqlite3.Connection:
        base = sqlite3.connect(":memory:", check_same_thread=False)
        for schema in {one.name.partition(".")[0] for one in self.tables}:
            base.execute(f"ATTACH ':memory:' AS {schema}")
        self._fill_schema()
        for table in self.tables:
            columns = ", ".join(f"{one.name} {SQL.get(one.datatype, 'TEXT')}" for one in table.columns)
            base.execute(f"CREATE TABLE {table.name} ({columns})")
            names = [one.name.strip('"') for one in table.columns]
            marks = ", ".join("?" * len(names))
            base.executemany(
                f"INSERT INTO {table.name} VALUES ({marks})", [[row.get(name) for name in names] for row in table.rows]
            )
        for edit in self.schema_edits:
            base.execute(edit)
        return base

    def _fill_schema(self) -> None:
        schemas = dict.fromkeys(one.name.partition(".")[0] for one in self.tables)
        self.table("TAP_SCHEMA.schemas").rows = [
            {"schema_name": name, "description": "tables", "schema_index": n} for n, name in enumerate(schemas)
        ]
        self.table("TAP_SCHEMA.tables").rows = [
            {"schema_name": one.name.partition(".")[0], "table_name": one.name, "table_type": one.kind, "utype": one.utype or None,
             "description": one.description or None, "table_index": n}
            for n, one in enumerate(self.tables)
        ]  # fmt: skip
        self.table("TAP_SCHEMA.columns").rows = [
            {"table_name": one.name, "column_name": c.name, "datatype": c.datatype, "arraysize": c.arraysize or None, "xtype": c.xtype or None,
             "size": None, "description": c.description or None, "utype": c.utype or None, "unit": c.unit or None, "ucd": c.ucd or None,
             "indexed": c.indexed, "principal": 0, "std": c.std, "column_index": n}
            for one in self.tables for n, c in enumerate(one.columns)
        ]  # fmt: skip
        self.table("TAP_SCHEMA.keys").rows = [
            {"key_id": k, "from_table": f"TAP_SCHEMA.{a}", "target_table": f"TAP_SCHEMA.{b}"} for k, a, b, _ in KEYS
        ]
        self.table("TAP_SCHEMA.key_columns").rows = [
            {"key_id": k, "from_column": c, "target_column": "table_name" if c.endswith("table") else c}
            for k, _, _, c in KEYS
        ]

    def run_query(self, adql: str, maxrec: int | None) -> tuple[list[Column], list[tuple[Any, ...]], bool]:
        """Run a query; return columns, rows, and whether MAXREC cut the rows."""
        if "no-top-3" in self.misbehaviours and "TOP 3 " in adql:
            raise QueryFault("TOP 3 is not understood")
        if "no-not" in self.misbehaviours and "NOT (" in adql:
            raise QueryFault("NOT is not understood")
        for word in (one.partition(" ")[2] for one in self.misbehaviours if one.startswith("untyped ")):
            if re.search(rf"\b{word} <", adql):
                raise QueryFault(f"cannot compare {word} with a number")
        if self.database is None:
            self.database = self.build_database()
        found = re.match(
            r"\s*SELECT\s+(DISTINCT\s+)?(?:TOP\s+(\d+)\s+)?(.*?)\s+FROM\s+([\w.]+)(?:\s+(?:AS\s+)?(?!WHERE|GROUP|ORDER)\w+)?(.*)",
            adql,
            re.DOTALL | re.IGNORECASE,
        )
        if found is None:
            raise QueryFault("line 1: a query begins with SELECT")
        _, top, items, name, _ = found.groups()
        try:
            table = self.table(name)
        except StopIteration:
            raise QueryFault(f"there is no table {name}") from None
        text = re.sub(r"TOP\s+\d+", "", adql, count=1, flags=re.IGNORECASE) if top else adql
        limit = None if "no-top" in self.misbehaviours or not top else int(top)
        try:
            rows = self.database.execute(
                f"SELECT * FROM ({text})" + (f" LIMIT {limit}" if limit is not None else "")
            ).fetchall()
        except sqlite3.Error as error:
            raise QueryFault(str(error)) from error
        columns: list[Column] = []
        for item in re.split(r",(?![^(]*\))", items):
            word = item.strip()
            if word == "*" or word.endswith(".*"):
                columns += table.columns
                continue
            expression, _, alias = re.sub(r"\s+AS\s+", "\0", word, flags=re.IGNORECASE).partition("\0")
            bare = expression.strip().rpartition(".")[2]
            known = next((one for one in table.columns if one.name.lower().strip('"') == bare.lower().strip('"')), None)
            kind = (
                copy.copy(known)
                if known is not None
                else Column("x", "long" if "COUNT" in expression.upper() else "double")
            )
            kind.name = (alias or bare).strip().strip('"')
            columns.append(kind)
        cut = maxrec is not None and len(rows) > maxrec and "no-maxrec" not in self.misbehaviours
        return columns, rows[:maxrec] if cut else rows, cut

    # --- documents -------------------------------------------------------------------------------------------------

    def edit_document(self, document: str, text: str) -> str:
        for name, old, new in self.replacements:
            if name == document:
                assert old in text or document in {"votable", "job"}, f"{document} has no {old!r}"
                text = text.replace(old, new)
        return text

    def write_votable(self, columns: list[Column], rows: list[tuple[Any, ...]], cut: bool, maxrec: int | None) -> str:
        fields = ""
        for one in columns:
            about = {
                "name": one.name.strip('"'),
                "datatype": one.datatype,
                "arraysize": one.arraysize,
                "unit": one.unit,
                "ucd": one.ucd,
                "utype": one.utype,
                "xtype": one.xtype,
            }
            fields += "<FIELD" + "".join(f" {key}={quoteattr(value)}" for key, value in about.items() if value) + "/>\n"
        cells = "".join(
            "<TR>" + "".join(f"<TD>{'' if cell is None else escape(str(cell))}</TD>" for cell in row) + "</TR>\n"
            for row in rows
        )
        tail = (
            '<INFO name="QUERY_STATUS" value="OVERFLOW"/>'
            if (cut or maxrec == 0) and "no-overflow" not in self.misbehaviours
            else ""
        )
        text = (
            '<?xml version="1.0"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
            f'<INFO name="QUERY_STATUS" value="OK"/><TABLE>{fields}<DATA><TABLEDATA>\n{cells}</TABLEDATA></DATA></TABLE>{tail}</RESOURCE></VOTABLE>'
        )
        return self.edit_document("votable", text)

    def build_error(self, message: str) -> tuple[int, dict[str, str], str]:
        if "html-errors" in self.misbehaviours:
            return 500, {"Content-Type": "text/html"}, "<html><body><h1>Internal error<br></body></html>"
        if "talkative" in self.misbehaviours:
            message += "\nTraceback (most recent call last): ..."
        text = (
            '<?xml version="1.0"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
            f'<INFO name="QUERY_STATUS" value="ERROR">{"" if "mute" in self.misbehaviours else escape(message)}</INFO></RESOURCE></VOTABLE>'
        )
        return 400, {"Content-Type": "application/x-votable+xml"}, self.edit_document("error", text)

    def answer_sync(self, given: dict[str, str]) -> tuple[int, dict[str, str], str]:
        if "case" not in self.misbehaviours:
            given = {name.upper(): value for name, value in given.items()}
        if given.get("LANG", "") not in {"ADQL", "ADQL-2.0"} and not (
            "any-language" in self.misbehaviours and "LANG" in given
        ):
            return self.build_error("the query language is not known")
        if "QUERY" not in given and "no-query" in self.misbehaviours:
            return (
                200,
                {"Content-Type": "application/x-votable+xml"},
                self.write_votable([Column("nothing")], [], False, None),
            )
        if "QUERY" not in given:
            return self.build_error("there is no QUERY")
        if "DUMMY" in given and "strict" in self.misbehaviours:
            return self.build_error("DUMMY is not a parameter")
        wanted = given.get("RESPONSEFORMAT", given.get("FORMAT", ""))
        if wanted not in FORMATS and "any-format" not in self.misbehaviours:
            return self.build_error(f"there is no format {wanted}")
        maxrec = int(given["MAXREC"]) if "MAXREC" in given else None
        try:
            columns, rows, cut = self.run_query(given["QUERY"], maxrec)
            if "renames" in self.misbehaviours:
                for number, one in enumerate(columns if " AS " in given["QUERY"] else []):
                    one.name = f"col{number}"
        except QueryFault as error:
            if "forgiving" in self.misbehaviours:
                return (
                    200,
                    {"Content-Type": "application/x-votable+xml"},
                    self.write_votable([Column("nothing")], [], False, None),
                )
            return self.build_error(str(error))
        if FORMATS.get(wanted) == "csv" and "no-csv" not in self.misbehaviours:
            lines = [
                ",".join(one.name.strip('"') for one in columns),
                *(",".join("" if cell is None else str(cell) for cell in row) for row in rows),
            ]
            return (
                200,
                {"Content-Type": "text/csv"},
                "\n".join(lines) + ("\n1,2,3\n" if "ragged" in self.misbehaviours else "\n"),
            )
        media = "text/html" if "html-media" in self.misbehaviours else "application/x-votable+xml"
        return 200, {"Content-Type": media}, self.write_votable(columns, rows, cut, maxrec)

    def write_capabilities(self) -> str:
        vosi = "".join(
            f'<capability standardID="ivo://ivoa.net/std/{standard}"><interface xsi:type="vs:ParamHTTP" role="std"><accessURL use="full">{self.base}/{name}</accessURL>'
            "</interface></capability>\n"
            for standard, name in (
                ("VOSI#capabilities", "capabilities"),
                ("VOSI#availability", "availability"),
                ("VOSI#tables-1.1", "tables"),
            )
        )
        return f"""<?xml version="1.0"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">
<interface xsi:type="vs:ParamHTTP" role="std" version="1.1"><accessURL use="base">{self.base}</accessURL></interface>
<dataModel ivo-id="ivo://ivoa.net/std/ObsCore#core-1.1">ObsCore-1.1</dataModel>
<language><name>ADQL</name><version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version>
<languageFeatures type="ivo://ivoa.net/std/TAPRegExt#features-udf">
<feature><form>ivo_hashlist_has(hashlist TEXT, item TEXT) -> INTEGER</form></feature></languageFeatures></language>
<outputFormat ivo-id="ivo://ivoa.net/std/TAPRegExt#output-votable-td"><mime>application/x-votable+xml</mime><alias>votable</alias></outputFormat>
<outputFormat><mime>text/csv</mime><alias>csv</alias></outputFormat>
<outputLimit><default unit="row">20000</default><hard unit="row">100000</hard></outputLimit>
</capability>
{vosi}<capability standardID="ivo://ivoa.net/std/DALI#examples"><interface xsi:type="vr:WebBrowser" xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0">
<accessURL use="full">{self.base}/examples</accessURL></interface></capability>
</vosi:capabilities>"""

    def write_tableset(self) -> str:
        body = ""
        for schema in dict.fromkeys(one.name.partition(".")[0] for one in self.tables):
            body += f"<schema><name>{schema}</name>"
            for table in self.tables:
                if table.name.partition(".")[0] != schema:
                    continue
                body += (
                    f"<table><name>{table.name}</name>"
                    + _write_element("description", table.description)
                    + _write_element("utype", table.utype)
                )
                for one in table.columns:
                    body += f"<column><name>{escape(one.name)}</name>" + "".join(
                        _write_element(name, value)
                        for name, value in (
                            ("description", one.description),
                            ("unit", one.unit),
                            ("ucd", one.ucd),
                            ("utype", one.utype),
                        )
                    )
                    attributes = "".join(
                        f' {key}="{value}"'
                        for key, value in (("arraysize", one.arraysize), ("extendedType", one.xtype))
                        if value
                    )
                    body += (
                        f'<dataType xsi:type="vs:VOTableType"{attributes}>{one.datatype}</dataType>'
                        + "<flag>std</flag>" * one.std
                        + "</column>"
                    )
                for _, source, target, key in KEYS if schema == "TAP_SCHEMA" else ():
                    if table.name == f"TAP_SCHEMA.{source}":
                        other = "table_name" if key.endswith("table") else key
                        body += f"<foreignKey><targetTable>TAP_SCHEMA.{target}</targetTable><fkColumn><fromColumn>{key}</fromColumn>"
                        body += f"<targetColumn>{other}</targetColumn></fkColumn></foreignKey>"
                body += "</table>"
            body += "</schema>\n"
        return f"""<?xml version="1.0"?>
<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{body}</vosi:tableset>"""

    # --- requests ----------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, given: dict[str, str]) -> tuple[int, dict[str, str], str]:
        """Answer a request for `path` below the base address."""
        with self.lock:
            self.asked.append((method, path, given))
            status, headers, body = self._answer(method, path, given)
            return status, {**({} if "anonymous" in self.misbehaviours else {"Server": "world/1.0"}), **headers}, body

    def _answer(self, method: str, path: str, given: dict[str, str]) -> tuple[int, dict[str, str], str]:
        if f"no-{path}" in self.misbehaviours:
            return 404, {"Content-Type": "text/plain"}, "there is no such thing"
        if path == "capabilities":
            return 200, XML, self.edit_document(path, self.write_capabilities())
        if path == "tables":
            kind = {"Content-Type": "text/plain"} if "plain-vosi" in self.misbehaviours else XML
            return 200, kind, self.edit_document(path, self.write_tableset())
        if path == "availability":
            said = f'<a:availability xmlns:a="http://www.ivoa.net/xml/VOSIAvailability/v1.0"><a:available>true</a:available><a:upSince>{NOW}</a:upSince></a:availability>'
            return 200, XML, self.edit_document(path, said)
        if path == "examples":
            said = (
                '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Examples</title></head><body vocab="http://www.ivoa.net/rdf/examples#">'
                '<div typeof="example" id="mars" resource="#mars"><h2 property="name">Mars</h2>'
                "<pre property=\"query\">SELECT TOP 5 granule_uid FROM demo.epn_core WHERE target_name = 'Mars'</pre>"
                '<p>of <span property="table">demo.epn_core</span></p></div></body></html>'
            )
            return (
                200,
                {"Content-Type": "text/plain" if "plain-examples" in self.misbehaviours else "application/xhtml+xml"},
                self.edit_document(path, said),
            )
        if path == "sync":
            if method == "GET" and "get" in self.misbehaviours:
                return 405, {"Content-Type": "text/plain"}, "only POST"
            return self.answer_sync(given)
        if path.startswith("async"):
            return self._answer_async(method, path.split("/")[1:], given)
        return 404, {"Content-Type": "text/plain"}, "there is no such thing"

    def _answer_async(self, method: str, parts: list[str], given: dict[str, str]) -> tuple[int, dict[str, str], str]:
        if not parts:
            if method == "POST":
                ident = f"j{len(self.jobs) + 1}"
                phase = "EXECUTING" if "eager" in self.misbehaviours else "PENDING"
                self.jobs[ident] = {
                    "phase": phase,
                    "given": {name.upper(): value for name, value in given.items()},
                    "result": None,
                }
                status = 200 if "no-redirect" in self.misbehaviours else 303
                return status, {"Location": f"{self.base}/async/{ident}", "Content-Type": "text/plain"}, ""
            if "list" in self.misbehaviours:
                return 200, XML, "<list/>"
            return 200, XML, '<uws:jobs xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" version="1.1"/>'
        ident, *rest = parts
        if ident not in self.jobs:
            return (
                (200 if "any-job" in self.misbehaviours else 404),
                {"Content-Type": "text/plain"},
                "there is no such job",
            )
        job = self.jobs[ident]
        home = {"Location": f"{self.base}/async/{ident}", "Content-Type": "text/plain"}
        if method == "DELETE" or (
            method == "POST" and given.get("ACTION") == "DELETE" and "no-action" not in self.misbehaviours
        ):
            if "immortal" not in self.misbehaviours:
                del self.jobs[ident]
            return 303, {"Location": f"{self.base}/async", "Content-Type": "text/plain"}, ""
        if method == "POST" and rest == ["parameters"] and "fixed" not in self.misbehaviours:
            job["given"].update((name.upper(), value) for name, value in given.items())
            return 303, home, ""
        if method == "POST" and rest == ["phase"]:
            if given.get("PHASE") == "ABORT":
                job["phase"] = "COMPLETED" if "no-abort" in self.misbehaviours else "ABORTED"
            else:
                status, headers, body = self.answer_sync(
                    job["given"] | ({"MAXREC": "1"} if "short-jobs" in self.misbehaviours else {})
                )
                job["result"] = (200, headers, body)
                job["phase"] = (
                    "ABORTED"
                    if status == 200 and "broken-jobs" in self.misbehaviours
                    else "COMPLETED"
                    if status == 200 or "never-wrong" in self.misbehaviours
                    else "ERROR"
                )
            if "slow-jobs" in self.misbehaviours and given.get("PHASE") == "RUN":
                job["phase"] = "EXECUTING"
            return (200 if "no-phase-redirect" in self.misbehaviours else 303), home, ""
        if not rest:
            kind = {"Content-Type": "text/html"} if "html-jobs" in self.misbehaviours else XML
            return 200, kind, self.edit_document("job", self._write_job(ident, job))
        atoms = {
            "phase": job["phase"],
            "executionduration": "600",
            "destruction": "2027-01-01T00:00:00Z",
            "quote": "",
            "owner": "",
        }
        if rest[0] in atoms:
            return (
                200,
                {"Content-Type": "text/xml" if "xml-atoms" in self.misbehaviours else "text/plain"},
                self.edit_document(rest[0], atoms[rest[0]]),
            )
        if (
            rest in (["results", "result"], ["error"])
            and job["result"] is not None
            and "no-result" not in self.misbehaviours
        ):
            result: tuple[int, dict[str, str], str] = job["result"]
            return result
        return 404, {"Content-Type": "text/plain"}, "there is no such thing"

    def _write_job(self, ident: str, job: dict[str, Any]) -> str:
        given = "".join(
            f'<uws:parameter id="{name}">{escape(value)}</uws:parameter>' for name, value in job["given"].items()
        )
        ended = job["phase"] in {"COMPLETED", "ERROR", "ABORTED"}
        moment = f"<uws:startTime>{NOW}</uws:startTime><uws:endTime>{NOW}</uws:endTime>"
        nil = '<uws:startTime xsi:nil="true"/><uws:endTime xsi:nil="true"/>'
        results = (
            '<uws:results><uws:result id="result"/></uws:results>' if job["phase"] == "COMPLETED" else "<uws:results/>"
        )
        return (
            '<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="1.1">'
            f'<uws:jobId>{ident}</uws:jobId><uws:ownerId xsi:nil="true"/><uws:phase>{job["phase"]}</uws:phase><uws:quote xsi:nil="true"/>'
            f"<uws:creationTime>{NOW}</uws:creationTime>{moment if ended else nil}<uws:executionDuration>600</uws:executionDuration>"
            f"<uws:destruction>2027-01-01T00:00:00Z</uws:destruction><uws:parameters>{given}</uws:parameters>{results}</uws:job>"
        )


def _write_element(name: str, value: str) -> str:
    return f"<{name}>{escape(value)}</{name}>" if value else ""


@contextmanager
def serve(world: TapServer) -> Iterator[str]:
    """Serve by HTTP; yield the base address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16
        disable_nagle_algorithm = True

        def _any(self) -> None:
            parts = urlsplit(self.path)
            given = dict(parse_qsl(parts.query, keep_blank_values=True))
            size = int(self.headers.get("Content-Length") or 0)
            given.update(parse_qsl(self.rfile.read(size).decode(), keep_blank_values=True))
            status, headers, body = world.answer(self.command, parts.path.removeprefix("/tap").strip("/"), given)
            if not parts.path.startswith("/tap/"):
                status, headers, body = 404, {"Content-Type": "text/html"}, "<html>not here</html>"
            data = body.encode()
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _any  # noqa: N815

        def log_message(self, *words: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    world.base = f"http://127.0.0.1:{server.server_port}/tap"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield world.base
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)
        if world.database is not None:
            with closing(world.database):
                pass
