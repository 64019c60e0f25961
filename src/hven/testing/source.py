"""The contract of sources as tests: subclass `SourceContract`, give it options and what must come out."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pytest

from hven.model import plugins
from hven.model.errors import SourceError
from hven.model.types import from_arrow
from hven.sources import (
    FILE_FACTS,
    ROW,
    Blocks,
    Context,
    Counts,
    FileWise,
    Pages,
    Picks,
    Pin,
    Reject,
    Since,
    Source,
    listing,
)
from hven.testing._hard_values import NUMBERS, unexplained

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
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
    key
        Columns that name a row, for sources that are read by a key.
    has_files
        True if `FILE_FACTS` have values and pins have checksums.
    """

    kind: ClassVar[str]
    rows: ClassVar[list[dict[str, Any]]]
    key: ClassVar[list[str]] = []
    has_files: ClassVar[bool] = True

    def make(self, directory: Path) -> dict[str, Any]:
        """Write the files of a source and return its options; a subclass must write it.

        Parameters
        ----------
        directory
            An empty one, beside which the descriptor would stand.

        Returns
        -------
        options
            As under ``source:`` in a descriptor, without ``kind``.
        """
        raise NotImplementedError

    def make_numbers(self, directory: Path, values: Sequence[object]) -> dict[str, Any] | None:
        """Write one column of numbers called ``v`` and return the options of its source; override it in whatever carries numbers.

        Parameters
        ----------
        directory
            An empty one.
        values
            Whole numbers, floats with infinities and NaN, and None for what is missing.

        Returns
        -------
        options
            As of `make`. None: the source carries no numbers of its own (the test is skipped), or cannot write these.
        """
        del directory, values
        return None

    def context(self, directory: Path) -> Context:
        """Return the surroundings in which the source is opened; override it to add secrets or a query.

        Parameters
        ----------
        directory
            Where `make` wrote.
        """
        return Context(directory=directory)

    def source(self, directory: Path, **changes: Any) -> Source:
        """Make and open the source.

        Parameters
        ----------
        directory
            Where `make` writes.
        changes
            Attributes of `hven.sources.Context` that differ from those of `context`.

        Returns
        -------
        source
            As its module's `open` made it.
        """
        module = plugins.load("sources", self.kind)
        options = module.Options.model_validate(self.make(directory))
        opened: Source = module.open(options, replace(self.context(directory), **changes))
        return opened

    @staticmethod
    def table(source: Source, columns: list[str] | None = None, limit: int | None = None) -> pa.Table:
        """Read all batches of a source into one table.

        Parameters
        ----------
        source
            An open one.
        columns
            Names of the only columns to read, None: all.
        limit
            Largest number of rows to ask for, None: all.

        Returns
        -------
        rows
            In the order of the source.
        """
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
        """Only the asked ones come, in the asked order, with row numbers from 1, in each file or over all."""
        source = self.source(tmp_path)
        last = list(self.rows[0])[-1]
        found = self.table(source, [last, ROW, "file.path"])
        assert found.column_names == [last, ROW, "file.path"]
        assert found.column(last).to_pylist() == [row[last] for row in self.rows]
        files = found.column("file.path").to_pylist()
        whole, alone = [*range(1, len(files) + 1)], [files[:at].count(file) + 1 for at, file in enumerate(files)]
        assert found.column(ROW).to_pylist() in (whole, alone)
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
        if isinstance(source, Counts) and size is not None:
            assert source.done() == size

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

    # --- what only some sources can: asked of those that can ------------------------------------------------------

    def test_files_are_told_and_can_be_read_alone(self, tmp_path: Path) -> None:
        """Files have names that their rows know, sizes and times; the rows of some of them are those rows of the whole."""
        source = self.source(tmp_path)
        if not isinstance(source, FileWise):
            assert not self.has_files
            return
        listed = source.listed()
        names = listed.column("name").to_pylist()
        assert len(set(names)) == len(names)
        assert listed.schema == listing([]).schema
        assert not listed.column("bytes").null_count
        assert all(moment and moment.endswith("Z") for moment in listed.column("modified").to_pylist())
        whole = self.table(source, [*self.rows[0], "file.path"]).to_pylist()
        assert {row["file.path"] for row in whole} <= set(names)
        said = source.columns()
        for chosen in (names[:1], names[1:], [*names, "no such file"]):
            part = source.only(chosen)
            assert part.columns() == said
            assert [*_rows(part, [*self.rows[0], "file.path"])] == [row for row in whole if row["file.path"] in chosen]
        assert list(source.only([]).batches()) == []

    def test_a_changed_file_is_told(self, tmp_path: Path) -> None:
        """Two changes within one second are two."""
        source = self.source(tmp_path)
        if not isinstance(source, FileWise):
            return
        (first, *_) = source.listed().to_pylist()
        seen = {first["modified"]}
        for moment in (1_700_000_000_000_000_001, 1_700_000_000_000_000_002):
            os.utime(tmp_path / first["name"], ns=(moment, moment))
            seen.add(source.listed().column("modified")[0].as_py())
        assert len(seen) == 3

    def test_what_is_newer_or_unknown_comes(self, tmp_path: Path) -> None:
        """Of every column that can be a watermark: rows with that value or more, and those without one."""
        source = self.source(tmp_path)
        if not isinstance(source, Since):
            return
        assert not source.narrow("no such column")
        asked = 0
        for name in self.rows[0]:
            if not source.narrow(name):
                continue
            values = [row[name] for row in self.rows if row[name] is not None]
            for value in dict.fromkeys(values):
                part = source.since(name, value)
                assert part.columns() == source.columns()
                expected = [row for row in self.rows if row[name] is None or row[name] >= value]
                assert _sorted(_rows(part, list(self.rows[0]))) == _sorted(expected), (name, value)
                asked += 1
            assert _sorted(_rows(source.since(name, None), list(self.rows[0]))) == _sorted(self.rows)
        assert asked

    def test_a_watermark_that_cannot_be_sent_is_refused(self, tmp_path: Path) -> None:
        """`since` does not read something else instead."""
        source = self.source(tmp_path)
        if isinstance(source, Since):
            try:
                source.since("LOWER(no_such_column)", 1)
            except SourceError as error:
                assert "no_such_column" in str(error)  # noqa: PT017
            else:
                raise AssertionError("a watermark that cannot be sent was accepted")

    def test_rows_of_some_keys_come(self, tmp_path: Path) -> None:
        """Of every column that is no array: the rows whose value is asked for; null is one."""
        source = self.source(tmp_path)
        if not isinstance(source, Picks):
            return
        kinds = {column.name: column.type for column in source.columns()}
        names = [name for name in self.rows[0] if not kinds[name].is_array]
        schema = {name: kinds[name].arrow for name in names}
        for chosen in (names[:1], names):
            for rows in (self.rows[:1], self.rows[-1:], self.rows):
                keys = pa.Table.from_pylist(
                    [{name: row[name] for name in chosen} for row in rows], pa.schema([(n, schema[n]) for n in chosen])
                )
                wanted = keys.to_pylist()
                expected = [row for row in self.rows if {name: row[name] for name in chosen} in wanted]
                assert _sorted(_rows(source.pick(chosen, keys), list(self.rows[0]))) == _sorted(expected)
        assert list(source.pick(names[:1], keys.slice(0, 0).select(names[:1])).batches()) == []

    def test_pages_can_be_gone_on_with(self, tmp_path: Path) -> None:
        """Pages together are all rows, and behind each of them come the others, once."""
        source = self.source(tmp_path, key=self.key, page=1)
        if not isinstance(source, Pages):
            return
        assert self.key
        pages = [(batch.to_pylist(), place) for batch, place in source.pages()]
        seen = [row for rows, _ in pages for row in rows]
        assert _sorted(seen) == _sorted(self.rows)
        assert any(place for _, place in pages)
        for number, (_, place) in enumerate(pages):
            if place:
                again = self.source(tmp_path, key=self.key, page=1)
                assert isinstance(again, Pages)
                before = [row for rows, _ in pages[: number + 1] for row in rows]
                after = [row for batch, _ in again.pages(after=place) for row in batch.to_pylist()]
                assert _sorted([*before, *after]) == _sorted(self.rows)

    def test_blocks_are_summed_up(self, tmp_path: Path) -> None:
        """Blocks have all rows, the same checksum at each look, and each block gives its own rows."""
        source = self.source(tmp_path)
        if not isinstance(source, Blocks):
            return
        assert self.key
        found = source.blocks(self.key, list(self.rows[0]))
        assert found is not None
        again = self.source(tmp_path)
        assert isinstance(again, Blocks)
        assert _sorted(again.blocks(self.key, list(self.rows[0])).to_pylist()) == _sorted(found.to_pylist())  # type: ignore[union-attr]
        together: list[dict[str, Any]] = []
        for block in found.to_pylist():
            rows = list(_rows(source.block(self.key, [block["block"]]), list(self.rows[0])))
            assert len(rows) == block["rows"]
            together += rows
        assert _sorted(together) == _sorted(self.rows)

    def test_numbers_are_exact_or_reported(self, tmp_path: Path) -> None:
        """Whole numbers beyond 2^53 and 2^63, infinities, NaN and null come out as they are, or the reader says what becomes of them."""
        module = plugins.load("sources", self.kind)
        tried = 0
        for name, values in NUMBERS.items():
            directory = tmp_path / name
            directory.mkdir()
            options = self.make_numbers(directory, values)
            if options is None:
                continue
            tried += 1
            told: list[object] = []
            rejects: list[Reject] = []
            context = replace(self.context(directory), tell=told.append, reject=rejects.append)
            source = module.open(module.Options.model_validate(options), context)
            served = {row[ROW]: row["v"] for batch in source.batches(["v", ROW]) for row in batch.to_pylist()}
            assert unexplained(values, served, told, rejects, "v") == [], name
        if not tried:
            pytest.skip("make_numbers writes none")

    def test_rejects_have_a_place(self, tmp_path: Path) -> None:
        """Good data are not refused."""
        refused: list[Reject] = []
        self.table(self.source(tmp_path, reject=refused.append))
        assert refused == []


def _sorted(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort rows: who is asked for a part may give it in any order."""
    return sorted(rows, key=repr)


def _rows(source: Source, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield rows one by one; of none there is not even a schema."""
    for batch in source.batches(columns):
        yield from batch.to_pylist()


__all__ = ["SourceContract"]
