"""Make rows of JSON records, wherever these come from: files, or pages of a service."""

from __future__ import annotations

import contextlib
import json
import os
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field

from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import ColumnType, build_type_from_arrow, parse_type
from hven.plugins.json_xml.json_cells import JsonRecordReader, ParsedRecords
from hven.plugins.json_xml.json_records import BLOCK_BYTES
from hven.plugins.json_xml.json_schema import (
    LEAF_CELL,
    LEAF_LIST,
    LEAF_PART,
    LEAF_REGION,
    LEAF_TEXT,
    JsonLeafColumn,
    JsonNodeSummary,
    list_json_columns,
)
from hven.sources import FILE_FACT_COLUMNS, RejectedRow, SourceContext
from hven.sources.api.cells import Nulls, list_null_words
from hven.sources.api.file_rows import FileSource, find_file_fact_type
from hven.sources.api.rows import Texts, build_source_batch, resolve_column_names, split_batches

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from concurrent.futures import Future

    from hven.plugins.json_xml.json_records import JsonDocument, JsonRecordChunk
    from hven.sources.api.rows import DataFile

SAMPLE_BYTES = 8 << 20  # this many bytes of records are sampled to find the columns
MAX_SHOWN_CHARACTERS = 200  # of a value at fault; the whole record is in the rejects file
RECORDS_PER_BLOCK_LOOK = 64  # of each block, which are searched for keys that the sample did not have


def split_dotted_path(value: object) -> object:
    """Split a dotted path into its names."""
    if isinstance(value, str):
        return [part for part in value.split(".") if part]
    return value


class JsonOptions(BaseModel):
    """What a descriptor may state about records, wherever they come from."""

    whole: Texts = Field(
        default_factory=list,
        description=(
            "Paths of objects that become JSON text in one column. Default: objects with more than 400 different keys."
        ),
        examples=[["geometry"]],
    )
    null: Nulls = Field(
        default_factory=dict,
        description=(
            "Words that mark a missing value. Write a list, or one list for each column name (`*` means all columns). "
            "Default: null, empty strings, and NaN in numeric columns."
        ),
        examples=[["N/A"]],
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Types of columns, by their dotted names. Specify a type if Hven guesses it wrongly, or if the key does "
            "not occur in the sample."
        ),
        examples=[{"properties.orbit": "int32"}],
    )


