"""Group output: each declared output format is delivered, under its media type, and is what it says."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

from hven.plugins.lint import votable
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.client import get_media_type
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.xml_documents import NotXmlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.plugins.lint.tap_service import ExaminedTapService
    from hven.sources.http_client import HttpAnswer

OUTPUT_CHECKS = parse_lint_checks("""
output.failed | error | TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3
    a declared output format is rejected
    serve it, or do not declare it
output.media-type | error | TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3
    a format that is requested by its media type is sent with a different media type
    respond with the requested media type
output.unreadable | error | TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3
    a response is not in the format of its media type
    send the format that the media type names
output.serialization | warning | TAPRegExt 1.0 sec. 2.3
    a VOTable does not use the serialisation of the declared format
    use the serialisation that the ivo-id specifies
output.unknown | warning | TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3
    an output format that does not exist is accepted
    respond with an error
""")
MAX_FORMATS = 20
SERIALIZATION_MARKS = {
    "output-votable-td": b"<TABLEDATA",
    "output-votable-binary2": b"<BINARY2",
    "output-votable-binary": b"<BINARY>",
}


def _check_output_formats(service: ExaminedTapService, collector: FindingCollector) -> None:
    outputs = service.capabilities.output_formats
    tables = service.list_tables()
    for declared_table in service.list_tables(without_tap_schema=False):
        if declared_table.comparison_name == "tap_schema.tables":
            tables.insert(0, declared_table)
    table = next(iter(tables), None)
    if not outputs or table is None:
        collector.add_unchecked_reason("no output formats, or no tables, are declared")
        return
    adql = f"SELECT TOP 2 {table.columns[0].name if table.columns else '*'} FROM {table.name}"
    tried_media_types = set()
    for mime, _, ivoid in outputs[:MAX_FORMATS]:
        if mime in tried_media_types:
            continue
        tried_media_types.add(mime)
        if service.is_tap_1_0:
            answer = service.send_query(adql, 2, RESPONSEFORMAT=mime, FORMAT=mime)
        else:
            answer = service.send_query(adql, 2, RESPONSEFORMAT=mime)
        _check_output_answer(collector, mime, ivoid, answer)
    answer = service.send_query(adql, 2, RESPONSEFORMAT="application/x-no-such-format")
    if answer.status == 200 and b'value="ERROR"' not in answer.body and b"value='ERROR'" not in answer.body:
        collector.add_finding("output.unknown", value=answer.headers.get("content-type"))


def _check_output_answer(collector: FindingCollector, mime: str, ivoid: str, answer: HttpAnswer) -> None:
    base = mime.partition(";")[0].strip().lower()
    content_type = get_media_type(answer)
    is_error = answer.status != 200 or re.search(rb"QUERY_STATUS[\"'] value=[\"']ERROR", answer.body[:5000])
    if is_error:
        collector.add_finding("output.failed", f"status {answer.status}", value=mime)
        return
    if content_type != base:
        collector.add_finding("output.media-type", f"{mime} was requested", value=content_type)
    checks = [check for word, check in BODY_CHECKS.items() if word in (content_type or base)]
    check_body = next(iter(checks), None)
    if check_body is None:
        return
    problem = check_body(answer.body)
    if problem:
        collector.add_finding("output.unreadable", f"{content_type}: {problem}", value=answer.body[:60])
        return
    serialization_mark = SERIALIZATION_MARKS.get(ivoid.lower().rpartition("#")[2])
    if serialization_mark is not None and serialization_mark not in answer.body and b"<DATA" in answer.body:
        collector.add_finding("output.serialization", ivoid, value=mime)


def _find_votable_fault(body: bytes) -> str:
    try:
        document = votable.parse_votable(body)
    except NotXmlError as error:
        return str(error)
    if document.fields:
        return ""
    return "no FIELDs"


def _build_separated_text_check(separator: str) -> Callable[[bytes], str]:
    def find_text_fault(body: bytes) -> str:
        try:
            rows = list(csv.reader(io.StringIO(body.decode("utf-8")), delimiter=separator, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            return str(error)
        if not rows:
            return "there is no header"
        if all(len(row) == len(rows[0]) for row in rows if row):
            return ""
        return "rows are not as long as the header"

    return find_text_fault


def _find_json_fault(body: bytes) -> str:
    try:
        json.loads(body)
    except ValueError as error:
        return str(error)
    return ""


def _build_magic_bytes_check(magic_bytes: bytes) -> Callable[[bytes], str]:
    return lambda body: "" if body.startswith(magic_bytes) else f"it does not begin with {magic_bytes!r}"


BODY_CHECKS: dict[str, Callable[[bytes], str]] = {
    "votable": _find_votable_fault,
    "text/xml": _find_votable_fault,
    "application/xml": _find_votable_fault,
    "text/csv": _build_separated_text_check(","),
    "tab-separated": _build_separated_text_check("\t"),
    "json": _find_json_fault,
    "fits": _build_magic_bytes_check(b"SIMPLE  ="),
    "parquet": _build_magic_bytes_check(b"PAR1"),
}

GROUP = CheckGroup(name="output", title="Output formats", checks=OUTPUT_CHECKS, run=_check_output_formats)
