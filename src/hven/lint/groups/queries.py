"""Group query: answers of /sync, their VOTables (DALI), limits and overflows, and the parameters that TAP defines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.lint import votable
from hven.lint.check_groups import CheckGroup
from hven.lint.client import get_media_type
from hven.lint.findings import FindingCollector, build_checks
from hven.lint.tap_service import quote_column_name
from hven.lint.xml_documents import NotXmlError
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.tap_service import ExaminedTapService
    from hven.lint.votable import VOTableDocument
    from hven.sources.http_client import HttpAnswer

DALI_SOURCE = "DALI 1.1 sec. 4.4"
QUERY_CHECKS = build_checks(
    (
        "query.failed",
        "error",
        "TAP 1.1 sec. 2.7",
        "a plain query fails",
        "see the service's own message",
        "E_QERR E_QERX",
    ),
    (
        "query.get",
        "error",
        "TAP 1.1 sec. 2.2; DALI 1.1 sec. 2",
        "GET and POST of the same query do not give the same",
        "treat both alike",
        "",
    ),
    (
        "query.content-type",
        "error",
        "TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3",
        "a VOTable is not sent as one",
        "send application/x-votable+xml or text/xml",
        "E_VOCT W_NOCT",
    ),
    (
        "query.version",
        "error",
        "TAP 1.1 sec. 2.7.3",
        "the VOTable's version is too old or not said",
        "write VOTable 1.2 or later",
        "E_VVLO I_VVNL",
    ),
    (
        "query.resource",
        "error",
        DALI_SOURCE,
        "the answer does not have one RESOURCE of type results with one TABLE",
        'write <RESOURCE type="results"> once',
        "E_RRES E_TTOO",
    ),
    (
        "query.status",
        "error",
        DALI_SOURCE,
        "there is no QUERY_STATUS before the table",
        'write <INFO name="QUERY_STATUS" value="OK"/> first',
        "E_NOST",
    ),
    (
        "query.status-value",
        "error",
        DALI_SOURCE,
        "QUERY_STATUS has an unknown or contradictory value",
        "OK, ERROR or OVERFLOW",
        "E_DQUM E_QST1 E_QST2 W_DQU2",
    ),
    ("query.field", "error", "VOTable 1.4 sec. 4", "a FIELD's datatype or arraysize is none", "use VOTable's", ""),
    (
        "query.maxrec",
        "error",
        "TAP 1.1 sec. 2.7.4; DALI 1.1 sec. 3.4.4",
        "more rows than MAXREC",
        "cut at MAXREC",
        "E_NREC",
    ),
    (
        "query.overflow",
        "error",
        "TAP 1.1 sec. 2.7.4; DALI 1.1 sec. 4.4.1",
        "rows were cut and nothing says so",
        "write QUERY_STATUS OVERFLOW behind the table",
        "E_OVNO",
    ),
    (
        "query.overflow-wrong",
        "warning",
        "DALI 1.1 sec. 4.4.1",
        "an overflow is told where TOP alone cut the rows",
        "tell OVERFLOW only for MAXREC",
        "",
    ),
    (
        "query.maxrec-zero",
        "warning",
        "TAP 1.1 sec. 2.7.4",
        "MAXREC=0 does not give an empty table with its FIELDs",
        "answer with metadata and OVERFLOW",
        "",
    ),
    ("query.top", "error", "ADQL 2.1 sec. 2.2", "more rows than TOP", "keep TOP", "E_NROW E_RRTO"),
    (
        "query.columns",
        "error",
        "TAP 1.1 sec. 2.7.3; ADQL 2.1 sec. 2.2",
        "the columns are not those that were asked for, in their order",
        "keep names and order; aliases name FIELDs",
        "E_MCOL E_CNAM",
    ),
    (
        "query.count",
        "error",
        "ADQL 2.1 sec. 2.2",
        "COUNT(*) does not give one integer",
        "answer with one row and one integer column",
        "E_NO11 E_NONM E_NRER",
    ),
    (
        "query.case",
        "error",
        "DALI 1.1 sec. 3.1",
        "parameter names are compared with case",
        "compare names without case",
        "",
    ),
    (
        "query.extra-parameter",
        "error",
        "DALI 1.1 sec. 3.1",
        "a parameter that nobody knows changes the answer",
        "ignore it",
        "E_SPPA W_SPPA",
    ),
    (
        "query.language",
        "warning",
        "TAP 1.1 sec. 2.7.1",
        "an unknown LANG is accepted",
        "answer with an error",
        "W_OLNG",
    ),
    (
        "query.language-version",
        "error",
        "TAP 1.1 sec. 2.7.1; TAPRegExt 1.0 sec. 2.2",
        "a declared version of ADQL is refused as LANG",
        "accept LANG=ADQL-2.0 if 2.0 is declared",
        "E_LVER",
    ),
    ("query.boolean", "error", "ADQL 2.1 sec. 2.2", "conditions of plain ADQL fail", "support ADQL's predicates", ""),
)
VOTABLE_MEDIA_TYPES = {"text/xml", "application/xml", "application/x-votable+xml", "text/x-votable+xml"}
TEST_ROW_LIMIT = 3


def _check_queries(service: ExaminedTapService, collector: FindingCollector) -> None:
    table = next(
        (
            column
            for column in service.list_tables(without_tap_schema=False)
            if column.comparison_name == "tap_schema.columns"
        ),
        None,
    ) or next(iter(service.list_tables()), None)
    if table is None or not table.columns:
        collector.add_unjudged("no table is declared that could be asked")
        return
    names = [quote_column_name(column.name) for column in table.columns[:TEST_ROW_LIMIT]]
    adql = f"SELECT {', '.join(names)} FROM {table.name}"
    first_answer = _query_and_check(
        service, collector, adql.replace("SELECT ", f"SELECT TOP {TEST_ROW_LIMIT} ", 1), table.name
    )
    if first_answer is None:
        return
    if len(first_answer.rows) > TEST_ROW_LIMIT:
        collector.add_finding(
            "query.top",
            f"{len(first_answer.rows)} rows for TOP {TEST_ROW_LIMIT}",
            table=table.name,
            value=len(first_answer.rows),
        )
    elif first_answer.has_overflow and len(first_answer.rows) == TEST_ROW_LIMIT:
        collector.add_finding("query.overflow-wrong", table=table.name)
    answer_columns = [column.name.lower().strip('"') for column in first_answer.fields]
    if answer_columns != [column.comparison_name for column in table.columns[:TEST_ROW_LIMIT]]:
        collector.add_finding(
            "query.columns", f"{', '.join(names)} were asked for", table=table.name, value=", ".join(answer_columns)
        )
    _check_limits(service, collector, adql, table.name)
    _check_query_shapes(service, collector, table.name, names[0])
    _check_parameters(service, collector, adql.replace("SELECT ", f"SELECT TOP {TEST_ROW_LIMIT} ", 1), first_answer)


def _query_and_check(
    service: ExaminedTapService, collector: FindingCollector, adql: str, table_name: str, maxrec: int | None = None
) -> VOTableDocument | None:
    """Ask, and check the document against DALI."""
    try:
        answer = service.send_query(adql, maxrec)
        document = votable.parse_votable(answer.body)
    except NotXmlError as error:
        collector.add_finding("query.failed", f"{adql} gives no VOTable: {error}", table=table_name)
        return None
    if document.error_message is not None or answer.status != 200:
        collector.add_finding(
            "query.failed", f"{adql} gives status {answer.status}: {document.error_message}", table=table_name
        )
        return None
    _check_document(answer, document, collector)
    return document


def _check_document(answer: HttpAnswer, document: VOTableDocument, collector: FindingCollector) -> None:
    media = get_media_type(answer)
    if media not in VOTABLE_MEDIA_TYPES:
        collector.add_finding("query.content-type", value=media)
    if document.version not in {"1.2", "1.3", "1.4", "1.5", "1.6"}:
        collector.add_finding("query.version", value=document.version)
    if document.result_resource_count != 1 or document.table_count != 1:
        collector.add_finding(
            "query.resource", f"{document.result_resource_count} of type results, {document.table_count} tables"
        )
    if not any(name == "QUERY_STATUS" for name, _, _ in document.leading_infos):
        collector.add_finding("query.status")
    leading_statuses = [value.upper() for name, value, _ in document.leading_infos if name == "QUERY_STATUS"]
    trailing_statuses = [value.upper() for name, value, _ in document.trailing_infos if name == "QUERY_STATUS"]
    unknown_statuses = [
        query_status
        for query_status in leading_statuses + trailing_statuses
        if query_status not in {"OK", "ERROR", "OVERFLOW"}
    ]
    if (
        unknown_statuses
        or len(leading_statuses) > 1
        or len(trailing_statuses) > 1
        or (leading_statuses == ["OVERFLOW"] and trailing_statuses == ["OK"])
    ):
        collector.add_finding("query.status-value", value=", ".join(leading_statuses + trailing_statuses))
    for kind, column, anomaly_text in document.anomalies:
        if kind in {"datatype", "arraysize"}:
            collector.add_finding("query.field", anomaly_text, column=column)


def _check_limits(service: ExaminedTapService, collector: FindingCollector, adql: str, table_name: str) -> None:
    limited_answer = _query_and_check(service, collector, adql, table_name, TEST_ROW_LIMIT)
    if limited_answer is not None:
        if len(limited_answer.rows) > TEST_ROW_LIMIT:
            collector.add_finding(
                "query.maxrec",
                f"{len(limited_answer.rows)} rows for MAXREC={TEST_ROW_LIMIT}",
                table=table_name,
                value=len(limited_answer.rows),
            )
        elif len(limited_answer.rows) == TEST_ROW_LIMIT and not limited_answer.has_overflow:
            total = service.query_number(f"SELECT COUNT(*) AS n FROM {table_name}")
            if total is not None and total > TEST_ROW_LIMIT:
                collector.add_finding(
                    "query.overflow",
                    f"{TEST_ROW_LIMIT} of {total:,} rows",
                    table=table_name,
                    value=", ".join(limited_answer.list_query_statuses()),
                )
    try:
        empty_answer = service.run_query(adql, 0)
    except UserError as error:
        collector.add_finding("query.maxrec-zero", error.message, table=table_name)
    else:
        if empty_answer.rows or not empty_answer.fields:
            collector.add_finding(
                "query.maxrec-zero",
                f"{len(empty_answer.rows)} rows, {len(empty_answer.fields)} FIELDs",
                table=table_name,
                value=len(empty_answer.rows),
            )


def _check_query_shapes(
    service: ExaminedTapService, collector: FindingCollector, table_name: str, column_name: str
) -> None:
    try:
        count_answer = service.run_query(f"SELECT COUNT(*) AS n FROM {table_name}")
    except UserError as error:
        collector.add_finding("query.count", error.message, table=table_name)
    else:
        if (
            len(count_answer.rows) != 1
            or [answer_field.name.lower() for answer_field in count_answer.fields] != ["n"]
            or not isinstance(count_answer.rows[0][0], int)
        ):
            collector.add_finding("query.count", table=table_name, value=count_answer.rows[:1])
    condition = f"(t.{column_name} IS NOT NULL AND NOT (t.{column_name} LIKE 'zz%')) OR t.{column_name} IN ('a', 'b')"
    try:
        alias_answer = service.run_query(
            f"SELECT TOP 2 t.{column_name} AS first_one FROM {table_name} AS t WHERE {condition} ORDER BY first_one", 2
        )
    except UserError as error:
        collector.add_finding("query.boolean", error.message, table=table_name, value=condition)
    else:
        if [answer_field.name.lower() for answer_field in alias_answer.fields] != ["first_one"]:
            collector.add_finding(
                "query.columns",
                "the alias first_one was asked for",
                table=table_name,
                value=", ".join(answer_field.name for answer_field in alias_answer.fields),
            )


def _check_parameters(
    service: ExaminedTapService, collector: FindingCollector, adql: str, first_answer: VOTableDocument
) -> None:
    def list_answer_columns(answer: HttpAnswer) -> list[str] | None:
        try:
            document = votable.parse_votable(answer.body)
        except NotXmlError:
            return None
        if document.error_message is not None:
            return None
        return [answer_field.name for answer_field in document.fields]

    expected_names = [answer_field.name for answer_field in first_answer.fields]
    if list_answer_columns(service.send_query(adql, method="GET")) != expected_names:
        collector.add_finding("query.get")
    if list_answer_columns(service.send_query(adql, DUMMY="ignore-me")) != expected_names:
        collector.add_finding("query.extra-parameter", value="DUMMY=ignore-me")
    lowercase_form = [(name.lower(), value) for name, value in service.build_query_form(adql)]
    if list_answer_columns(service.client.send_post(f"{service.url}/sync", lowercase_form)) != expected_names:
        collector.add_finding("query.case", value="lang, query")
    if list_answer_columns(service.send_query(adql, LANG="OOBLECK")) is not None:
        collector.add_finding("query.language", value="OOBLECK")
    for version in service.capabilities.adql_versions:
        answer = service.send_query(adql, LANG=f"ADQL-{version}")
        if list_answer_columns(answer) is None:
            collector.add_finding("query.language-version", value=f"ADQL-{version}")


GROUP = CheckGroup(name="query", title="Queries", checks=QUERY_CHECKS, run=_check_queries)
