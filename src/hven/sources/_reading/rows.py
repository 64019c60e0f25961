"""Rows of text files in batches: what delimited and fixed-width text do alike, once it is known how records look."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import BeforeValidator

from hven.model.errors import Place, SourceError
from hven.sources._reading.delimited import Parsed, Shape, rejects_of, report_respelt, report_rounded, run
from hven.sources._reading.filerows import FileRows
from hven.sources._reading.files import DataFile, assemble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources._reading.text import TextFile


def _nulls(value: object) -> object:
    if isinstance(value, (str, int, float)):
        value = [value]
    if isinstance(value, list):
        value = {"*": value}
    if isinstance(value, dict):
        return {
            str(key): [str(word) for word in (words if isinstance(words, list) else [words])]
            for key, words in value.items()
        }
    return value


Nulls = Annotated[dict[str, list[str]], BeforeValidator(_nulls)]


def words_of(nulls: Mapping[str, Sequence[str]], name: str) -> tuple[str, ...]:
    """List the words that stand for no value in a column."""
    return (*nulls.get("*", ()), *nulls.get(name, ()))


class TextRows(FileRows):
    """The rows of one or more text files."""

    @abstractmethod
    def _start(self, file: DataFile, real: Sequence[str]) -> tuple[TextFile, Shape]:
        """Open a file, stand at its first record, and return how records look."""

    @abstractmethod
    def _declared(self) -> Mapping[str, Any]:
        """Return the columns whose type somebody said: the others were guessed."""

    def _rows(
        self, file: DataFile, names: Sequence[str], real: Sequence[str], _limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        text, shape = self._start(file, real)
        first = 1
        try:
            for parsed in run(text.blocks(), shape, real, file.name):
                self._report(parsed, first, file)
                if not parsed.arrays:  # given up in the middle of it
                    at = first + parsed.rejects[0][0]
                    raise SourceError(
                        f"from row {at} on rows have too few or too many fields", place=Place(file=file.name)
                    )
                number: pa.Array | int = (
                    first if parsed.positions is None else pa.array(parsed.positions + first, pa.int64())
                )
                if parsed.good:
                    yield assemble(names, parsed.arrays, parsed.good, number, file)
                first += parsed.total
        finally:
            text.close()

    def _report(self, parsed: Parsed, first: int, file: DataFile) -> None:
        report_rounded(parsed, first, file.name, self.context.report)
        if parsed.respelt:
            report_respelt(parsed, first, file.name, self._declared(), self.context.report)
        if not parsed.rejects:
            return
        declared = {**self.context.wanted, **self._declared()}
        for reject in rejects_of(parsed, first, file.name, declared):
            if self.context.reject is None:
                where = f"row {reject.row}" + (
                    f", column {reject.column}: {reject.value!r} is" if reject.column else ":"
                )
                raise SourceError(f"{where} {reject.reason}", place=Place(file=file.name))
            self.context.reject(reject)
