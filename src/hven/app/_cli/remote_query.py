"""ADQL asked of a TAP service elsewhere: the answer has the shape that one of our own has."""

from __future__ import annotations

import io
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from hven.formats import End
from hven.formats.votable import read
from hven.model.errors import UserError
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from hven.formats import Head, Info, Read
    from hven.model.clock import Clock
    from hven.model.table import Column

SECONDS, LARGEST = 120.0, 2 * 1024**3
HOPS = 5


@dataclass(slots=True, kw_only=True)
class Remote:
    """An answer from elsewhere, as `query.Result`: iterate `batches` once, then ask `end`."""

    read: Read
    rows: int = 0
    columns: tuple[Column, ...] = field(default=())
    clock: Clock | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows."""
        for batch in self.read.batches:
            self.rows += batch.num_rows
            yield batch

    @property
    def overflow(self) -> bool:
        """True if the service cut the answer; known after the last batch."""
        return any(info.name == "QUERY_STATUS" and info.value.upper() == "OVERFLOW" for info in self.read.head.infos)

    def head(self, infos: tuple[Info, ...]) -> Head:
        """Describe it as the service does, for a format that writes the status itself."""
        given = self.read.head
        theirs = tuple(info for info in given.infos if info.name.upper() not in {"QUERY_STATUS", "QUERY"})
        return replace(given, infos=(*infos, *theirs), status=True)

    def end(self) -> End:
        """Return the number of rows, and whether there are more."""
        return End(rows=self.rows, overflow=self.overflow)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.read.batches.close() if isinstance(self.read.batches, Generator) else None


def ask(url: str, text: str, maxrec: int | None) -> Remote:
    """Ask ``URL/sync`` and read the VOTable that it gives.

    Raises
    ------
    UserError
        It cannot be reached, it is no TAP service, or it refuses the query: with its own words.
    """
    form = [
        ("REQUEST", "doQuery"),
        ("LANG", "ADQL"),
        ("QUERY", text),
        ("FORMAT", "votable"),
        *([("MAXREC", str(maxrec))] if maxrec is not None else []),
    ]
    address = url.rstrip("/").removesuffix("/sync") + "/sync"
    # whoever types an address may ask it, also in the house's own network
    answer = remote.exchange("POST", address, form=form, seconds=SECONDS, limit=LARGEST, allow_private=True)
    for _ in range(HOPS):
        if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
            break
        again = answer.status in {307, 308}
        answer = remote.exchange(
            "POST" if again else "GET",
            answer.location,
            form=form if again else (),
            seconds=SECONDS,
            limit=LARGEST,
            allow_private=True,
        )
    try:
        found = read(io.BytesIO(answer.body))
    except UserError as error:
        if answer.status == 200:
            raise UserError(f"{address}: {error.message}", remedy=error.remedy) from None
        said = error.message if b"VOTABLE" in answer.body[:4000] else f"HTTP {answer.status}"
        raise UserError(
            f"{address}: {said}",
            remedy="is this the address of a TAP service, without /sync?" if answer.status == 404 else "",
        ) from None
    return Remote(read=found, columns=tuple(found.head.columns))
