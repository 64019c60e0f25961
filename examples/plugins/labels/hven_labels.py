"""Kind `labels` of sources: one row for each label file (``KEY = VALUE``, then ``END``); a kind of one's own that reads files, whole in this file."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field

from hven.model.table import Column
from hven.model.types import STRING
from hven.sources import Context, FileKind, Reject
from hven.sources.whole_files import DataFile, FileOptions, WholeFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 1 << 20  # bytes of a label
FILES = FileKind(endings=("lbl",), begins=rb"[A-Z_]+ *=")


class Options(FileOptions):
    """What a descriptor says, beside `files` and `ignore`."""

    keys: list[str] = Field(description="The keys that become columns.", min_length=1)


class Labels(WholeFiles):
    """The rows."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.keys = options.keys

    def columns(self) -> list[Column]:
        """Say what is there."""
        return [Column(name=key, type=STRING) for key in self.keys]

    def rows(self, file: DataFile) -> Iterator[pa.RecordBatch]:
        """Read one label."""
        with closing(file.open()) as stream:
            text = stream.read(LARGEST).decode(errors="replace")
        label, end, _ = text.partition("\nEND")
        if not end:
            if self.context.reject is not None:
                self.context.reject(
                    Reject(
                        file=file.name,
                        row=None,
                        column=None,
                        value=None,
                        reason="the label has no END",
                        text=text[:200],
                    )
                )
            return
        found = {
            key.strip(): value.strip().strip('"')
            for key, _, value in (line.partition("=") for line in label.splitlines())
        }
        yield pa.record_batch({key: pa.array([found.get(key)], pa.string()) for key in self.keys})


def open(options: Options, context: Context) -> Labels:  # noqa: A001  (the contract's word)
    """Open them."""
    return Labels(options, context)
