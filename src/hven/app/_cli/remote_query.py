"""ADQL asked of a TAP service elsewhere: the answer has the shape that one of our own has."""

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
    from collections.abc import Iterator

    import pyarrow as pa

    from hven.formats import InfoElement, TableMetadata, TableStream
    from hven.model.deadlines import Deadline
    from hven.model.table import Column

QUERY_TIMEOUT_SECONDS, MAX_RESPONSE_BYTES = 120.0, 2 * 1024**3
MAX_REDIRECTS = 5


@dataclass(slots=True, kw_only=True)
class RemoteResult:
    """An answer from elsewhere, as a `QueryResult`: iterate `iterate_batches` once, then ask `build_status`."""

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
        """True if the service cut the answer; known after the last batch."""
        return any(
            info.name == "QUERY_STATUS" and info.value.upper() == "OVERFLOW"
            for info in self.table_stream.metadata.infos
        )

    def build_metadata(self, infos: tuple[InfoElement, ...]) -> TableMetadata:
        """Describe it as the service does, for a format that writes the status itself."""
        remote_metadata = self.table_stream.metadata
        remote_infos = tuple(
            info for info in remote_metadata.infos if info.name.upper() not in {"QUERY_STATUS", "QUERY"}
        )
        return replace(remote_metadata, infos=(*infos, *remote_infos), includes_query_status=True)

    def build_status(self) -> ResultStatus:
        """Return the number of rows, and whether there are more."""
        return ResultStatus(row_count=self.row_count, overflow=self.overflow)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.table_stream.batches.close() if isinstance(self.table_stream.batches, Generator) else None


def run_remote_query(url: str, adql: str, maxrec: int | None) -> RemoteResult:
    """Ask ``URL/sync`` and read the VOTable that it gives.

    Raises
    ------
    UserError
        It cannot be reached, it is no TAP service, or it refuses the query: with its own words.
    """
    form = [
        ("REQUEST", "doQuery"),
        ("LANG", "ADQL"),
        ("QUERY", adql),
        ("FORMAT", "votable"),
        *([("MAXREC", str(maxrec))] if maxrec is not None else []),
    ]
    address = url.rstrip("/").removesuffix("/sync") + "/sync"
    # whoever types an address may ask it, also in the house's own network
    response = http_client.send_request_once(
        "POST",
        address,
        form_fields=form,
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
        byte_limit=MAX_RESPONSE_BYTES,
        allow_private=True,
    )
    for _ in range(MAX_REDIRECTS):
        if response.status not in {301, 302, 303, 307, 308} or not response.location:
            break
        keep_method = response.status in {307, 308}
        form_fields = form if keep_method else ()
        response = http_client.send_request_once(
            "POST" if keep_method else "GET",
            response.location,
            form_fields=form_fields,
            timeout_seconds=QUERY_TIMEOUT_SECONDS,
            byte_limit=MAX_RESPONSE_BYTES,
            allow_private=True,
        )
    try:
        table_stream = read_votable(io.BytesIO(response.body))
    except UserError as error:
        if response.status == 200:
            raise UserError(f"{address}: {error.message}", remedy=error.remedy) from None
        if b"VOTABLE" in response.body[:4000]:
            message = error.message
        else:
            message = f"HTTP {response.status}"
        raise UserError(
            f"{address}: {message}",
            remedy="is this the address of a TAP service, without /sync?" if response.status == 404 else "",
        ) from None
    columns = tuple(table_stream.metadata.columns)
    return RemoteResult(table_stream=table_stream, columns=columns)
