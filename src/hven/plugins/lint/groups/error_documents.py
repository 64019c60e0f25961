"""Group error: errors are reported as DALI defines it.

The answer is a VOTable with QUERY_STATUS ERROR and a message for people. It does not show internals of the service.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.plugins.lint import votable
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.client import get_media_type
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.xml_documents import NotXmlError

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import ExaminedTapService
    from hven.sources.http_client import HttpAnswer

ERROR_CHECKS = parse_lint_checks("""
error.success | error | TAP 1.1 sec. 2.7; DALI 1.1 sec. 4.4.2 | E_DSUC
    a query with a mistake succeeds
    respond with an error document
error.document | error | TAP 1.1 sec. 3.3; DALI 1.1 sec. 4.2 | E_DFSF E_DFIO
    an error is reported neither as a VOTable nor as plain text
    write a VOTable with QUERY_STATUS ERROR
error.status | error | DALI 1.1 sec. 4.4 | E_DNST E_DQUS E_EST1 E_RRES
    an error document has no QUERY_STATUS ERROR in a RESOURCE of type results
    write <INFO name="QUERY_STATUS" value="ERROR">message</INFO>
error.message | warning | DALI 1.1 sec. 4.4 | W_NOMS
    an error has no message
    state what is wrong, where it is, and what would be right
error.table | warning | DALI 1.1 sec. 4.4 | W_HSTB
    an error document has a TABLE
    leave out the TABLE
error.http-status | warning | DALI 1.1 sec. 4.2
    a user error is reported with the status of a server error
    respond with 400 (or 200)
error.inside | warning | OWASP ASVS 4.0 sec. 7.4
    an error message shows internals of the service
    show users only the message, and write the rest into the log
error.missing-query | error | TAP 1.1 sec. 2.7; DALI 1.1 sec. 3.1
    a request without QUERY succeeds
    respond with an error
""")
INTERNALS_PATTERN = re.compile(
    r"Traceback \(most recent call|\bat [\w.$]+\([\w]+\.java:\d+\)|org\.postgresql|PSQLException"
    r"|\.py\", line \d+|Stack trace:"
)


def _check_error_answers(service: ExaminedTapService, collector: FindingCollector) -> None:
    table_names = [table.name for table in service.list_tables(without_tap_schema=False)]
    table_name = table_names[0] if table_names else "TAP_SCHEMA.tables"
    wrong_queries = (
        ("syntax", "SELECT FROM WHERE"),
        ("table", "SELECT TOP 1 * FROM no_such_schema.no_such_table"),
        ("column", f"SELECT TOP 1 no_such_column FROM {table_name}"),
    )
    for mistake, adql in wrong_queries:
        _check_error_answer(collector, service.send_query(adql, 1), "error.success", f"{mistake}: {adql}")
    answer = service.client.send_post(f"{service.url}/sync", [("REQUEST", "doQuery"), ("LANG", "ADQL")])
    _check_error_answer(collector, answer, "error.missing-query", "")


def _check_error_answer(collector: FindingCollector, answer: HttpAnswer, code: str, detail: str) -> None:
    text = answer.body.decode("utf-8", "replace")
    media = get_media_type(answer)
    if answer.status >= 500 and answer.status != 503:
        collector.add_finding("error.http-status", detail, value=answer.status)
    internals_match = INTERNALS_PATTERN.search(text)
    if internals_match is not None:
        collector.add_finding("error.inside", detail, value=internals_match[0])
    if media == "text/plain":
        if answer.status < 400:
            collector.add_finding("error.status", f"plain text with status {answer.status}", value=text)
        elif not text.strip():
            collector.add_finding("error.message", detail)
        return
    try:
        document = votable.parse_votable(answer.body)
    except NotXmlError as error:
        document_detail = f"{media or 'no media type'}, status {answer.status}: {error}"
        collector.add_finding("error.document", document_detail, value=text[:80])
        return
    if document.error_message is None:
        if answer.status >= 400 or not document.fields:
            query_statuses = ", ".join(document.list_query_statuses())
            collector.add_finding("error.status", detail, value=query_statuses or "none")
        else:
            collector.add_finding(code, detail)
        return
    if document.result_resource_count != 1:
        detail = f"it has {document.result_resource_count} RESOURCE elements of type results instead of one"
        collector.add_finding("error.status", detail)
    if not document.error_message:
        collector.add_finding("error.message", detail)
    if document.table_count:
        collector.add_finding("error.table", detail)


GROUP = CheckGroup(name="error", title="Error documents", checks=ERROR_CHECKS, run=_check_error_answers)