class JsonSource(ABC):
    """The part of a `Source` that makes rows of records; a subclass reads the records, and a sample of them."""

    options: JsonOptions
    context: SourceContext
    _reported: set[str | ReadDeviation]

    @abstractmethod
    def _read_records(self, row_limit: int | None) -> Iterator[tuple[JsonDocument, JsonRecordChunk]]:
        """Read the records from the first one on."""

    @property
    @abstractmethod
    def _sampled_structure(self) -> tuple[JsonNodeSummary, bool]:
        """What the first records hold, and whether there are more."""

    @property
    @abstractmethod
    def _title(self) -> str:
        """The file or service in words, for messages."""

    _element_names: Sequence[str] = ()  # names of the elements, where records are arrays themselves
    _ignored_columns: frozenset[str] = frozenset()  # what a service adds to its records
    _has_unique_keys = False  # True: no object has a key twice

    def list_columns(self) -> list[Column]:
        """List the columns: dotted names, with types that the sample fits or the descriptor states."""
        return [Column(name=leaf.name, type=_find_leaf_type(leaf)) for leaf in self._leaves]

    def _list_column_names(self) -> list[str]:
        return [leaf.name for leaf in self._leaves]

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows; small files share a batch."""
        names = resolve_column_names(column_names, self._list_column_names(), self._title)
        # groups must end before their reader: DuckDB waits for ever if a connection is closed while a query runs
        with (
            self._build_reader(names) as reader,
            contextlib.closing(self._parse_record_groups(reader, row_limit)) as groups,
        ):
            batches = (self._report_and_build_batch(parsed, names) for parsed in groups)
            yield from split_batches(batches, self.context.batch_row_limit, row_limit)

    def _build_reader(self, names: Sequence[str]) -> JsonRecordReader:
        selected_leaves = [leaf for leaf in self._leaves if leaf.name in names]
        kinds = {leaf.name: self._choose_type_for_target(leaf) for leaf in selected_leaves}
        list_column_null_words = partial(list_null_words, self.options.null)
        return JsonRecordReader(
            selected_leaves,
            kinds,
            list_column_null_words,
            self._find_document_crs,
            has_unique_keys=self._has_unique_keys,
        )

    def _find_document_crs(self, document: JsonDocument) -> str | None:  # noqa: ARG002  (a document may say one)
        """Return the frame that a document states for all its geometries."""
        return None

    def _parse_record_groups(
        self, reader: JsonRecordReader, row_limit: int | None
    ) -> Generator[ParsedRecords, None, None]:
        """Parse groups of records on all cores, in order, with few of them in memory."""
        workers = 1
        if row_limit is None:
            workers = min(os.cpu_count() or 1, 4)
        queue: deque[Future[ParsedRecords]] = deque()
        groups = self._group_records(row_limit)
        with ThreadPoolExecutor(workers, thread_name_prefix="hven-json") as pool:
            try:
                for group in groups:
                    self._report_new_keys(group)
                    queue.append(pool.submit(reader.parse_records, group))
                    while len(queue) > workers:
                        yield queue.popleft().result()
                while queue:
                    yield queue.popleft().result()
            finally:
                groups.close()  # type: ignore[attr-defined]  # a generator
                for future in queue:
                    future.cancel()

    def _group_records(self, row_limit: int | None) -> Iterator[list[tuple[JsonDocument, JsonRecordChunk]]]:
        """Group records of several files, up to a block."""
        group: list[tuple[JsonDocument, JsonRecordChunk]] = []
        size = rows = 0
        for file, part in self._read_records(row_limit):
            group.append((file, part))
            size += len(part.data)
            rows += len(part.texts)
            has_enough_rows = row_limit is not None and rows >= row_limit
            if size >= BLOCK_BYTES or rows >= self.context.batch_row_limit or has_enough_rows:
                yield group
                group = []
                size = rows = 0
        if group:
            yield group

    def _report_and_build_batch(self, parsed_records: ParsedRecords, column_names: Sequence[str]) -> pa.RecordBatch:
        """Report what cannot be read, and build a batch of the rows."""
        self._report_deviations_and_rejects(parsed_records)
        data_names = [name for name in column_names if name not in FILE_FACT_COLUMNS]
        parts = [part for _, part in parsed_records.record_group]
        numbers_by_part = [np.arange(part.first_number, part.first_number + len(part.texts)) for part in parts]
        numbers = np.concatenate(numbers_by_part)[parsed_records.good_indexes]
        row_numbers = pa.array(numbers, pa.int64())
        batch = build_source_batch(data_names, dict(parsed_records.arrays), len(numbers), row_numbers, None)
        if len(data_names) == len(column_names):
            return batch
        part_of_row = pa.array(parsed_records.find_chunk_indexes())
        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name in column_names:
            if name in FILE_FACT_COLUMNS:
                facts = [file.find_file_fact(name) for file, _ in parsed_records.record_group]
                arrays[name] = pa.array(facts, find_file_fact_type(name)).take(part_of_row)
        columns = [arrays[name] for name in column_names]
        return pa.RecordBatch.from_arrays(columns, names=list(column_names))

    # --- reports ---------------------------------------------------------------------------------------------

    def _report_deviations_and_rejects(self, parsed_records: ParsedRecords) -> None:
        for deviation in parsed_records.deviations:
            self._report_once(deviation)
        for at, column, value, reason, text in parsed_records.rejects:
            file, part, row = parsed_records.locate_record(at)
            row_number = part.first_number + row
            line = part.find_record_line(row)
            if self.context.on_reject is None:
                subject = "the record is"
                if column:
                    subject = f"column {column}: {value!r} is"
                place = TextPlace(file=file.name, line=line)
                raise SourceError(f"row {row_number}: {subject} {reason}", place=place)
            shown_value = f"line {line:,}"
            if value is not None:
                shown_value = f"{shown_value}: {value[:MAX_SHOWN_CHARACTERS]}"
            full_reason = reason
            if column is not None and self._is_guessed(column):
                full_reason = (
                    f"{reason}; Hven guessed the type from a sample: if this value is right, write `types: "
                    f"{{{column}: string}}`"
                )
            rejected_row = RejectedRow(
                file=file.name, row=row_number, column=column, value=shown_value, reason=full_reason, text=text
            )
            self.context.on_reject(rejected_row)

    def _is_guessed(self, column_name: str) -> bool:
        return column_name not in self.options.types and column_name not in self.context.target_types

    def _report_once(self, notice: str | ReadDeviation) -> None:
        """Report what is counted each time, and once what concerns a whole column or the source."""
        if isinstance(notice, str) or notice.count is None:
            if notice in self._reported:
                return
            self._reported.add(notice)
        if self.context.on_notice is not None:
            self.context.on_notice(notice)

    def _report_new_keys(self, group: list[tuple[JsonDocument, JsonRecordChunk]]) -> None:
        """Report keys that come only after the sample; some records of each block are searched for them."""
        if self.context.on_notice is None or not self._is_sample_partial:
            return
        node = JsonNodeSummary()
        for _, part in group[:: max(1, len(group) // RECORDS_PER_BLOCK_LOOK)]:
            for at in range(0, len(part.texts), max(1, len(part.texts) * len(group) // RECORDS_PER_BLOCK_LOOK)):
                add_record_to_node(node, part.texts[at])
        known_pointers = {leaf.pointer + leaf.inner_pointer for leaf in self._leaves}
        inner_prefixes = tuple(f"{pointer}/" for pointer in known_pointers)
        for leaf in list_json_columns(node, self.options.whole, self._element_names):
            is_known = leaf.pointer + leaf.inner_pointer in known_pointers or leaf.pointer.startswith(inner_prefixes)
            if is_known or leaf.leaf_kind == LEAF_TEXT or leaf.name in self._ignored_columns:
                continue
            kind = "string"
            if leaf.leaf_kind == LEAF_CELL:
                kind = str(build_type_from_arrow(leaf.arrow_type))
            deviation = ReadDeviation(
                kind=DeviationKind.DROPPED_COLUMN,
                column=leaf.name,
                file=group[0][0].name,
                message="Hven does not read this key, because it was not in the sample",
                remedy=f"write `types: {{{leaf.name}: {kind}}}`",
            )
            self._report_once(deviation)

    # --- columns ---------------------------------------------------------------------------------------------

    def _choose_type_for_target(self, leaf: JsonLeafColumn) -> pa.DataType:
        """Choose the type to read a column as: that of the target column, for plain single values."""
        target_type = self.context.target_types.get(leaf.name)
        if target_type is None or leaf.leaf_kind != LEAF_CELL or leaf.name in self.options.types:
            return leaf.arrow_type
        if pa.types.is_integer(target_type) or pa.types.is_floating(target_type) or pa.types.is_string(target_type):
            return target_type
        return leaf.arrow_type

    @property
    def _is_sample_partial(self) -> bool:
        return self._sampled_structure[1]

    @cached_property
    def _leaves(self) -> list[JsonLeafColumn]:
        node = self._sampled_structure[0]
        all_leaves = list_json_columns(node, self.options.whole, self._element_names)
        sampled_leaves = [leaf for leaf in all_leaves if leaf.name not in self._ignored_columns]
        if not sampled_leaves or not node.value_kinds:
            raise SourceError(
                "there are no records from which Hven can determine the columns",
                place=TextPlace(file=self._title),
                remedy="set `records` to the path of the list of records",
            )
        undeclared_types = {name: self._parse_declared_type(name, text) for name, text in self.options.types.items()}
        leaves: list[JsonLeafColumn] = []
        for leaf in sampled_leaves:
            declared_type = undeclared_types.pop(leaf.name, None)
            if declared_type is not None:
                leaves.append(_change_leaf_type(leaf, declared_type))
            else:
                self._report_guessed_type(leaf)
                leaves.append(leaf)
        for name, kind in undeclared_types.items():  # columns that the sample did not have
            pointer = "/" + name.replace(".", "/")
            leaf_kind = LEAF_CELL
            if kind.is_array:
                leaf_kind = LEAF_LIST
            leaf = JsonLeafColumn(name=name, pointer=pointer, leaf_kind=leaf_kind, arrow_type=pa.string())
            leaves.append(_change_leaf_type(leaf, kind))
        return leaves

    def _report_guessed_type(self, leaf: JsonLeafColumn) -> None:
        """Report a column whose guessed type may surprise."""
        if leaf.mixed_kinds is not None:
            message = f"it contains {leaf.mixed_kinds}, so Hven reads it as text"
            self._report_once(ReadDeviation(kind=DeviationKind.TYPE, column=leaf.name, message=message))
        elif leaf.is_quoted_number and leaf.name not in self.context.target_types:
            deviation = ReadDeviation(
                kind=DeviationKind.TYPE,
                column=leaf.name,
                message="the numbers are in quotes; Hven reads them as numbers",
                remedy=f"write `types: {{{leaf.name}: string}}` if the values are text",
            )
            self._report_once(deviation)

    def _parse_declared_type(self, name: str, text: str) -> ColumnType:
        try:
            return parse_type(text)
        except ValueError as error:
            raise SourceError(
                f"types.{name}: {error}", remedy="write a type such as float64, int32, string, timestamp or float64[*]"
            ) from error


class JsonFileSource(JsonSource, FileSource):
    """Records of one or more files."""

    @abstractmethod
    def _sample_file(self, file: DataFile, node: JsonNodeSummary) -> Iterator[int]:
        """Add the records of a file to the node, and yield the bytes of each."""

    def _build_root_node(self) -> JsonNodeSummary:
        """Build the node to which records are added."""
        return JsonNodeSummary()

    @property
    def _title(self) -> str:
        return self.files[0].name

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows; none if there is no file."""
        if self.files:
            yield from super().read_batches(column_names, row_limit)

    @cached_property
    def _sampled_structure(self) -> tuple[JsonNodeSummary, bool]:
        node = self._build_root_node()
        remaining_bytes = SAMPLE_BYTES
        share = max(SAMPLE_BYTES // len(self.files), 1 << 12)
        for file in self.files:
            if remaining_bytes <= 0:
                return node, True
            quota = remaining_bytes
            if len(self.files) <= RECORDS_PER_BLOCK_LOOK:
                quota = min(remaining_bytes, share)
            for size in self._sample_file(file, node):
                quota = quota - size
                remaining_bytes = remaining_bytes - size
                if quota <= 0:
                    break
        total_bytes = sum(file.stat.st_size for file in self.files)
        return node, remaining_bytes <= 0 or total_bytes > SAMPLE_BYTES


def add_record_to_node(node: JsonNodeSummary, text: pa.Scalar) -> int:
    """Add a record to a node, and return its size. A broken record is reported when it is read."""
    data: bytes = text.as_buffer().to_pybytes()
    with contextlib.suppress(ValueError, RecursionError):
        node.add_value(json.loads(data))
    return len(data)


def _find_leaf_type(leaf: JsonLeafColumn) -> ColumnType:
    if leaf.leaf_kind == LEAF_REGION:
        return parse_type("multishape")
    if leaf.leaf_kind in {LEAF_LIST, LEAF_PART}:
        return build_type_from_arrow(pa.list_(leaf.arrow_type))
    return build_type_from_arrow(leaf.arrow_type)


def _change_leaf_type(leaf: JsonLeafColumn, declared_type: ColumnType) -> JsonLeafColumn:
    single = declared_type.arrow
    how = leaf.leaf_kind
    if pa.types.is_list(single) or pa.types.is_fixed_size_list(single):
        single = single.value_type
        if how in {LEAF_CELL, LEAF_TEXT}:
            how = LEAF_LIST
    elif how in {LEAF_LIST, LEAF_PART, LEAF_REGION}:
        how = LEAF_TEXT  # an array that is declared as text
    elif how == LEAF_TEXT and not pa.types.is_string(single):
        how = LEAF_CELL
    return replace(leaf, leaf_kind=how, arrow_type=single, bbox_pointer=None)
