"""The contract of sources as tests: subclass `SourceContract`, give it options and what must come out."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from hven import plugins
from hven.errors import SourceError
from hven.model.types import from_arrow
from hven.sources import FILE_FACTS, ROW, Context, Pin, Reject, Source

if TYPE_CHECKING:
    from pathlib import Path


class SourceContract:
    r"""What every source keeps.

    pytest collects subclasses whose names begin with ``Test``::

        class TestMine(SourceContract):
            kind = "mine"

            def make(self, directory):
                (directory / "a.mine").write_text("1 2\\n")
                return {"files": "a.mine"}

            rows = [{"a": 1, "b": 2}]

    Attributes
    ----------
    kind
        Name of the kind.
    rows
        All rows that `make` prepares, as dictionaries, in order.
    has_files
        True if `FILE_FACTS` have values and pins have checksums.
    """

    kind: ClassVar[str]
    rows: ClassVar[list[dict[str, Any]]]
    has_files: ClassVar[bool] = True

    def make(self, directory: Path) -> dict[str, Any]:
        """Put files into the directory, and give the options."""
        raise NotImplementedError

    def context(self, directory: Path) -> Context:
        """Give the surroundings; override it to add secrets or a query."""
        return Context(directory=directory)

    def source(self, directory: Path, **changes: Any) -> Source:
        """Open the source."""
        module = plugins.load("sources", self.kind)
        options = module.Options.model_validate(self.make(directory))
        opened: Source = module.open(options, replace(self.context(directory), **changes))
        return opened

    @staticmethod
    def table(source: Source, columns: list[str] | None = None, limit: int | None = None) -> pa.Table:
        """Read all batches."""
        return pa.Table.from_batches(list(source.batches(columns, limit)))

    def test_rows_are_those_that_were_put_in(self, tmp_path: Path) -> None:
        """All rows, in order, with the names that `columns` gives."""
        source = self.source(tmp_path)
        assert [column.name for column in source.columns()] == list(self.rows[0])
        assert self.table(source).to_pylist() == self.rows

    def test_batches_have_the_types_that_columns_say(self, tmp_path: Path) -> None:
        """Types of the stream are those of `columns`, for every batch."""
        source = self.source(tmp_path)
        said = {column.name: column.type.arrow for column in source.columns()}
        for batch in source.batches():
            assert {item.name: item.type for item in batch.schema} == said
            assert all(from_arrow(item.type) for item in batch.schema)

    def test_columns_are_chosen_and_ordered(self, tmp_path: Path) -> None:
        """Only the asked ones come, in the asked order, with row numbers from 1."""
        source = self.source(tmp_path)
        last = list(self.rows[0])[-1]
        found = self.table(source, [last, ROW])
        assert found.column_names == [last, ROW]
        assert found.column(last).to_pylist() == [row[last] for row in self.rows]
        assert found.column(ROW).to_pylist() == list(range(1, len(self.rows) + 1))
        assert found.schema.field(ROW).type == pa.int64()

    def test_unknown_columns_are_refused(self, tmp_path: Path) -> None:
        """A name that is not there is an error that tells the name."""
        source = self.source(tmp_path)
        try:
            list(source.batches(["no such column"]))
        except SourceError as error:
            assert "no such column" in str(error)  # noqa: PT017
        else:
            raise AssertionError("a name that is not there was accepted")

    def test_a_limit_ends_the_stream(self, tmp_path: Path) -> None:
        """`limit` rows come, no more."""
        assert self.table(self.source(tmp_path), limit=1).to_pylist() == self.rows[:1]

    def test_batches_are_no_larger_than_asked(self, tmp_path: Path) -> None:
        """With batches of one row, all rows still come."""
        source = self.source(tmp_path, batch=1)
        batches = list(source.batches())
        assert sum(batch.num_rows for batch in batches) == len(self.rows)

    def test_a_source_can_be_read_again(self, tmp_path: Path) -> None:
        """A second pass gives the same rows: ingest looks before it reads."""
        source = self.source(tmp_path)
        assert self.table(source, limit=1).num_rows == 1
        assert self.table(source).to_pylist() == self.rows

    def test_a_stream_can_be_left_early(self, tmp_path: Path) -> None:
        """Closing the generator leaves nothing open (pytest turns unclosed files into errors)."""
        stream = self.source(tmp_path).batches()
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        gc.collect()

    def test_pins_say_what_was_read(self, tmp_path: Path) -> None:
        """After the last batch the pins are complete."""
        source = self.source(tmp_path)
        self.table(source)
        pins = source.pins()
        assert pins
        assert all(isinstance(pin, Pin) and pin.name for pin in pins)
        if self.has_files:
            assert all(pin.sha256 and len(pin.sha256) == 64 for pin in pins)
        size = source.size()
        assert size is None or size >= 0
        done = getattr(source, "done", None)
        if callable(done) and size is not None:
            assert done() == size

    def test_file_facts(self, tmp_path: Path) -> None:
        """Every row knows its file; sources without files give nulls."""
        found = self.table(self.source(tmp_path), list(FILE_FACTS))
        assert found.num_rows == len(self.rows)
        filled = found.column("file.name").null_count == 0
        assert filled == self.has_files
        if self.has_files:
            assert found.schema.field("file.size").type == pa.int64()
            assert found.schema.field("file.mtime").type == pa.timestamp("us")
            assert all((tmp_path / path).exists() for path in found.column("file.path").to_pylist())

    def test_rejects_have_a_place(self, tmp_path: Path) -> None:
        """Good data are not refused."""
        refused: list[Reject] = []
        self.table(self.source(tmp_path, reject=refused.append))
        assert refused == []


__all__ = ["SourceContract"]
