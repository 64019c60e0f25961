"""Group query: answers of /sync - VOTables as DALI wants them, limits kept and overflows told, parameters as TAP defines them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.lint import votable
from hven.lint.documents import NotXml
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.lint.service import written
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.service import Service
    from hven.lint.votable import VOTable
    from hven.sources.remote import Answer

DALI = "DALI 1.1 sec. 4.4"
CHECKS = table_of_checks(
    ("query.failed", "error", "TAP 1.1 sec. 2.7", "a plain query fails", "see the service's own message", "E_QERR E_QERX"),
    ("query.get", "error", "TAP 1.1 sec. 2.2; DALI 1.1 sec. 2", "GET and POST of the same query do not give the same", "treat both alike", ""),
    ("query.content-type", "error", "TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3", "a VOTable is not sent as one",
     "send application/x-votable+xml or text/xml", "E_VOCT W_NOCT"),
    ("query.version", "error", "TAP 1.1 sec. 2.7.3", "the VOTable's version is too old or not said", "write VOTable 1.2 or later", "E_VVLO I_VVNL"),
    ("query.resource", "error", DALI, "the answer does not have one RESOURCE of type results with one TABLE", 'write <RESOURCE type="results"> once', "E_RRES E_TTOO"),
    ("query.status", "error", DALI, "there is no QUERY_STATUS before the table", 'write <INFO name="QUERY_STATUS" value="OK"/> first', "E_NOST"),
    ("query.status-value", "error", DALI, "QUERY_STATUS has an unknown or contradictory value", "OK, ERROR or OVERFLOW", "E_DQUM E_QST1 E_QST2 W_DQU2"),
    ("query.field", "error", "VOTable 1.4 sec. 4", "a FIELD's datatype or arraysize is none", "use VOTable's", ""),
    ("query.maxrec", "error", "TAP 1.1 sec. 2.7.4; DALI 1.1 sec. 3.4.4", "more rows than MAXREC", "cut at MAXREC", "E_NREC"),
    ("query.overflow", "error", "TAP 1.1 sec. 2.7.4; DALI 1.1 sec. 4.4.1", "rows were cut and nothing says so", "write QUERY_STATUS OVERFLOW behind the table", "E_OVNO"),
    ("query.overflow-wrong", "warning", "DALI 1.1 sec. 4.4.1", "an overflow is told where TOP alone cut the rows", "tell OVERFLOW only for MAXREC", ""),
    ("query.maxrec-zero", "warning", "TAP 1.1 sec. 2.7.4", "MAXREC=0 does not give an empty table with its FIELDs", "answer with metadata and OVERFLOW", ""),
    ("query.top", "error", "ADQL 2.1 sec. 2.2", "more rows than TOP", "keep TOP", "E_NROW E_RRTO"),
    ("query.columns", "error", "TAP 1.1 sec. 2.7.3; ADQL 2.1 sec. 2.2", "the columns are not those that were asked for, in their order", "keep names and order; aliases name FIELDs", "E_MCOL E_CNAM"),
    ("query.count", "error", "ADQL 2.1 sec. 2.2", "COUNT(*) does not give one integer", "answer with one row and one integer column", "E_NO11 E_NONM E_NRER"),
    ("query.case", "error", "DALI 1.1 sec. 3.1", "parameter names are compared with case", "compare names without case", ""),
    ("query.extra-parameter", "error", "DALI 1.1 sec. 3.1", "a parameter that nobody knows changes the answer", "ignore it", "E_SPPA W_SPPA"),
    ("query.language", "warning", "TAP 1.1 sec. 2.7.1", "an unknown LANG is accepted", "answer with an error", "W_OLNG"),
    ("query.language-version", "error", "TAP 1.1 sec. 2.7.1; TAPRegExt 1.0 sec. 2.2", "a declared version of ADQL is refused as LANG", "accept LANG=ADQL-2.0 if 2.0 is declared", "E_LVER"),
    ("query.boolean", "error", "ADQL 2.1 sec. 2.2", "conditions of plain ADQL fail", "support ADQL's predicates", ""),
)  # fmt: skip
MEDIA = {"text/xml", "application/xml", "application/x-votable+xml", "text/x-votable+xml"}
FEW = 3


def _run(service: Service, notes: Notes) -> None:
    table = next((one for one in service.tables(own=False) if one.key == "tap_schema.columns"), None) or next(
        iter(service.tables()), None
    )
    if table is None or not table.columns:
        notes.skip("no table is declared that could be asked")
        return
    names = [written(one.name) for one in table.columns[:FEW]]
    adql = f"SELECT {', '.join(names)} FROM {table.name}"
    first = _asked(service, notes, adql.replace("SELECT ", f"SELECT TOP {FEW} ", 1), table.name)
    if first is None:
        return
    if len(first.rows) > FEW:
        notes.tell("query.top", f"{len(first.rows)} rows for TOP {FEW}", table=table.name, value=len(first.rows))
    elif first.overflow and len(first.rows) == FEW:
        notes.tell("query.overflow-wrong", table=table.name)
    said = [one.name.lower().strip('"') for one in first.fields]
    if said != [one.key for one in table.columns[:FEW]]:
        notes.tell("query.columns", f"{', '.join(names)} were asked for", table=table.name, value=", ".join(said))
    _limits(service, notes, adql, table.name)
    _shapes(service, notes, table.name, names[0])
    _parameters(service, notes, adql.replace("SELECT ", f"SELECT TOP {FEW} ", 1), first)


def _asked(service: Service, notes: Notes, adql: str, table: str, maxrec: int | None = None) -> VOTable | None:
    """Ask, and check the document against DALI."""
    try:
        answer = service.raw(adql, maxrec)
        found = votable.read(answer.body)
    except NotXml as error:
        notes.tell("query.failed", f"{adql} gives no VOTable: {error}", table=table)
        return None
    if found.error is not None or answer.status != 200:
        notes.tell("query.failed", f"{adql} gives status {answer.status}: {found.error}", table=table)
        return None
    _document(answer, found, notes)
    return found


def _document(answer: Answer, found: VOTable, notes: Notes) -> None:
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in MEDIA:
        notes.tell("query.content-type", value=media)
    if found.version not in {"1.2", "1.3", "1.4", "1.5", "1.6"}:
        notes.tell("query.version", value=found.version)
    if found.results != 1 or found.tables != 1:
        notes.tell("query.resource", f"{found.results} of type results, {found.tables} tables")
    if not any(name == "QUERY_STATUS" for name, _, _ in found.before):
        notes.tell("query.status")
    before = [value.upper() for name, value, _ in found.before if name == "QUERY_STATUS"]
    behind = [value.upper() for name, value, _ in found.behind if name == "QUERY_STATUS"]
    strange = [one for one in before + behind if one not in {"OK", "ERROR", "OVERFLOW"}]
    if strange or len(before) > 1 or len(behind) > 1 or (before == ["OVERFLOW"] and behind == ["OK"]):
        notes.tell("query.status-value", value=", ".join(before + behind))
    for kind, column, words in found.odd:
        if kind in {"datatype", "arraysize"}:
            notes.tell("query.field", words, column=column)


def _limits(service: Service, notes: Notes, adql: str, table: str) -> None:
    cut = _asked(service, notes, adql, table, FEW)
    if cut is not None:
        if len(cut.rows) > FEW:
            notes.tell("query.maxrec", f"{len(cut.rows)} rows for MAXREC={FEW}", table=table, value=len(cut.rows))
        elif len(cut.rows) == FEW and not cut.overflow:
            total = service.number(f"SELECT COUNT(*) AS n FROM {table}")
            if total is not None and total > FEW:
                notes.tell("query.overflow", f"{FEW} of {total:,} rows", table=table, value=", ".join(cut.statuses()))
    try:
        none = service.query(adql, 0)
    except UserError as error:
        notes.tell("query.maxrec-zero", error.message, table=table)
    else:
        if none.rows or not none.fields:
            notes.tell(
                "query.maxrec-zero",
                f"{len(none.rows)} rows, {len(none.fields)} FIELDs",
                table=table,
                value=len(none.rows),
            )


def _shapes(service: Service, notes: Notes, table: str, column: str) -> None:
    try:
        found = service.query(f"SELECT COUNT(*) AS n FROM {table}")
    except UserError as error:
        notes.tell("query.count", error.message, table=table)
    else:
        if (
            len(found.rows) != 1
            or [one.name.lower() for one in found.fields] != ["n"]
            or not isinstance(found.rows[0][0], int)
        ):
            notes.tell("query.count", table=table, value=found.rows[:1])
    condition = f"(t.{column} IS NOT NULL AND NOT (t.{column} LIKE 'zz%')) OR t.{column} IN ('a', 'b')"
    try:
        alias = service.query(
            f"SELECT TOP 2 t.{column} AS first_one FROM {table} AS t WHERE {condition} ORDER BY first_one", 2
        )
    except UserError as error:
        notes.tell("query.boolean", error.message, table=table, value=condition)
    else:
        if [one.name.lower() for one in alias.fields] != ["first_one"]:
            notes.tell(
                "query.columns",
                "the alias first_one was asked for",
                table=table,
                value=", ".join(one.name for one in alias.fields),
            )


def _parameters(service: Service, notes: Notes, adql: str, first: VOTable) -> None:
    def names(answer: Answer) -> list[str] | None:
        try:
            found = votable.read(answer.body)
        except NotXml:
            return None
        return None if found.error is not None else [one.name for one in found.fields]

    wanted = [one.name for one in first.fields]
    if names(service.raw(adql, method="GET")) != wanted:
        notes.tell("query.get")
    if names(service.raw(adql, DUMMY="ignore-me")) != wanted:
        notes.tell("query.extra-parameter", value="DUMMY=ignore-me")
    lower = [(name.lower(), value) for name, value in service.form(adql)]
    if names(service.client.post(f"{service.url}/sync", lower)) != wanted:
        notes.tell("query.case", value="lang, query")
    if names(service.raw(adql, LANG="OOBLECK")) is not None:
        notes.tell("query.language", value="OOBLECK")
    for version in service.capabilities.adql:
        answer = service.raw(adql, LANG=f"ADQL-{version}")
        if names(answer) is None:
            notes.tell("query.language-version", value=f"ADQL-{version}")


GROUP = Group(name="query", title="Queries", checks=CHECKS, run=_run)
