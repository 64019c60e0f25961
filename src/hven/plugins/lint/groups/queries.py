"""Group query: answers of /sync are VOTables as DALI defines them, and limits and parameters follow TAP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import UserError
from hven.plugins.lint import votable
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.client import get_media_type
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.tap_service import quote_column_name
from hven.plugins.lint.xml_documents import NotXmlError

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import DeclaredTable, ExaminedTapService
    from hven.plugins.lint.votable import VOTableDocument
    from hven.sources.http_client import HttpAnswer

QUERY_CHECKS = parse_lint_checks("""
query.failed | error | TAP 1.1 sec. 2.7 | E_QERR E_QERX
    a plain query fails
    read the service's own message
query.get | error | TAP 1.1 sec. 2.2; DALI 1.1 sec. 2
    GET and POST return different results for the same query
    treat both requests in the same way
query.content-type | error | TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3 | E_VOCT W_NOCT
    a VOTable is sent with the wrong media type
    send application/x-votable+xml or text/xml
query.version | error | TAP 1.1 sec. 2.7.3 | E_VVLO I_VVNL
    the VOTable's version is too old or missing
    write VOTable 1.2 or later
query.resource | error | DALI 1.1 sec. 4.4 | E_RRES E_TTOO
    the response does not have one RESOURCE of type results with one TABLE
    write <RESOURCE type="results"> once
query.status | error | DALI 1.1 sec. 4.4 | E_NOST
    there is no QUERY_STATUS before the table
    write <INFO name="QUERY_STATUS" value="OK"/> first
query.status-value | error | DALI 1.1 sec. 4.4 | E_DQUM E_QST1 E_QST2 W_DQU2
    QUERY_STATUS is unknown or contradictory
    write OK, ERROR or OVERFLOW
query.field | error | VOTable 1.4 sec. 4
    a FIELD's datatype or arraysize is not valid in VOTable
    use the datatypes and array sizes of VOTable
query.maxrec | error | TAP 1.1 sec. 2.7.4; DALI 1.1 sec. 3.4.4 | E_NREC
    the response has more rows than MAXREC
    return at most MAXREC rows
query.overflow | error | TAP 1.1 sec. 2.7.4; DALI 1.1 sec. 4.4.1 | E_OVNO
    rows were cut off, but the response does not report it
    write QUERY_STATUS OVERFLOW after the table
query.overflow-wrong | warning | DALI 1.1 sec. 4.4.1
    an overflow is reported, although only TOP limits the rows
    report OVERFLOW only for MAXREC
query.maxrec-zero | warning | TAP 1.1 sec. 2.7.4
    MAXREC=0 does not return an empty table with its FIELDs
    respond with metadata and OVERFLOW
query.top | error | ADQL 2.1 sec. 2.2 | E_NROW E_RRTO
    the response has more rows than TOP
    apply TOP
query.columns | error | TAP 1.1 sec. 2.7.3; ADQL 2.1 sec. 2.2 | E_MCOL E_CNAM
    the columns or their order differ from the query
    keep the names and their order, and use aliases as names of FIELDs
query.count | error | ADQL 2.1 sec. 2.2 | E_NO11 E_NONM E_NRER
    COUNT(*) does not return one integer
    respond with one row and one integer column
query.case | error | DALI 1.1 sec. 3.1
    parameter names are case-sensitive
    ignore the case of parameter names
query.extra-parameter | error | DALI 1.1 sec. 3.1 | E_SPPA W_SPPA
    an unknown parameter changes the response
    ignore it
query.language | warning | TAP 1.1 sec. 2.7.1 | W_OLNG
    an unknown LANG is accepted
    respond with an error
query.language-version | error | TAP 1.1 sec. 2.7.1; TAPRegExt 1.0 sec. 2.2 | E_LVER
    a declared ADQL version is rejected as LANG
    accept LANG=ADQL-2.0 if 2.0 is declared
query.boolean | error | ADQL 2.1 sec. 2.2
    plain ADQL conditions fail
    support ADQL's predicates
