"""Run ADQL at a TAP service elsewhere; the result has the interface of a result of this site."""

from __future__ import annotations

import io
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from hven.formats import ResultStatus
from hven.formats.votable import read_votable
from hven.model.errors import UserError
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from hven.formats import InfoElement, TableMetadata, TableStream
    from hven.model.deadlines import Deadline
    from hven.model.table import Column
    from hven.sources.http_client import HttpAnswer

QUERY_TIMEOUT_SECONDS = 120.0
MAX_RESPONSE_BYTES = 2 * 1024**3
MAX_REDIRECTS = 5
REDIRECT_STATUSES = {301, 302, 303, 307, 308}
METHOD_KEEPING_STATUSES = {307, 308}  # redirects that keep POST and its form; the others become GET


@dataclass(slots=True, kw_only=True)
class RemoteQueryResult:
    """The result of a remote query. Like a `QueryResult`, it is iterated once before `build_status` is called.

    Attributes
    ----------
    table_stream
        The table that the service sends.
    row_count
        Number of rows that were read.
    columns
        Columns of the table.
    deadline
        Always None: the time of the request is limited.
    """

    table_stream: TableStream
    row_count: int = 0
    columns: tuple[Column, ...] = field(default=())
    deadline: Deadline | None = None

    def iterate_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows."""
        for batch in self.table_stream.batches:
            self.row_count += batch.num_rows
            yield batch

    @property
    def overflow(self) -> bool:
        """Whether the service cut the result; known after the last batch."""
        infos = self.table_stream.metadata.infos
        return any(info.name == "QUERY_STATUS" and info.value.upper() == "OVERFLOW" for info in infos)

    def build_metadata(self, infos: tuple[InfoElement, ...]) -> TableMetadata:
        """Return the metadata of the service, for a format that writes the status itself.

        Parameters
        ----------
        infos
            INFO elements that replace the status of the service.
        """
        remote_metadata = self.table_stream.metadata
        replaced_names = {"QUERY_STATUS", "QUERY"}
        remote_infos = tuple(info for info in remote_metadata.infos if info.name.upper() not in replaced_names)
        return replace(remote_metadata, infos=(*infos, *remote_infos), includes_query_status=True)

    def build_status(self) -> ResultStatus:
        """Return the number of rows, and whether there are more."""
        return ResultStatus(row_count=self.row_count, overflow=self.overflow)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        batches = self.table_stream.batches
        if isinstance(batches, Generator):
            batches.close()


def run_remote_query(url: str, adql: str, maxrec: int | None) -> RemoteQueryResult:
    """Send a query to ``URL/sync``, and read the VOTable of the answer.

    Parameters
    ----------
    url
        Address of a TAP service.
    adql
        The query.
    maxrec
        Maximum number of rows; None: that of the service.

    Returns
    -------
    result
        Columns and rows; it is iterated once.

    Raises
    ------
    UserError
        The service cannot be reached, is not a TAP service, or refuses the query. The message is that of the service.
    """
    form = [("REQUEST", "doQuery"), ("LANG", "ADQL"), ("QUERY", adql), ("FORMAT", "votable")]
    if maxrec is not None:
        form.append(("MAXREC", str(maxrec)))
    address = url.rstrip("/").removesuffix("/sync") + "/sync"
    response = _send_tap_form("POST", address, form)
    for _ in range(MAX_REDIRECTS):
        if response.status not in REDIRECT_STATUSES or not response.location:
            break
        if response.status in METHOD_KEEPING_STATUSES:
            response = _send_tap_form("POST", response.location, form)
        else:
            response = _send_tap_form("GET", response.location, ())
    try:
        table_stream = read_votable(io.BytesIO(response.body))
    except UserError as error:
        raise _build_remote_query_error(address, response, error) from None
    columns = tuple(table_stream.metadata.columns)
    return RemoteQueryResult(table_stream=table_stream, columns=columns)


def _send_tap_form(method: str, address: str, form: Sequence[tuple[str, str]]) -> HttpAnswer:
    # allow_private: the user typed the address, so it may be inside the institute's network
    return http_client.send_request_once(
        method,
        address,
        form_fields=form,
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
        byte_limit=MAX_RESPONSE_BYTES,
        allow_private=True,
    )


def _build_remote_query_error(address: str, response: HttpAnswer, error: UserError) -> UserError:
    """Build the error for an answer without a readable table, from the words of the service or its status."""
    if response.status == 200:
        return UserError(f"{address}: {error.message}", remedy=error.remedy)
    message = f"HTTP {response.status}"
    if b"VOTABLE" in response.body[:4000]:
        message = error.message
    remedy = ""
    if response.status == 404:
        remedy = "give the address of a TAP service, without /sync"
    return UserError(f"{address}: {message}", remedy=remedy)
