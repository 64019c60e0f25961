"""Requests with files: forms of browsers, and bodies of programs."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from hven import services
from hven.model.errors import ForbiddenError, ParamError, StorageError, TooLargeError, format_message
from hven.plugins.entries.contribution_requests import MAX_TOKEN_CHARACTERS, read_contribution
from hven.plugins.submissions.file_checkers import MAX_SHEET_BYTES
from hven.plugins.submissions.staging import SentFile, download_sent_file
from hven.plugins.submissions.submission_section_keys import get_upload_limit
from hven.services.addresses import is_cross_site_change_request
from hven.services.api.threads import call_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.requests import Request

    from hven.portal.api.pages import PageContext

MAX_SENT_FILES = 1_000  # in one request
MAX_FIELD_BYTES = 64 * 1024  # of a form field beside files
MAX_NUMBER_DIGITS = 15  # of a file or a row: the store takes no longer ones
ROWS_NAME = "rows.json"  # of the file with the rows of a request
MULTIPART_MEDIA_TYPE = "multipart/form-data"
FORM_MEDIA_TYPES = {"application/x-www-form-urlencoded", "application/json"}
_COPY_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class FileUploadRequest:
    """The files of a request, in a directory that exists as long as the request, and its other fields."""

    files: list[SentFile] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    is_json: bool = False


@asynccontextmanager
async def read_file_upload_request(page_context: PageContext) -> AsyncIterator[FileUploadRequest]:
    """Read a request that sends files: a form, the address of a file, rows as JSON, or the file as the body.

    Parameters
    ----------
    page_context
        The request of a page.

    Raises
    ------
    ForbiddenError
        A page of another site sent it, or the address leads inwards.
    TooLargeError, ParamError
        It is too large, or cannot be read.
    """
    request = page_context.request
    settings = page_context.context.site.settings
    byte_limit = get_upload_limit(settings)
    if is_cross_site_change_request(request, settings):
        raise ForbiddenError("the request comes from a page on another site", remedy="use the form on this page")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with tempfile.TemporaryDirectory(prefix="hven-submission-", ignore_cleanup_errors=True) as directory_name:
        directory = Path(directory_name)
        try:
            if media_type == MULTIPART_MEDIA_TYPE:
                file_request = await _read_form(request, directory, byte_limit)
            elif media_type in FORM_MEDIA_TYPES:
                contribution = await read_contribution(page_context, MAX_SHEET_BYTES)
                file_request = FileUploadRequest(texts=dict(contribution.texts), is_json=contribution.is_json)
                if contribution.rows is not None:
                    rows_path = directory / ROWS_NAME
                    rows_path.write_bytes(orjson.dumps(contribution.rows))
                    file_request.files.append(SentFile(ROWS_NAME, rows_path))
            else:
                file_request = await _read_body_file(request, directory, byte_limit)
        except TooLargeError as error:
            if media_type in FORM_MEDIA_TYPES:
                raise
            message = format_message("a request may have at most {most:,} bytes", byte_limit)
            raise TooLargeError(message, remedy="send the files in several requests") from error
        except OSError as error:
            message = format_message("the request cannot be stored: {reason}", error.strerror)
            raise StorageError(message, remedy="try again later") from error
        url = file_request.texts.get("url", "").strip()
        if url:
            file_request.files.append(
                # not in the threads that all pages share: the other server may be slow
                await call_in_thread(
                    lambda: download_sent_file(
                        url,
                        directory / "download",
                        byte_limit=byte_limit,
                        allow_private=settings.allow_private,
                    ),
                    is_remote=True,
                )
            )
        file_request.texts.setdefault("token", request.headers.get("idempotency-key", ""))
        etag = request.headers.get("if-match", "").strip().removeprefix("W/").strip('"')
        file_request.texts.setdefault("etag", etag)
        if len(file_request.texts["token"]) > MAX_TOKEN_CHARACTERS:
            message = format_message("an Idempotency-Key may have at most {most} characters", MAX_TOKEN_CHARACTERS)
            raise ParamError(message, remedy="send a UUID")
        yield file_request


async def _read_form(request: Request, directory: Path, byte_limit: int) -> FileUploadRequest:
    file_request = FileUploadRequest()
    chunks: AsyncGenerator[bytes, None] = services.read_chunks(request, byte_limit)
    parser = MultiPartParser(request.headers, chunks, max_files=MAX_SENT_FILES, max_part_size=MAX_FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        message = format_message("the form cannot be read: {message}", error.message)
        raise ParamError(message, remedy="send at most 1,000 files in one request, or a ZIP archive") from None
    try:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                file_request.texts[name.lower()] = value
            elif value.filename:  # browsers send an empty part if no file was chosen
                path = directory / str(len(file_request.files))
                await anyio.to_thread.run_sync(_copy_upload, value, path)
                file_request.files.append(SentFile(value.filename, path))
    finally:
        await form.close()
    return file_request


def _copy_upload(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        while chunk := upload.file.read(_COPY_CHUNK_BYTES):
            file.write(chunk)


async def _read_body_file(request: Request, directory: Path, byte_limit: int) -> FileUploadRequest:
    name = request.query_params.get("filename", "")
    path = directory / "body"
    size = 0
    async with await anyio.open_file(path, "wb") as file:
        async for chunk in services.read_chunks(request, byte_limit):
            size += len(chunk)
            await file.write(chunk)
    file_request = FileUploadRequest(is_json=True)
    if size:
        media_type = request.headers.get("content-type", "").lower()
        names = {"zip": "archive.zip", "text/csv": "rows.csv"}
        name = name or next((found for word, found in names.items() if word in media_type), "")
        if not name:
            raise ParamError("the file has no name", remedy="add `filename=NAME` to the address")
        file_request.files.append(SentFile(name, path))
    return file_request


def group_row_values(values: Any) -> dict[int, dict[str, Any]]:
    """Group values of rows by the numbers of the rows.

    Parameters
    ----------
    values
        Number of a row -> column -> value, as JSON has it; or ``ROW.COLUMN`` -> text, as forms have it.

    Raises
    ------
    ParamError
        A name is none of these.
    """
    grouped: dict[int, dict[str, Any]] = {}
    for name, value in (values or {}).items():
        number_text, _, column = str(name).partition(".")
        is_number = number_text.isdecimal() and len(number_text) <= MAX_NUMBER_DIGITS
        if not is_number or (not column and not isinstance(value, dict)):
            message = format_message("{name!r:.80} does not identify a value of a row", name)
            raise ParamError(message, remedy="send an object that maps each row number to the values of the row")
        row_values = grouped.setdefault(int(number_text), {})
        if column:
            row_values[column] = value
        else:
            row_values |= value
    return grouped