""")
VOTABLE_MEDIA_TYPES = {"text/xml", "application/xml", "application/x-votable+xml", "text/x-votable+xml"}
VOTABLE_VERSIONS = {"1.2", "1.3", "1.4", "1.5", "1.6"}
QUERY_STATUSES = {"OK", "ERROR", "OVERFLOW"}
TEST_ROW_LIMIT = 3
MAX_TEST_COLUMNS = 3


def _check_sync_queries(service: ExaminedTapService, collector: FindingCollector) -> None:
    table = _choose_test_table(service)
    if table is None or not table.columns:
        collector.add_unchecked_reason("there is no declared table to query")
        return
    columns = table.columns[:MAX_TEST_COLUMNS]
    names = [quote_column_name(column.name) for column in columns]
    select_list = ", ".join(names)
    adql = f"SELECT {select_list} FROM {table.name}"
    top_adql = f"SELECT TOP {TEST_ROW_LIMIT} {select_list} FROM {table.name}"
    top_answer = _run_checked_query(service, collector, top_adql, table.name)
    if top_answer is None:
        return
    row_count = len(top_answer.rows)
    if row_count > TEST_ROW_LIMIT:
        detail = f"{row_count} rows for TOP {TEST_ROW_LIMIT}"
        collector.add_finding("query.top", detail, table=table.name, value=row_count)
    elif top_answer.has_overflow and row_count == TEST_ROW_LIMIT:
        collector.add_finding("query.overflow-wrong", table=table.name)
    answer_columns = [field.name.lower().strip('"') for field in top_answer.fields]
    if answer_columns != [column.comparison_name for column in columns]:
        detail = f"the query selects {select_list}"
        collector.add_finding("query.columns", detail, table=table.name, value=", ".join(answer_columns))
    _check_maxrec_limits(service, collector, adql, table.name)
    _check_count_and_alias_queries(service, collector, table.name, names[0])
    _check_request_parameters(service, collector, top_adql, top_answer)


def _choose_test_table(service: ExaminedTapService) -> DeclaredTable | None:
    """Return TAP_SCHEMA.columns, or the first table of the service if it is not declared."""
    for table in service.list_tables(without_tap_schema=False):
        if table.comparison_name == "tap_schema.columns":
            return table
    return next(iter(service.list_tables()), None)


def _run_checked_query(
    service: ExaminedTapService, collector: FindingCollector, adql: str, table_name: str, maxrec: int | None = None
) -> VOTableDocument | None:
    """Run a query, and check the document against DALI; None if the query fails."""
    try:
        answer = service.send_query(adql, maxrec)
        document = votable.parse_votable(answer.body)
    except NotXmlError as error:
        collector.add_finding("query.failed", f"the query {adql!r} returns no VOTable: {error}", table=table_name)
        return None
    if document.error_message is not None or answer.status != 200:
        detail = f"the query {adql!r} returns status {answer.status}: {document.error_message}"
        collector.add_finding("query.failed", detail, table=table_name)
        return None
    _check_votable_document(answer, document, collector)
    return document


def _check_votable_document(answer: HttpAnswer, document: VOTableDocument, collector: FindingCollector) -> None:
    media = get_media_type(answer)
    if media not in VOTABLE_MEDIA_TYPES:
        collector.add_finding("query.content-type", value=media)
    if document.version not in VOTABLE_VERSIONS:
        collector.add_finding("query.version", value=document.version)
    if document.result_resource_count != 1 or document.table_count != 1:
        detail = f"{document.result_resource_count} of type results, {document.table_count} tables"
        collector.add_finding("query.resource", detail)
    leading_statuses = [value.upper() for name, value, _ in document.leading_infos if name == "QUERY_STATUS"]
    trailing_statuses = [value.upper() for name, value, _ in document.trailing_infos if name == "QUERY_STATUS"]
    if not leading_statuses:
        collector.add_finding("query.status")
    statuses = [*leading_statuses, *trailing_statuses]
    is_repeated = len(leading_statuses) > 1 or len(trailing_statuses) > 1
    is_contradictory = leading_statuses == ["OVERFLOW"] and trailing_statuses == ["OK"]
    if is_repeated or is_contradictory or not QUERY_STATUSES.issuperset(statuses):
        collector.add_finding("query.status-value", value=", ".join(statuses))
    for kind, column, anomaly_text in document.anomalies:
        if kind in {"datatype", "arraysize"}:
            collector.add_finding("query.field", anomaly_text, column=column)


def _check_maxrec_limits(service: ExaminedTapService, collector: FindingCollector, adql: str, table_name: str) -> None:
    limited_answer = _run_checked_query(service, collector, adql, table_name, TEST_ROW_LIMIT)
    if limited_answer is not None:
        row_count = len(limited_answer.rows)
        if row_count > TEST_ROW_LIMIT:
            detail = f"{row_count} rows for MAXREC={TEST_ROW_LIMIT}"
            collector.add_finding("query.maxrec", detail, table=table_name, value=row_count)
        elif row_count == TEST_ROW_LIMIT and not limited_answer.has_overflow:
            total = service.query_number(f"SELECT COUNT(*) AS n FROM {table_name}")
            if total is not None and total > TEST_ROW_LIMIT:
                detail = f"{TEST_ROW_LIMIT} of {total:,} rows"
                query_statuses = ", ".join(limited_answer.list_query_statuses())
                collector.add_finding("query.overflow", detail, table=table_name, value=query_statuses)
    try:
        empty_answer = service.run_query(adql, 0)
    except UserError as error:
        collector.add_finding("query.maxrec-zero", error.message, table=table_name)
        return
    row_count = len(empty_answer.rows)
    if row_count or not empty_answer.fields:
        detail = f"{row_count} rows, {len(empty_answer.fields)} FIELDs"
        collector.add_finding("query.maxrec-zero", detail, table=table_name, value=row_count)


def _check_count_and_alias_queries(
    service: ExaminedTapService, collector: FindingCollector, table_name: str, column_name: str
) -> None:
    try:
        count_answer = service.run_query(f"SELECT COUNT(*) AS n FROM {table_name}")
    except UserError as error:
        collector.add_finding("query.count", error.message, table=table_name)
    else:
        names = [field.name.lower() for field in count_answer.fields]
        rows = count_answer.rows
        if names != ["n"] or len(rows) != 1 or not isinstance(rows[0][0], int):
            collector.add_finding("query.count", table=table_name, value=rows[:1])
    condition = f"(t.{column_name} IS NOT NULL AND NOT (t.{column_name} LIKE 'zz%')) OR t.{column_name} IN ('a', 'b')"
    adql = f"SELECT TOP 2 t.{column_name} AS first_one FROM {table_name} AS t WHERE {condition} ORDER BY first_one"
    try:
        alias_answer = service.run_query(adql, 2)
    except UserError as error:
        collector.add_finding("query.boolean", error.message, table=table_name, value=condition)
        return
    names = [field.name for field in alias_answer.fields]
    if [name.lower() for name in names] != ["first_one"]:
        detail = "the query has the alias first_one"
        collector.add_finding("query.columns", detail, table=table_name, value=", ".join(names))


def _check_request_parameters(
    service: ExaminedTapService, collector: FindingCollector, adql: str, first_answer: VOTableDocument
) -> None:
    expected_names = [field.name for field in first_answer.fields]
    get_answer = service.send_query(adql, method="GET")
    if _list_answer_column_names(get_answer) != expected_names:
        collector.add_finding("query.get")
    dummy_answer = service.send_query(adql, DUMMY="ignore-me")
    if _list_answer_column_names(dummy_answer) != expected_names:
        collector.add_finding("query.extra-parameter", value="DUMMY=ignore-me")
    lowercase_form = [(name.lower(), value) for name, value in service.build_query_form(adql)]
    lowercase_answer = service.client.send_post(f"{service.url}/sync", lowercase_form)
    if _list_answer_column_names(lowercase_answer) != expected_names:
        collector.add_finding("query.case", value="lang, query")
    unknown_language_answer = service.send_query(adql, LANG="OOBLECK")
    if _list_answer_column_names(unknown_language_answer) is not None:
        collector.add_finding("query.language", value="OOBLECK")
    for version in service.capabilities.adql_versions:
        version_answer = service.send_query(adql, LANG=f"ADQL-{version}")
        if _list_answer_column_names(version_answer) is None:
            collector.add_finding("query.language-version", value=f"ADQL-{version}")


def _list_answer_column_names(answer: HttpAnswer) -> list[str] | None:
    """Return the names of the columns of an answer; None if it is not a VOTable, or reports an error."""
    try:
        document = votable.parse_votable(answer.body)
    except NotXmlError:
        return None
    if document.error_message is not None:
        return None
    return [field.name for field in document.fields]


GROUP = CheckGroup(name="query", title="Queries", checks=QUERY_CHECKS, run=_check_sync_queries)
