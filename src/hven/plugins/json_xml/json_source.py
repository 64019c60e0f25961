"""Read JSON: lines, arrays, GeoJSON, STAC, Elasticsearch hits. Nested objects become columns with dotted names."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from hven.model import DeviationKind, ReadDeviation
from hven.plugins.json_xml.json_records import (
    JsonRecordChunk,
    JsonRecordLayout,
    detect_record_layout,
    find_document_crs,
    read_column_names,
    read_records,
)
from hven.plugins.json_xml.json_rows import (
    RECORDS_PER_BLOCK_LOOK,
    JsonFileSource,
    JsonOptions,
    add_record_to_node,
    split_dotted_path,
)
from hven.sources import FileKindSignature, Source, SourceContext, SourceKindTraits
from hven.sources.api.file_rows import FileOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.plugins.json_xml.json_records import JsonDocument
    from hven.plugins.json_xml.json_schema import JsonNodeSummary
    from hven.sources.api.rows import DataFile

TRAITS = SourceKindTraits(reads_local_files=True)
FILES = FileKindSignature(
    extensions=("json", "jsonl", "ndjson", "geojson", "jsonlines"),
    leading_pattern=rb"(?:\xef\xbb\xbf)?[\s\x1e]*(?:\{\s*[\"}]|\[\s*[{\[\]\"])",
)


class Options(JsonOptions, FileOptions):
    """What a descriptor may state about JSON."""

    records: list[str] | None = Field(
        None,
        description=(
            "Path of the list of records. Write `.` if the whole document is one record. Default: Hven finds the list "
            "by the file's content."
        ),
        examples=["result.rows"],
    )
    names: list[str] | None = Field(
        None,
        description=(
            "Names of the elements, if the records are arrays. Default: the list of names next to the records, or else "
            "`column_1` ..."
        ),
        examples=[["name", "ra", "dec"]],
    )

    _path = field_validator("records", mode="before")(split_dotted_path)


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open JSON files.

    Raises
    ------
    SourceError
        No such file.
    """
    return JsonFormatSource(options, context)


class JsonFormatSource(JsonFileSource):
    """The records of one or more JSON files."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self.options: Options = options
        self._forms_by_file: dict[str, JsonRecordLayout] = {}
        self._reported = set()
        self._crs_by_file: dict[str, str | None] = {}

    # the reader stops
    def _read_records(self, row_limit: int | None) -> Iterator[tuple[DataFile, JsonRecordChunk]]:  # noqa: ARG002
        drawn = any(leaf.is_drawable for leaf in self._leaves)
        for file in self.files:
            if drawn and file.name not in self._crs_by_file:
                form = self._find_record_layout(file)
                self._crs_by_file[file.name] = find_document_crs(file, form)
            for part in read_records(file, self._find_record_layout(file)):
                yield file, part

    def _find_document_crs(self, document: JsonDocument) -> str | None:
        return self._crs_by_file.get(document.name)

    def _find_record_layout(self, file: DataFile) -> JsonRecordLayout:
        if file.name not in self._forms_by_file:
            if self._forms_by_file and len(self.files) > RECORDS_PER_BLOCK_LOOK:  # many files are alike
                self._forms_by_file[file.name] = next(iter(self._forms_by_file.values()))
            else:
                layout = detect_record_layout(file, self.options.records)
                self._forms_by_file[file.name] = layout
                if layout.inner_list and len(self.files) == 1:
                    path = ".".join(layout.inner_list)
                    deviation = ReadDeviation(
                        kind=DeviationKind.TYPE,
                        file=file.name,
                        message=f"the whole document is read as one row, although {path!r} is a list of objects",
                        remedy=f"write `records: {path}` if these are the rows, or else `records: .`",
                    )
                    self.context.report_deviation(deviation)
        return self._forms_by_file[file.name]

    @cached_property
    def _element_names(self) -> list[str]:  # type: ignore[override]  # computed once here
        if self.options.names is not None:
            return self.options.names
        form = self._find_record_layout(self.files[0])
        if form.names:
            return read_column_names(self.files[0], form.names)
        return []

    def _sample_file(self, file: DataFile, node: JsonNodeSummary) -> Iterator[int]:
        for part in read_records(file, self._find_record_layout(file)):
            for text in part.texts:
                yield add_record_to_node(node, text)
