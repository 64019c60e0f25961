"""JSON: lines, arrays, GeoJSON and STAC, hits of Elasticsearch; nested objects become dotted names."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from hven.sources import Context, FileKind, Source
from hven.sources._reading.files import FileOptions
from hven.sources._reading.jsonrows import FEW, JsonFiles, JsonOptions, parted, see
from hven.sources._reading.jsontext import Form, Records, crs_of, form_of, named, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.sources._reading.files import DataFile
    from hven.sources._reading.jsonshape import Node
    from hven.sources._reading.jsontext import Document

FILES = FileKind(
    endings=("json", "jsonl", "ndjson", "geojson", "jsonlines"),
    begins=rb"(?:\xef\xbb\xbf)?[\s\x1e]*(?:\{\s*[\"}]|\[\s*[{\[\]\"])",
)


class Options(JsonOptions, FileOptions):
    """What a descriptor may say of JSON."""

    records: list[str] | None = Field(
        None,
        description="Path of the list that holds the records: `features`, `hits.hits`; `.`: the document is one record. Default: seen from the file.",
    )
    names: list[str] | None = Field(None, description="Names of the elements, where records are arrays themselves.")

    _path = field_validator("records", mode="before")(parted)


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open JSON files.

    Raises
    ------
    SourceError
        No such file.
    """
    return JsonRows(options, context)


class JsonRows(JsonFiles):
    """The records of one or more JSON files."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.options: Options = options
        self._forms: dict[str, Form] = {}
        self._told = set()
        self._frames: dict[str, str | None] = {}

    def _records(self, limit: int | None) -> Iterator[tuple[DataFile, Records]]:  # noqa: ARG002  (the reader stops)
        drawn = any(leaf.drawn for leaf in self._leaves)
        for file in self.files:
            if drawn and file.name not in self._frames:
                self._frames[file.name] = crs_of(file, self._form(file))
            for part in records(file, self._form(file)):
                yield file, part

    def _crs(self, document: Document) -> str | None:
        return self._frames.get(document.name)

    def _form(self, file: DataFile) -> Form:
        if file.name not in self._forms:
            alike = len(self.files) > FEW and self._forms
            said = self.options.records
            self._forms[file.name] = next(iter(self._forms.values())) if alike else form_of(file, said)
        return self._forms[file.name]

    @cached_property
    def _element_names(self) -> list[str]:  # type: ignore[override]  # computed once here
        if self.options.names is not None:
            return self.options.names
        form = self._form(self.files[0])
        return named(self.files[0], form.names) if form.names else []

    def _look(self, file: DataFile, node: Node) -> Iterator[int]:
        for part in records(file, self._form(file)):
            for at in range(len(part.texts)):
                yield see(node, part.texts[at])
