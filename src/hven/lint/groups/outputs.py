"""Group output: each declared output format is delivered, under its media type, and is what it says."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

from hven.lint import votable
from hven.lint.documents import NotXml
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.lint.service import Service
    from hven.sources.remote import Answer

SOURCE = "TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3"
CHECKS = table_of_checks(
    ("output.failed", "error", SOURCE, "a declared output format is refused", "deliver it, or do not declare it", ""),
    ("output.media-type", "error", SOURCE, "a format that was asked for by media type comes under another", "answer with the media type that was asked for", ""),
    ("output.unreadable", "error", SOURCE, "an answer is not in the format that it says", "write what the media type promises", ""),
    ("output.serialization", "warning", "TAPRegExt 1.0 sec. 2.3", "a VOTable does not have the serialisation that its format stands for", "write what the ivo-id stands for", ""),
    ("output.unknown", "warning", SOURCE, "an output format that does not exist is accepted", "answer with an error", ""),
)  # fmt: skip
MOST = 20
SERIALS = {
    "output-votable-td": b"<TABLEDATA",
    "output-votable-binary2": b"<BINARY2",
    "output-votable-binary": b"<BINARY>",
}


def _run(service: Service, notes: Notes) -> None:
    outputs = service.capabilities.outputs
    table = next((one for one in service.tables(own=False) if one.key == "tap_schema.tables"), None) or next(
        iter(service.tables()), None
    )
    if not outputs or table is None:
        notes.skip("no output formats, or no tables, are declared")
        return
    adql = f"SELECT TOP 2 {table.columns[0].name if table.columns else '*'} FROM {table.name}"
    seen = set()
    for mime, _, ivoid in outputs[:MOST]:
        if mime in seen:
            continue
        seen.add(mime)
        answer = (
            service.raw(adql, 2, RESPONSEFORMAT=mime, FORMAT=mime)
            if service.old
            else service.raw(adql, 2, RESPONSEFORMAT=mime)
        )
        _judge(notes, mime, ivoid, answer)
    answer = service.raw(adql, 2, RESPONSEFORMAT="application/x-no-such-format")
    if answer.status == 200 and b'value="ERROR"' not in answer.body and b"value='ERROR'" not in answer.body:
        notes.tell("output.unknown", value=answer.headers.get("content-type"))


def _judge(notes: Notes, mime: str, ivoid: str, answer: Answer) -> None:
    base = mime.partition(";")[0].strip().lower()
    said = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_error = answer.status != 200 or re.search(rb"QUERY_STATUS[\"'] value=[\"']ERROR", answer.body[:5000])
    if is_error:
        notes.tell("output.failed", f"status {answer.status}", value=mime)
        return
    if said != base:
        notes.tell("output.media-type", f"{mime} was asked for", value=said)
    reader = next((read for word, read in READERS.items() if word in (said or base)), None)
    if reader is None:
        return
    problem = reader(answer.body)
    if problem:
        notes.tell("output.unreadable", f"{said}: {problem}", value=answer.body[:60])
        return
    mark = SERIALS.get(ivoid.lower().rpartition("#")[2])
    if mark is not None and mark not in answer.body and b"<DATA" in answer.body:
        notes.tell("output.serialization", ivoid, value=mime)


def _votable(body: bytes) -> str:
    try:
        found = votable.read(body)
    except NotXml as error:
        return str(error)
    return "" if found.fields else "no FIELDs"


def _separated(separator: str) -> Callable[[bytes], str]:
    def read(body: bytes) -> str:
        try:
            rows = list(csv.reader(io.StringIO(body.decode("utf-8")), delimiter=separator, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            return str(error)
        if not rows:
            return "there is no header"
        return "" if all(len(row) == len(rows[0]) for row in rows if row) else "rows are not as long as the header"

    return read


def _json(body: bytes) -> str:
    try:
        json.loads(body)
    except ValueError as error:
        return str(error)
    return ""


def _begins(mark: bytes) -> Callable[[bytes], str]:
    return lambda body: "" if body.startswith(mark) else f"it does not begin with {mark!r}"


READERS: dict[str, Callable[[bytes], str]] = {
    "votable": _votable, "text/xml": _votable, "application/xml": _votable, "text/csv": _separated(","), "tab-separated": _separated("\t"),
    "json": _json, "fits": _begins(b"SIMPLE  ="), "parquet": _begins(b"PAR1"),
}  # fmt: skip

GROUP = Group(name="output", title="Output formats", checks=CHECKS, run=_run)
