"""Read TFCat 1.0: each feature in time and frequency becomes a row.

Geometries stay as they are written, and ranges are those of EPN-TAP.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
from pydantic import Field

from hven.formats import TableMetadata
from hven.model import DeviationKind, ReadDeviation, units
from hven.model.errors import SourceError, TextPlace
from hven.model.sky import time_scales
from hven.model.table import JD_EPOCH, Column, ReferenceFrame, TableConstant, parse_column_lines
from hven.model.types import parse_type
from hven.plugins.json_xml.json_records import (
    FORM_LIST,
    FORM_WHOLE,
    HEAD_BYTES,
    JsonRecordLayout,
    find_list_start,
    read_records,
    split_document_at_records,
)
from hven.plugins.tfcat import tfcat_features
from hven.plugins.tfcat.coordinate_systems import (
    TfcatCrs,
    TfcatFault,
    find_field_faults,
    parse_tfcat_crs,
    to_julian_dates,
)
from hven.plugins.tfcat.tfcat_features import DERIVED_UTYPE, GEOMETRY_UTYPE, ID_UTYPE, TfcatFeature
from hven.sources import FileKindSignature, RejectedRow, Source, SourceContext
from hven.sources.api.file_rows import FileByFileSource, FileOptions
from hven.sources.api.rows import DataFile, build_source_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


SAMPLED_FILES = 64  # the fields of this many files are read to choose the columns
MAX_SHOWN_CHARACTERS = 200  # of a feature at fault; the whole of it is in the rejects file

FILES = FileKindSignature(
    extensions=("tfcat",),
    leading_pattern=rb'(?s)(?:\xef\xbb\xbf)?\s*\{.*"(?:time_coords(?:_id)?|spectral_coords)"\s*:|\s*\{.*maser/tfcat/v',
    trailing_pattern=rb'"(?:time_coords(?:_id)?|spectral_coords)"\s*:',
    base_kind="json",
)

_FEATURE_COLUMNS = parse_column_lines("""
  id                 | string  |    | meta.id          | Identifier of the feature
  geometry_type      | string  |    | meta.code.class  | Kind of geometry of the feature
  time_min           | float64 | d  | time.start;obs   | Start of the feature, as a Julian date (UTC)
  time_max           | float64 | d  | time.end;obs     | End of the feature, as a Julian date (UTC)
  spectral_range_min | float64 | Hz | em.freq;stat.min | Lowest frequency of the feature
  spectral_range_max | float64 | Hz | em.freq;stat.max | Highest frequency of the feature
  geometry           | json    |    |                  | Geometry of the feature in time and frequency, as TFCat (JSON)
