"""Show the results of a job in short: its pictures, the ends of its logs, and the first rows of its table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.model.errors import NotFoundError
from hven.portal.api.pages import TemplateContext
from hven.portal.api.table_rows import build_column_headings, format_cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.jobs.job_service import JobService
    from hven.model.table import Table
    from hven.portal.api.page_rows import RowPage
    from hven.site.store import JobRecord

MAX_LOG_BYTES = 8192  # that are read from the end of a log
MAX_LOG_LINES = 40
MAX_PREVIEWS = 6  # pictures, and logs
MAX_PREVIEW_ROWS = 20  # of a table
_TERMINAL_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """The last lines of a result that is plain text.

    Attributes
    ----------
    name, address
        The id of the result, and the address of the whole text.
    text
        The lines.
    is_cut
        Whether the text has more lines.
    """

    name: str
    address: str
    text: str
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPreview(TemplateContext):
    """The results of a job, as far as they can be shown.

    Attributes
    ----------
    job_id, phase
        The job and its phase.
    pictures
        Id and address of each result that is a picture.
    logs
        The ends of the results that are plain text.
    columns, rows
        Headings and first rows of the first result that is a table.
    has_more
        Whether the table has more rows.
    """

    template = "query_pages/job_preview.html"
    job_id: str
    phase: str
    pictures: Sequence[tuple[str, str]]
    logs: Sequence[LogEnd]
    columns: Sequence[object]
    rows: Sequence[object]
    has_more: bool


def build_job_preview(
    job_service: JobService, job: JobRecord, job_address: str, first_rows: tuple[RowPage, Table] | None
) -> JobPreview:
    """Describe the results of a job, as far as they can be shown.

    Parameters
    ----------
    job_address
        The address of the job for programs.
    first_rows
        The first rows of its table; None if it has none.
    """
    columns: Sequence[object] = ()
    rows: Sequence[object] = ()
    if first_rows is not None:
        columns = build_column_headings(*first_rows)
        rows = format_cells(*first_rows)
    return JobPreview(
        job_id=job.id,
        phase=job.phase,
        pictures=find_pictures(job, job_address),
        logs=read_log_ends(job_service, job, job_address),
        columns=columns,
        rows=rows,
        has_more=first_rows is not None and first_rows[0].has_more,
    )


def find_pictures(job: JobRecord, job_address: str) -> Sequence[tuple[str, str]]:
    """Find id and address of the first results of a job that are pictures."""
    names = [item["id"] for item in job.results if str(item["media_type"]).startswith("image/")]
    return [(name, _build_result_address(job_address, name)) for name in names[:MAX_PREVIEWS]]


def read_log_ends(job_service: JobService, job: JobRecord, job_address: str) -> Sequence[LogEnd]:
    """Read the last lines of the first results of a job that are plain text."""
    log_ends = []
    names = [item["id"] for item in job.results if str(item["media_type"]).startswith("text/plain")]
    for name in names[:MAX_PREVIEWS]:
        try:
            text, is_cut = _read_last_lines(job_service.find_result_file(job, name)[0])
        except (NotFoundError, OSError):  # destroyed a moment ago
            continue
        log_ends.append(LogEnd(name=name, address=_build_result_address(job_address, name), text=text, is_cut=is_cut))
    return log_ends


def _build_result_address(job_address: str, result_name: str) -> str:
    return f"{job_address}/results/{quote(result_name)}"


def _read_last_lines(path: Path) -> tuple[str, bool]:
    """Read the last lines of a text as a terminal would show them, and whether there are more lines."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - MAX_LOG_BYTES))
        text = file.read(MAX_LOG_BYTES).decode(errors="replace")
    lines = _TERMINAL_CONTROL.sub("", text).replace("\r\n", "\n").rstrip("\n").split("\n")
    if size > MAX_LOG_BYTES and len(lines) > 1:
        del lines[0]  # its beginning was not read
    # a bar of progress is written again and again on one line
    last_lines = [line.rpartition("\r")[2] for line in lines[-MAX_LOG_LINES:]]
    return "\n".join(last_lines), size > MAX_LOG_BYTES or len(lines) > MAX_LOG_LINES
