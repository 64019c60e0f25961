"""Test the contract of sources: subclass `SourceContract`, and give it options and the expected rows."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pytest

from hven.model import plugins
from hven.model.errors import SourceError
from hven.model.types import build_type_from_arrow
from hven.sources import (
    FILE_FACT_COLUMNS,
    ROW_NUMBER_COLUMN,
    BlockChecksumSource,
    FileListSource,
    IncrementalSource,
    InputVersion,
    KeyLookupSource,
    PagedSource,
    ProgressSource,
    RejectedRow,
    Source,
    SourceContext,
    build_file_list,
)
from hven.testing.exactness import HARD_NUMBERS, list_unreported_changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


class SourceContract:
    r"""Test what every source must do.

    pytest collects subclasses whose names begin with ``Test``::

        class TestMine(SourceContract):
            kind = "mine"

            def write_source_files(self, directory):
                (directory / "a.mine").write_text("1 2\\n")
                return {"files": "a.mine"}

            rows = [{"a": 1, "b": 2}]

    Attributes
    ----------
    kind
        Name of the kind.
    rows
        All rows that `write_source_files` prepares, as dictionaries, in order.
    key
        Columns that identify a row, for sources that read by a key.
    has_files
        Whether `FILE_FACT_COLUMNS` have values and pins have checksums.
    """

    kind: ClassVar[str]
    rows: ClassVar[list[dict[str, Any]]]
    key: ClassVar[list[str]] = []
    has_files: ClassVar[bool] = True

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        """Write the files of a source and return its options; a subclass must write it.

        Parameters
        ----------
        directory
            An empty directory, the one of the descriptor.

        Returns
        -------
        options
            As under ``source:`` in a descriptor, without ``kind``.
        """
        raise NotImplementedError

    def write_number_files(self, directory: Path, values: Sequence[object]) -> dict[str, Any] | None:
        """Write one column of numbers called ``v`` and return the options of its source.

        Override it in sources that carry numbers.

        Parameters
        ----------
        directory
            An empty directory.
        values
            Integers, floats with infinities and NaN, and None for missing values.

        Returns
        -------
        options
            As for `write_source_files`. None if the source carries no numbers of its own (the test is skipped), or
            cannot write these.
        """
        del directory, values
        return None

    def build_source_context(self, directory: Path) -> SourceContext:
        """Return the context in which the source is opened; override it to add secrets or a query.

        Parameters
        ----------
        directory
            The directory of `write_source_files`.
        """
        return SourceContext(directory=directory)

    def open_source(self, directory: Path, **context_changes: Any) -> Source:
        """Create and open the source.

        Parameters
        ----------
        directory
            The directory of `write_source_files`.
        context_changes
            Attributes of `hven.sources.SourceContext` that differ from those of `build_source_context`.

        Returns
        -------
        source
            The source that its module's `open` returns.
        """
        module = plugins.load_plugin("sources", self.kind)
        options = module.Options.model_validate(self.write_source_files(directory))
        context = self.build_source_context(directory)
        opened: Source = module.open(options, replace(context, **context_changes))
        return opened

    @staticmethod
    def read_source_table(source: Source, columns: list[str] | None = None, limit: int | None = None) -> pa.Table:
        """Read all batches of a source into one table.

        Parameters
        ----------
        source
            An open source.
        columns
            Names of the columns to read; None for all.
        limit
            Largest number of rows; None for all.

        Returns
        -------
        rows
            The rows in the order of the source.
        """
        batches = source.read_batches(columns, limit)
        return pa.Table.from_batches(list(batches))

    def test_all_rows_are_read_in_order(self, tmp_path: Path) -> None:
        """All rows come in order, with the names that `list_columns` gives."""
        source = self.open_source(tmp_path)
        names = [column.name for column in source.list_columns()]
        assert names == list(self.rows[0])
        assert self.read_source_table(source).to_pylist() == self.rows

    def test_batches_have_the_types_that_columns_say(self, tmp_path: Path) -> None:
        """Every batch has the types that `list_columns` gives."""
        source = self.open_source(tmp_path)
        expected_types = {column.name: column.type.arrow for column in source.list_columns()}
        for batch in source.read_batches():
            batch_types = {item.name: item.type for item in batch.schema}
            assert batch_types == expected_types
            assert all(build_type_from_arrow(item.type) for item in batch.schema)

    def test_columns_are_chosen_and_ordered(self, tmp_path: Path) -> None:
        """Only the requested columns come, in their order, with row numbers from 1, in each file or over all files."""
        source = self.open_source(tmp_path)
        last_name = list(self.rows[0])[-1]
        selected_names = [last_name, ROW_NUMBER_COLUMN, "file.path"]
        selected_rows = self.read_source_table(source, selected_names)
        assert selected_rows.column_names == selected_names
        assert selected_rows.column(last_name).to_pylist() == [row[last_name] for row in self.rows]
        files = selected_rows.column("file.path").to_pylist()
        numbers_over_all = list(range(1, len(files) + 1))
        numbers_by_file = [files[:index].count(file) + 1 for index, file in enumerate(files)]
        row_numbers = selected_rows.column(ROW_NUMBER_COLUMN).to_pylist()
        assert row_numbers in (numbers_over_all, numbers_by_file)
        assert selected_rows.schema.field(ROW_NUMBER_COLUMN).type == pa.int64()

    def test_unknown_columns_are_refused(self, tmp_path: Path) -> None:
        """An unknown name is an error that contains the name."""
        source = self.open_source(tmp_path)
        try:
            list(source.read_batches(["no such column"]))
        except SourceError as error:
            assert "no such column" in str(error)  # noqa: PT017
        else:
            raise AssertionError("an unknown column name was accepted")

    def test_a_row_limit_ends_the_stream(self, tmp_path: Path) -> None:
        """At most `limit` rows come."""
        source = self.open_source(tmp_path)
        assert self.read_source_table(source, limit=1).to_pylist() == self.rows[:1]

    def test_single_row_batches_lose_no_rows(self, tmp_path: Path) -> None:
        """With batches of one row, all rows still come."""
        source = self.open_source(tmp_path, batch_row_limit=1)
        batches = list(source.read_batches())
        assert sum(batch.num_rows for batch in batches) == len(self.rows)

    def test_a_source_can_be_read_again(self, tmp_path: Path) -> None:
        """A second pass gives the same rows, because ingest samples a source before it reads it."""
        source = self.open_source(tmp_path)
        assert self.read_source_table(source, limit=1).num_rows == 1
        assert self.read_source_table(source).to_pylist() == self.rows

    def test_a_stream_can_be_closed_early(self, tmp_path: Path) -> None:
        """Closing the generator leaves nothing open (pytest turns unclosed files into errors)."""
        stream = self.open_source(tmp_path).read_batches()
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        gc.collect()

    def test_input_versions_name_what_was_read(self, tmp_path: Path) -> None:
        """The pins are complete after the last batch."""
        source = self.open_source(tmp_path)
        self.read_source_table(source)
        pins = source.list_input_versions()
        assert pins
        assert all(isinstance(pin, InputVersion) and pin.name for pin in pins)
        if self.has_files:
            assert all(pin.sha256 and len(pin.sha256) == 64 for pin in pins)

    def test_progress_reaches_the_estimated_size(self, tmp_path: Path) -> None:
        """The estimated size is what progress counts at the last batch."""
        source = self.open_source(tmp_path)
        self.read_source_table(source)
        size = source.estimate_progress_total()
        assert size is None or size >= 0
        if isinstance(source, ProgressSource) and size is not None:
            assert source.count_progress_units() == size

    def test_rows_know_their_file(self, tmp_path: Path) -> None:
        """Every row knows its file; sources without files give nulls."""
        source = self.open_source(tmp_path)
        fact_rows = self.read_source_table(source, list(FILE_FACT_COLUMNS))
        assert fact_rows.num_rows == len(self.rows)
        filled = fact_rows.column("file.name").null_count == 0
        assert filled == self.has_files
        if self.has_files:
            assert fact_rows.schema.field("file.size").type == pa.int64()
            assert fact_rows.schema.field("file.mtime").type == pa.timestamp("us")
            paths = fact_rows.column("file.path").to_pylist()
            assert all((tmp_path / path).exists() for path in paths)

    # --- capabilities that only some sources have -----------------------------------------------------------------

    def test_files_are_listed_and_can_be_read_alone(self, tmp_path: Path) -> None:
        """Files have names that their rows know, sizes and times.

        The rows of some files are the rows of the whole source that belong to them.
        """
        source = self.open_source(tmp_path)
        if not isinstance(source, FileListSource):
            assert not self.has_files
            return
        file_list = source.list_files()
        names = file_list.column("name").to_pylist()
        assert len(set(names)) == len(names)
        assert file_list.schema == build_file_list([]).schema
        assert not file_list.column("bytes").null_count
        modification_times = file_list.column("modified").to_pylist()
        assert all(moment and moment.endswith("Z") for moment in modification_times)
        table = self.read_source_table(source, [*self.rows[0], "file.path"])
        all_rows = table.to_pylist()
        assert {row["file.path"] for row in all_rows} <= set(names)
        all_columns = source.list_columns()
        for chosen in (names[:1], names[1:], [*names, "no such file"]):
            part = source.select_files(chosen)
            assert part.list_columns() == all_columns
            expected_rows = [row for row in all_rows if row["file.path"] in chosen]
            assert list(_iterate_source_rows(part, [*self.rows[0], "file.path"])) == expected_rows
        assert list(source.select_files([]).read_batches()) == []

    def test_a_changed_file_has_another_time(self, tmp_path: Path) -> None:
        """Two changes within one second give two different times."""
        source = self.open_source(tmp_path)
        if not isinstance(source, FileListSource):
            return
        (first, *_) = source.list_files().to_pylist()
        times = {first["modified"]}
        for moment in (1_700_000_000_000_000_001, 1_700_000_000_000_000_002):
            os.utime(tmp_path / first["name"], ns=(moment, moment))
            changed_files = source.list_files()
            times.add(changed_files.column("modified")[0].as_py())
        assert len(times) == 3

    def test_a_watermark_selects_newer_and_null_rows(self, tmp_path: Path) -> None:
        """A watermark column gives the rows with the watermark's value or a larger one, and those without a value."""
        source = self.open_source(tmp_path)
        if not isinstance(source, IncrementalSource):
            return
        assert not source.can_filter_by("no such column")
        has_watermark = False
        for name in self.rows[0]:
            if not source.can_filter_by(name):
                continue
            values = [row[name] for row in self.rows if row[name] is not None]
            for value in dict.fromkeys(values):
                part = source.select_since(name, value)
                assert part.list_columns() == source.list_columns()
                expected = [row for row in self.rows if row[name] is None or row[name] >= value]
                self._check_same_rows(part, expected)
                has_watermark = True
            self._check_same_rows(source.select_since(name, None), self.rows)
        assert has_watermark

    def _check_same_rows(self, source: Source, expected: Sequence[dict[str, Any]]) -> None:
        """Compare all columns of a source with the expected rows, in any order."""
        rows = _iterate_source_rows(source, list(self.rows[0]))
        assert _sort_rows(rows) == _sort_rows(expected)

    def test_an_unknown_watermark_column_is_refused(self, tmp_path: Path) -> None:
        """`select_since` refuses a column that it does not know instead of reading something else."""
        source = self.open_source(tmp_path)
        if isinstance(source, IncrementalSource):
            try:
                source.select_since("LOWER(no_such_column)", 1)
            except SourceError as error:
                assert "no_such_column" in str(error)  # noqa: PT017
            else:
                raise AssertionError("a watermark with an unknown column was accepted")

    def test_selected_keys_give_their_rows(self, tmp_path: Path) -> None:
        """Every column that is no array can be a key; null is a key, too."""
        source = self.open_source(tmp_path)
        if not isinstance(source, KeyLookupSource):
            return
        kinds = {column.name: column.type for column in source.list_columns()}
        names = [name for name in self.rows[0] if not kinds[name].is_array]
        schema = {name: kinds[name].arrow for name in names}
        for chosen in (names[:1], names):
            for rows in (self.rows[:1], self.rows[-1:], self.rows):
                key_schema = pa.schema([(name, schema[name]) for name in chosen])
                keys = pa.Table.from_pylist([_select_values(row, chosen) for row in rows], key_schema)
                wanted_keys = keys.to_pylist()
                expected = [row for row in self.rows if _select_values(row, chosen) in wanted_keys]
                self._check_same_rows(source.select_keys(chosen, keys), expected)
        no_keys = keys.slice(0, 0).select(names[:1])
        assert list(source.select_keys(names[:1], no_keys).read_batches()) == []

    def test_reading_resumes_after_each_page(self, tmp_path: Path) -> None:
        """All pages together have all rows, and reading can continue behind each page."""
        source = self.open_source(tmp_path, key_columns=self.key, page_row_limit=1)
        if not isinstance(source, PagedSource):
            return
        assert self.key
        pages = [(batch.to_pylist(), resume_token) for batch, resume_token in source.read_pages()]
        assert any(resume_token for _, resume_token in pages)
        rows_so_far: list[dict[str, Any]] = []
        for page_rows, resume_token in pages:
            rows_so_far += page_rows
            if not resume_token:
                continue
            resumed_source = self.open_source(tmp_path, key_columns=self.key, page_row_limit=1)
            assert isinstance(resumed_source, PagedSource)
            remaining_rows: list[dict[str, Any]] = []
            for batch, _ in resumed_source.read_pages(resume_token=resume_token):
                remaining_rows += batch.to_pylist()
            assert _sort_rows([*rows_so_far, *remaining_rows]) == _sort_rows(self.rows)
        assert _sort_rows(rows_so_far) == _sort_rows(self.rows)

    def test_block_checksums_are_repeatable(self, tmp_path: Path) -> None:
        """A second source computes the same checksums of blocks."""
        source = self.open_source(tmp_path)
        if not isinstance(source, BlockChecksumSource):
            return
        assert self.key
        block_sums = source.compute_block_checksums(self.key, list(self.rows[0]))
        assert block_sums is not None
        second_source = self.open_source(tmp_path)
        assert isinstance(second_source, BlockChecksumSource)
        second_sums = second_source.compute_block_checksums(self.key, list(self.rows[0]))
        assert second_sums is not None
        assert _sort_rows(second_sums.to_pylist()) == _sort_rows(block_sums.to_pylist())

    def test_blocks_give_their_own_rows(self, tmp_path: Path) -> None:
        """Each block gives as many rows as its checksum counts, and all blocks give all rows."""
        source = self.open_source(tmp_path)
        if not isinstance(source, BlockChecksumSource):
            return
        block_sums = source.compute_block_checksums(self.key, list(self.rows[0]))
        assert block_sums is not None
        block_rows: list[dict[str, Any]] = []
        for block in block_sums.to_pylist():
            blocks = source.select_blocks(self.key, [block["block"]])
            rows = list(_iterate_source_rows(blocks, list(self.rows[0])))
            assert len(rows) == block["rows"]
            block_rows += rows
        assert _sort_rows(block_rows) == _sort_rows(self.rows)

    def test_numbers_are_exact_or_reported(self, tmp_path: Path) -> None:
        """Integers beyond 2^53 and 2^63, infinities, NaN and null stay the same, or the reader reports changes."""
        module = plugins.load_plugin("sources", self.kind)
        has_written = False
        for name, values in HARD_NUMBERS.items():
            directory = tmp_path / name
            directory.mkdir()
            options = self.write_number_files(directory, values)
            if options is None:
                continue
            has_written = True
            reports: list[object] = []
            rejects: list[RejectedRow] = []
            context = replace(self.build_source_context(directory), on_notice=reports.append, on_reject=rejects.append)
            source = module.open(module.Options.model_validate(options), context)
            read_values = {}
            for row in _iterate_source_rows(source, ["v", ROW_NUMBER_COLUMN]):
                read_values[row[ROW_NUMBER_COLUMN]] = row["v"]
            assert list_unreported_changes(values, read_values, reports, rejects, "v") == [], name
        if not has_written:
            pytest.skip("write_number_files writes none")

    def test_valid_rows_are_not_rejected(self, tmp_path: Path) -> None:
        """Valid data are not rejected."""
        refused: list[RejectedRow] = []
        self.read_source_table(self.open_source(tmp_path, on_reject=refused.append))
        assert refused == []


def _sort_rows(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort rows, because a source may give a selection in any order."""
    return sorted(rows, key=repr)


def _iterate_source_rows(source: Source, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield rows one by one; without rows, a source may not even have a schema."""
    for batch in source.read_batches(columns):
        yield from batch.to_pylist()


def _select_values(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


__all__ = ["SourceContract"]