""")
_COLUMN_UTYPES = {"id": ID_UTYPE, "geometry": GEOMETRY_UTYPE}
_FIELD_TYPES = {
    kind: parse_type(name)
    for kind, name in (("bool", "bool"), ("int", "int64"), ("float", "float64"), ("str", "string"))
}


class Options(FileOptions):
    """What a descriptor may state about TFCat."""

    ids: str | None = Field(
        None,
        pattern="^(string|int64)$",
        description=(
            "Type of the feature IDs: `string` or `int64`. Default: `int64`, if the first thousand IDs are whole "
            "numbers."
        ),
        examples=["string"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open TFCat files.

    Parameters
    ----------
    options
        Options of the descriptor.
    context
        Context in which it is read.

    Returns
    -------
    source
        The source; its rows are the features.

    Raises
    ------
    SourceError
        No such file.
    """
    return TfcatSource(options, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TfcatDocumentHead:
    """A document without its features."""

    crs: TfcatCrs
    written_crs: dict[str, Any]  # the crs as it is written
    fields: dict[str, dict[str, Any]]
    properties: dict[str, Any]
    form: JsonRecordLayout


class TfcatSource(FileByFileSource):
    """The features of one or more TFCat files."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self.options = options
        self._documents: dict[str, _TfcatDocumentHead] = {}
        self._reported: set[str] = set()

    # --- columns ---------------------------------------------------------------------------------------------

    def list_columns(self) -> list[Column]:
        """List the columns: ranges, id and geometry of each feature, and its properties."""
        return [column for column, _ in self._columns]

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the title and the description that the catalogue states."""
        properties = self._first_document.properties
        return _to_text(properties.get("title")), _to_text(properties.get("description"))

    def read_metadata(self) -> TableMetadata:
        """Return the reference system and properties of the catalogue, the meaning of values, and the time system."""
        document = self._first_document
        constants = [
            TableConstant(
                name="tfcat_crs",
                type=parse_type("string"),
                utype=tfcat_features.CRS_UTYPE,
                description="Reference system of the geometries",
                value=_write_compact_json(document.written_crs),
            )
        ]
        if document.properties:
            properties_constant = TableConstant(
                name="tfcat_properties",
                type=parse_type("string"),
                utype=tfcat_features.PROPERTIES_UTYPE,
                description="The catalogue's description of itself",
                value=_write_compact_json(document.properties),
            )
            constants.append(properties_constant)
        enums: dict[str, dict[str, str]] = {}
        for name, field in self._fields.items():
            if field.get("values"):
                enums[name] = _build_enum(field["values"])
        time_system = ReferenceFrame(
            id="time",
            kind="timesys",
            timescale="UTC",
            refposition=document.crs.position,
            timeorigin="JD-origin",
        )
        return TableMetadata(
            columns=self.list_columns(),
            enums=enums,
            frames=[time_system],
            params=[(constant, constant.value) for constant in constants],
        )

    def list_helper_column_utypes(self) -> frozenset[str]:
        """List the utypes of the columns that only serve to fill columns of a standard."""
        return frozenset({ID_UTYPE, DERIVED_UTYPE})

    def propose_file_access_columns(self, table_name: str) -> dict[str, tuple[str, str, str]]:
        """Propose a query for the row itself, as TFCat, for the file of the row."""
        query = f"SELECT * FROM {table_name} WHERE granule_uid = '{{target.granule_uid}}'".replace(" ", "+")
        access_url = f"{{site.url}}/tap/sync?LANG=ADQL&RESPONSEFORMAT=tfcat&QUERY={query}"
        return {
            "dataproduct_type": ("set", "ev", "each row is an event"),
            "access_url": ("text", access_url, "itself, as TFCat"),
            "access_format": ("set", "application/json", ""),
            "access_estsize": ("map", "CAST(1 + LENGTH(geometry) / 1000 AS INTEGER)", ""),
        }

    def _list_column_names(self) -> list[str]:
        return [column.name for column, _ in self._columns]

    @property
    def _first_document(self) -> _TfcatDocumentHead:
        return self._get_document_head(self.files[0])

    @cached_property
    def _fields(self) -> dict[str, dict[str, Any]]:
        """The fields of the first files; fields of one name must have one type."""
        fields: dict[str, dict[str, Any]] = {}
        for file in self.files[:SAMPLED_FILES]:
            for name, field in self._get_document_head(file).fields.items():
                first_field = fields.setdefault(name, field)
                for key in ("datatype", "unit"):
                    if first_field.get(key) != field.get(key):
                        raise SourceError(
                            f"the {key} of the field {name!r} is {field.get(key)!r}, but {first_field.get(key)!r} in "
                            f"{self.files[0].name}",
                            place=TextPlace(file=file.name),
                            remedy="write a separate source entry for the file",
                        )
        return fields

    @cached_property
    def _columns(self) -> list[tuple[Column, str | None]]:
        """The columns of features, and those of properties with the names of these."""
        field_names = {name.lower() for name in self._fields}
        columns: list[tuple[Column, str | None]] = []
        for column in _FEATURE_COLUMNS:
            name = column.name
            utype = _COLUMN_UTYPES.get(name, DERIVED_UTYPE)
            column = column.copy_with(utype=utype, indexed=utype == DERIVED_UTYPE)  # noqa: PLW2901
            if name == "id":
                column = column.copy_with(type=parse_type(self._id_type))  # noqa: PLW2901
            if name in field_names:
                column = column.copy_with(name=f"tfcat_{name}")  # noqa: PLW2901
            if name.startswith("time_"):
                column = column.copy_with(frame="time", epoch=JD_EPOCH)  # noqa: PLW2901
            columns.append((column, None))
        for name, field in self._fields.items():
            unit = field.get("unit")
            if unit:
                unit = units.normalize_unit(unit)
            column = Column(
                name=name,
                type=_FIELD_TYPES[field.get("datatype", "str")],
                unit=unit or None,
                ucd=field["ucd"] or None,
                description=field["info"] or None,
            )
            if field.get("values"):
                column = column.copy_with(enum=name)
            columns.append((column, name))
        return columns

    @cached_property
    def _id_type(self) -> str:
        """The type of ids: whole numbers, where those of the first features are."""
        if self.options.ids is not None:
            return self.options.ids
        first_part = next(read_records(self.files[0].copy_unread(), self._first_document.form), None)
        if first_part is None:
            return "string"
        ids = [_find_id(text) for text in first_part.texts.slice(0, 1000)]
        if ids and all(map(_is_int64, ids)):
            return "int64"
        return "string"

    def _get_document_head(self, file: DataFile) -> _TfcatDocumentHead:
        if file.name not in self._documents:
            document = _read_document_head(file)
            if self._documents and document.crs != self._first_document.crs:
                raise SourceError(
                    f"the crs differs from the crs in {self.files[0].name}",
                    place=TextPlace(file=file.name),
                    remedy="write a separate source entry and table for the file; all numbers in a table must have "
                    "the same reference system",
                )
            self._documents[file.name] = document
        return self._documents[file.name]

    # --- rows ------------------------------------------------------------------------------------------------

    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        document = self._get_document_head(file)
        self._report_unread_fields(document, file)
        yielded_rows = 0
        for part in read_records(file, document.form):
            features = [self._parse_feature(text, document) for text in part.texts]
            tfcat_features.add_crossing_faults([feature for feature in features if not feature.faults])
            utc = document.crs.to_utc([time for feature in features for time in feature.times])
            if document.crs.scale != "SCLK":
                _add_faults_of_impossible_times(features, utc)
            good: list[int] = []
            for at, feature in enumerate(features):
                if feature.faults:
                    self._reject_feature(
                        file, part.first_number + at, part.texts[at], feature.faults, line=part.find_record_line(at)
                    )
                else:
                    good.append(at)
            if not good:
                continue
            jd = to_julian_dates(utc).reshape(-1, 2)[good].T
            good_features = [features[at] for at in good]
            arrays = self._build_arrays(good_features, document, jd, file_column_names)
            numbers = pa.array(np.array(good, np.int64) + part.first_number)
            yield build_source_batch(column_names, arrays, len(good), numbers, file)
            yielded_rows += len(good)
            if row_limit is not None and yielded_rows >= row_limit:
                return

    def _report_unread_fields(self, document: _TfcatDocumentHead, file: DataFile) -> None:
        """Report the properties of a file that are not read, once each."""
        source_names = {name for _, name in self._columns}
        for name in document.fields.keys() - source_names - self._reported:
            self._reported.add(name)
            message = f"none of the first {SAMPLED_FILES} files has the property, so Hven does not read it"
            deviation = ReadDeviation(kind=DeviationKind.DROPPED_COLUMN, column=name, file=file.name, message=message)
            self.context.report_deviation(deviation)

    def _parse_feature(self, text: pa.Scalar, document: _TfcatDocumentHead) -> TfcatFeature:
        try:
            feature = tfcat_features.parse_tfcat_feature(text.as_py(), document.crs, document.fields)
        except UnicodeDecodeError:
            faults = [TfcatFault("", "the text is not UTF-8", "save the file as UTF-8")]
            return TfcatFeature(faults=faults)
        if self._id_type == "int64":
            if feature.id is not None and not _is_int64(feature.id):
                why = f"{feature.id!r:.60} is not a whole number like the ids of the first features"
                feature.add_fault("id", why, "write `ids: string`")
        elif feature.id is not None and not isinstance(feature.id, str):
            feature.id = json.dumps(feature.id)
        return feature

    def _build_arrays(
        self,
        features: Sequence[TfcatFeature],
        document: _TfcatDocumentHead,
        jd: Any,
        file_column_names: Sequence[str],
    ) -> dict[str, pa.Array]:
        spectra = np.array([feature.spectrum for feature in features], np.float64)
        low, high = document.crs.to_hertz(*spectra.T)
        derived_values: dict[str, Any] = {
            "id": [feature.id for feature in features],
            "geometry_type": [feature.kind for feature in features],
            "time_min": jd[0],
            "time_max": jd[1],
            "spectral_range_min": low,
            "spectral_range_max": high,
            "geometry": [feature.geometry for feature in features],
        }
        arrays = {}
        for (column, name), key in zip(self._columns, [*derived_values, *self._fields], strict=True):
            if column.name not in file_column_names:
                continue
            if name is None:
                values = derived_values[key]
            else:
                values = [feature.properties.get(name) for feature in features]
            arrays[column.name] = pa.array(values, column.type.arrow, from_pandas=True)
        return arrays

    def _reject_feature(
        self, file: DataFile, row: int, text: pa.Scalar, faults: Sequence[TfcatFault], *, line: int
    ) -> None:
        first = faults[0]
        raw = text.as_buffer().to_pybytes().decode(errors="replace").strip()
        remaining_text = ""
        if len(faults) > 1:
            remaining_text = f" (and {len(faults) - 1} more)"
        if self.context.on_reject is None:
            message = f"{first.reason}{remaining_text}"
            if first.json_path:
                message = f"{first.json_path}: {message}"
            place = TextPlace(file=file.name, line=line)
            raise SourceError(f"feature {row:,}: {message}", place=place, remedy=first.remedy)
        rejected_row = RejectedRow(
            file=file.name,
            row=row,
            column=first.json_path or None,
            value=f"line {line:,}: {raw[:MAX_SHOWN_CHARACTERS]}",
            reason=f"{first.reason}; {first.remedy}{remaining_text}",
            text=raw,
        )
        self.context.on_reject(rejected_row)


def _add_faults_of_impossible_times(features: Sequence[TfcatFeature], utc_times: Any) -> None:
    """Add a fault to the features with a time that UTC cannot tell."""
    has_no_time = (utc_times == time_scales.NO_TIME).reshape(-1, 2).any(axis=1)
    reason = (
        "a time cannot be converted to UTC: it is outside the years 1 to 9999, or it is before 1972 and in a time "
        "scale other than UTC"
    )
    for at in np.flatnonzero(has_no_time).tolist():
        feature = features[at]
        if not feature.faults and not math.isnan(feature.times[0]):
            feature.add_fault("geometry.coordinates", reason, "check the times of the feature")


def _read_document_head(file: DataFile) -> _TfcatDocumentHead:
    """Read a document without its features, and check it."""
    stream = file.open_stream()
    try:
        head = stream.read(HEAD_BYTES)
    finally:
        stream.close()
    form = JsonRecordLayout(FORM_LIST, ("features",))
    is_feature = len(head) < HEAD_BYTES and find_list_start(head, form.path) is None  # one feature is the document
    if is_feature:
        form = JsonRecordLayout(FORM_WHOLE)
        document = _parse_document(head.removeprefix(b"\xef\xbb\xbf"), b"", 1, file)
    else:
        before, behind, line, _ = split_document_at_records(file, form.path, keep_records=False)
        document = _parse_document(before, behind, line, file)
    kind = None
    if isinstance(document, dict):
        kind = document.get("type")
    expected_kind = "FeatureCollection"
    if is_feature:
        expected_kind = "Feature"
    if kind != expected_kind:
        raise SourceError(
            f"the document's type is {kind!r:.60}, not FeatureCollection",
            place=TextPlace(file=file.name),
            remedy="write an object of the type FeatureCollection with features, fields and crs, or one Feature with "
            "crs",
        )
    system, faults = parse_tfcat_crs(document.get("crs"))
    fields = document.get("fields")
    properties = document.get("properties")
    if is_feature:
        properties = None
        if fields is None:
            fields = {}
    faults += find_field_faults(fields)
    if properties is not None and not isinstance(properties, dict):
        faults.append(
            TfcatFault("properties", "it is not an object", "write an object with members such as title and authors")
        )
    if faults or system is None:
        first = faults[0]
        further_text = "".join(f"; {further_fault.json_path}: {further_fault.reason}" for further_fault in faults[1:8])
        raise SourceError(
            f"{first.json_path}: {first.reason}{further_text}", place=TextPlace(file=file.name), remedy=first.remedy
        )
    return _TfcatDocumentHead(
        crs=system, written_crs=document["crs"], fields=fields or {}, properties=properties or {}, form=form
    )


def _parse_document(before: bytes, behind: bytes, behind_line: int, file: DataFile) -> Any:
    """Parse the text before and behind the features; `behind_line` is the line in which the latter begins."""
    try:
        return orjson.loads(before + behind)
    except orjson.JSONDecodeError as error:
        text = (before + behind).decode(errors="replace")[: error.pos].encode()
        if len(text) <= len(before):
            line_number = 1 + text.count(b"\n")
        else:
            line_number = behind_line + text[len(before) :].count(b"\n")
        place = TextPlace(file=file.name, line=line_number)
        raise SourceError(
            f"the document is not JSON: {error.msg}", place=place, remedy="correct the file at this place"
        ) from None


def _is_int64(identifier: Any) -> bool:
    return type(identifier) is int and abs(identifier) < 2**63


def _find_id(text: pa.Scalar) -> Any:
    try:
        return json.loads(text.as_py()).get("id")
    except (ValueError, RecursionError, AttributeError):
        return None


def _build_enum(values: Any) -> dict[str, str]:
    if isinstance(values, dict):
        return {str(code): str(words) for code, words in values.items()}
    return {str(code): str(code) for code in values}


def _write_compact_json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _to_text(value: object) -> str | None:
    if isinstance(value, str) and value.strip():
        return value.strip()
    return None
