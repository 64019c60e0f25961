"""Kind `labels` of sources: one row for each label file (``KEY = VALUE``, then ``END``); a kind of one's own that reads files, whole in this file."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field

from hven.model.table import Column
from hven.model.types import STRING
from hven.sources import FileKindSignature, RejectedRow, SourceContext
from hven.sources.whole_files import DataFile, FileOptions, WholeFileSource

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 1 << 20  # bytes of a label
FILES = FileKindSignature(extensions=("lbl",), leading_pattern=rb"[A-Z_]+ *=")


class Options(FileOptions):
    """What a descriptor says, beside `files` and `ignore`."""

    keys: list[str] = Field(
        description="The keys that become columns.", min_length=1, examples=[["PRODUCT_ID", "TARGET"]]
    )


class Labels(WholeFileSource):
    """The rows."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self.keys = options.keys

    def list_columns(self) -> list[Column]:
        """Say what is there."""
        return [Column(name=key, type=STRING) for key in self.keys]

    def read_file_batches(self, file: DataFile) -> Iterator[pa.RecordBatch]:
        """Read one label."""
        with closing(file.open_stream()) as stream:
            text = stream.read(LARGEST).decode(errors="replace")
        label, end, _ = text.partition("\nEND")
        if not end:
            if self.context.on_reject is not None:
                self.context.on_reject(
                    RejectedRow(
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


def open(options: Options, context: SourceContext) -> Labels:  # noqa: A001  (the contract's word)
    """Open them."""
    return Labels(options, context)
