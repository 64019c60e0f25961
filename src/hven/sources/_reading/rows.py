"""Rows of text files in batches: what delimited and fixed-width text do alike, once it is known how records look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import BeforeValidator

from hven.errors import Place, SourceError
from hven.sources import FILE_FACTS, ROW, Context, Pin
from hven.sources._reading.delimited import Parsed, Shape, rejects_of, run
from hven.sources._reading.files import DataFile, FileOptions, assemble, check_names, data_files, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources._reading.text import TextFile


def _nulls(value: object) -> object:
    if isinstance(value, (str, int, float)):
        value = [value]
    if isinstance(value, list):
        value = {"*": value}
    if isinstance(value, dict):
        return {str(key): [str(word) for word in (words if isinstance(words, list) else [words])] for key, words in value.items()}
    return value


Nulls = Annotated[dict[str, list[str]], BeforeValidator(_nulls)]


class TextRows:
    """The rows of one or more text files."""

    def __init__(self, options: FileOptions, context: Context) -> None:
        self.context = context
        self.files = data_files(options, context.directory)

    # -- what a kind says --------------------------------------------------------------------

    def _names(self) -> list[str]:
        """Give all columns' names."""
        raise NotImplementedError

    def _start(self, file: DataFile, real: Sequence[str]) -> tuple[TextFile, Shape]:
        """Open a file, stand at its first record, and say how records look."""
        raise NotImplementedError

    def _declared(self) -> Mapping[str, Any]:
        """Give the columns whose type somebody said: the others were guessed."""
        raise NotImplementedError

    # -- the contract ------------------------------------------------------------------------

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows file by file."""
        names = check_names(columns, self._names(), self.files[0].name)
        real = [name for name in names if name != ROW and name not in FILE_FACTS]
        left = limit
        for file in self.files:
            for batch in self._file_batches(file, names, real):
                part = batch if left is None else batch.slice(0, left)
                for at in range(0, part.num_rows, self.context.batch):
                    yield part.slice(at, self.context.batch)
                if left is not None:
                    left -= part.num_rows
                    if left <= 0:
                        return

    def pins(self) -> list[Pin]:
        """Name the files with their checksums."""
        return [file.pin() for file in self.files]

    def size(self) -> int:
        """Count the bytes on disk."""
        return total(self.files)

    def done(self) -> int:
        """Count the bytes on disk read so far."""
        return sum(file.progress for file in self.files)

    # -- how ---------------------------------------------------------------------------------

    def _file_batches(self, file: DataFile, names: Sequence[str], real: Sequence[str]) -> Iterator[pa.RecordBatch]:
        text, shape = self._start(file, real)
        first = 1
        try:
            for parsed in run(text.blocks(), shape, real, file.name):
                self._report(parsed, first, file)
                number: pa.Array | int = first if parsed.positions is None else pa.array(parsed.positions + first, pa.int64())
                if parsed.good:
                    yield assemble(names, parsed.arrays, parsed.good, number, file)
                first += parsed.total
        finally:
            text.close()

    def _report(self, parsed: Parsed, first: int, file: DataFile) -> None:
        if not parsed.rejects:
            return
        declared = {**self.context.wanted, **self._declared()}
        for reject in rejects_of(parsed, first, file.name, declared):
            if self.context.reject is None:
                where = f"row {reject.row}" + (f", column {reject.column}: {reject.value!r} is" if reject.column else ":")
                raise SourceError(f"{where} {reject.reason}", place=Place(file=file.name))
            self.context.reject(reject)
