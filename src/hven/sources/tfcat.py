"""TFCat 1.0: features in time and frequency, one a row; geometries stay as they are written, ranges are those of EPN-TAP."""

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

from hven.formats import Head
from hven.model import Deviation, DeviationKind, units
from hven.model.errors import Place, SourceError
from hven.model.sky import clocks, region_files
from hven.model.table import JD, Column, Constant, FrameRef
from hven.model.types import FLOAT64, Type, parse_type
from hven.sources import Context, FileKind, Reject, Source
from hven.sources._reading.filerows import FileRows
from hven.sources._reading.files import DataFile, FileOptions, assemble
from hven.sources._reading.jsontext import HEAD, LIST, WHOLE, Form, around, enter, records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

tfcat = region_files.tfcat

FEW = 64  # files that are looked at for their fields
SHOWN = 200  # characters of a feature at fault; the whole of it is in the rejects file

FILES = FileKind(
    endings=("tfcat",),
    begins=rb'(?s)(?:\xef\xbb\xbf)?\s*\{.*"(?:time_coords(?:_id)?|spectral_coords)"\s*:|\s*\{.*maser/tfcat/v',
    ends=rb'"(?:time_coords(?:_id)?|spectral_coords)"\s*:',
    like="json",
)

_OWN = {
    "id": (None, "meta.id", tfcat.ID, "Identifier of the feature"),
    "geometry_type": (parse_type("string"), "meta.code.class", tfcat.DERIVED, "Kind of geometry of the feature"),
    "time_min": (FLOAT64, "time.start;obs", tfcat.DERIVED, "Begin of the feature, as a Julian date (UTC)"),
    "time_max": (FLOAT64, "time.end;obs", tfcat.DERIVED, "End of the feature, as a Julian date (UTC)"),
    "spectral_range_min": (FLOAT64, "em.freq;stat.min", tfcat.DERIVED, "Lowest frequency of the feature"),
    "spectral_range_max": (FLOAT64, "em.freq;stat.max", tfcat.DERIVED, "Highest frequency of the feature"),
    "geometry": (Type(datatype="char", arraysize="*", xtype="json"), None, tfcat.GEOMETRY, "Geometry of the feature in time and frequency, as TFCat (JSON)"),
}  # fmt: skip
_UNITS = {"time_min": "d", "time_max": "d", "spectral_range_min": "Hz", "spectral_range_max": "Hz"}
_KINDS = {kind: parse_type(name) for kind, name in (("bool", "bool"), ("int", "int64"), ("float", "float64"), ("str", "string"))}  # fmt: skip


class Options(FileOptions):
    """What a descriptor may say of TFCat."""

    ids: str | None = Field(
        None, pattern="^(string|int64)$", description="Type of the features' ids: `string` or `int64`; default: seen from the first ones."
    )  # fmt: skip


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open TFCat files.

    Parameters
    ----------
    options
        As the descriptor has them.
    context
        Where it stands.

    Returns
    -------
    source
        Its rows are the features.

    Raises
    ------
    SourceError
        No such file.
    """
    return Features(options, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """A document without its features."""

    crs: tfcat.Crs
    said: dict[str, Any]  # the crs as it is written
    fields: dict[str, dict[str, Any]]
    properties: dict[str, Any]
    form: Form


class Features(FileRows):
    """The features of one or more TFCat files."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.options = options
        self._documents: dict[str, _Document] = {}
        self._told: set[str] = set()

    # --- what there is ---------------------------------------------------------------------------------------

    def columns(self) -> list[Column]:
        """List the columns: ranges, id and geometry of each feature, and its properties."""
        return [column for column, _ in self._columns]

    def about(self) -> tuple[str | None, str | None]:
        """Return what the catalogue says it is."""
        said = self._first.properties
        return _text(said.get("title")), _text(said.get("description"))

    def head(self) -> Head:
        """Return the reference system and the catalogue's properties as constants, what values mean, and the system of times."""
        document = self._first
        text = parse_type("string")
        params = [
            Constant(name="tfcat_crs", type=text, utype=tfcat.CRS, description="Reference system of the geometries", value=_compact(document.said)),
            *([Constant(name="tfcat_properties", type=text, utype=tfcat.PROPERTIES, description="What the catalogue says of itself", value=_compact(document.properties))] if document.properties else []),
        ]  # fmt: skip
        return Head(
            columns=self.columns(),
            enums={name: _meanings(one["values"]) for name, one in self._fields.items() if one.get("values")},
            frames=[FrameRef(id="time", kind="timesys", timescale="UTC", refposition=document.crs.position, timeorigin="JD-origin")],
            params=[(one, one.value) for one in params],
        )  # fmt: skip

    def _names(self) -> list[str]:
        return [column.name for column, _ in self._columns]

    @property
    def _first(self) -> _Document:
        return self._document(self.files[0])

    @cached_property
    def _fields(self) -> dict[str, dict[str, Any]]:
        """The fields of the first files; two of one name have one type."""
        found: dict[str, dict[str, Any]] = {}
        for file in self.files[:FEW]:
            for name, one in self._document(file).fields.items():
                there = found.setdefault(name, one)
                for key in ("datatype", "unit"):
                    if there.get(key) != one.get(key):
                        raise SourceError(
                            f"the {key} of the field {name} is {one.get(key)}, and {there.get(key)} in {self.files[0].name}",
                            place=Place(file=file.name),
                            remedy="make it a source entry of its own",
                        )
        return found

    @cached_property
    def _columns(self) -> list[tuple[Column, str | None]]:
        """The columns; those of properties with the names of these."""
        taken = {name.lower() for name in self._fields}
        made: list[tuple[Column, str | None]] = []
        for name, (kind, ucd, utype, about) in _OWN.items():
            timed = name.startswith("time_")
            made.append((
                Column(
                    name=f"tfcat_{name}" if name in taken else name, type=kind or parse_type(self._ids), ucd=ucd, utype=utype, description=about,
                    indexed=name in _UNITS or name == "geometry_type", frame="time" if timed else None, epoch=JD if timed else None, unit=_UNITS.get(name),
                ), None,
            ))  # fmt: skip
        for name, one in self._fields.items():
            unit = one.get("unit")
            made.append((
                Column(
                    name=name, type=_KINDS[one.get("datatype", "str")], unit=units.meant(unit) if unit else None, ucd=one["ucd"] or None,
                    description=one["info"] or None, enum=name if one.get("values") else None,
                ), name,
            ))  # fmt: skip
        return made

    @cached_property
    def _ids(self) -> str:
        """The type of ids: whole numbers, where the first features have such."""
        if self.options.ids is not None:
            return self.options.ids
        seen: list[Any] = []
        for part in records(self.files[0].fresh(), self._first.form):
            seen += [_id(part.texts[at]) for at in range(min(len(part.texts), 1000))]
            break
        return "int64" if seen and all(type(one) is int and abs(one) < 2**63 for one in seen) else "string"

    def _document(self, file: DataFile) -> _Document:
        if file.name not in self._documents:
            found = _read(file)
            if self._documents and found.crs != self._first.crs:
                raise SourceError(
                    f"another crs than in {self.files[0].name}",
                    place=Place(file=file.name),
                    remedy="make it a source entry and a table of its own: numbers of one table are in one reference system",
                )
            self._documents[file.name] = found
        return self._documents[file.name]

    # --- rows ------------------------------------------------------------------------------------------------

    def _rows(
        self, file: DataFile, names: Sequence[str], real: Sequence[str], limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        document = self._document(file)
        kept = {name for _, name in self._columns}
        for name in document.fields.keys() - kept - self._told:
            self._told.add(name)
            message = f"the property is in none of the first {FEW} files, and is not read"
            self.context.report(
                Deviation(kind=DeviationKind.DROPPED_COLUMN, column=name, file=file.name, message=message)
            )
        given = 0
        for part in records(file, document.form):
            found = [self._feature(part.texts[at], document) for at in range(len(part.texts))]
            tfcat.crossings([one for one in found if not one.faults])
            utc = document.crs.utc([time for one in found for time in one.times])
            for at in (
                np.flatnonzero((utc == clocks.NONE).reshape(-1, 2).any(axis=1)).tolist()
                if document.crs.scale != "SCLK"
                else ()
            ):
                if not found[at].faults and not math.isnan(found[at].times[0]):
                    why = "a time is none that can be told in UTC: out of the years 1 to 9999, or before 1972 in another scale"
                    found[at].faults.append(tfcat.Fault("geometry.coordinates", why, "look at its times"))
            good = [at for at, one in enumerate(found) if not one.faults]
            for at, one in enumerate(found):
                if one.faults:
                    self._reject(file, part.first + at, part.place(at), part.texts[at], one.faults)
            if not good:
                continue
            jd = tfcat.julian(utc).reshape(-1, 2)[good].T
            arrays = self._arrays([found[at] for at in good], document, jd, real)
            number = pa.array(np.array(good, np.int64) + part.first)
            yield assemble(names, arrays, len(good), number, file)
            given += len(good)
            if limit is not None and given >= limit:
                return

    def _feature(self, text: pa.Scalar, document: _Document) -> tfcat.Feature:
        try:
            one = tfcat.feature(text.as_py(), document.crs, document.fields)
        except UnicodeDecodeError:
            return tfcat.Feature(faults=[tfcat.Fault("", "it is not UTF-8", "save the file as UTF-8")])
        if self._ids == "int64":
            if one.id is not None and (type(one.id) is not int or abs(one.id) >= 2**63):
                why = f"{one.id!r:.60} is no whole number, as the first features have"
                one.faults.append(tfcat.Fault("id", why, "say ids: string"))
        elif one.id is not None and not isinstance(one.id, str):
            one.id = json.dumps(one.id)
        return one

    def _arrays(
        self, found: Sequence[tfcat.Feature], document: _Document, jd: Any, real: Sequence[str]
    ) -> dict[str, pa.Array]:
        low, high = document.crs.hertz(*np.array([one.spectrum for one in found], np.float64).T)
        own: dict[str, Any] = {
            "id": [one.id for one in found], "geometry_type": [one.kind for one in found], "time_min": jd[0], "time_max": jd[1],
            "spectral_range_min": low, "spectral_range_max": high, "geometry": [one.geometry for one in found],
        }  # fmt: skip
        arrays = {}
        for (column, name), key in zip(self._columns, [*own, *self._fields], strict=True):
            if column.name in real:
                values = own[key] if name is None else [one.properties.get(name) for one in found]
                arrays[column.name] = pa.array(values, column.type.arrow, from_pandas=True)
        return arrays

    def _reject(self, file: DataFile, row: int, line: int, text: pa.Scalar, faults: Sequence[tfcat.Fault]) -> None:
        first = faults[0]
        raw = text.as_buffer().to_pybytes().decode(errors="replace").strip()
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        if self.context.reject is None:
            what = f"feature {row:,}: {first.where + ': ' if first.where else ''}{first.why}{more}"
            raise SourceError(what, place=Place(file=file.name, line=line), remedy=first.remedy)
        self.context.reject(
            Reject(
                file=file.name,
                row=row,
                column=first.where or None,
                value=f"line {line:,}: {raw[:SHOWN]}",
                reason=f"{first.why}: {first.remedy}{more}",
                text=raw,
            )
        )


def _read(file: DataFile) -> _Document:
    """Read a document without its features, and judge it."""
    before, behind, form = b"", b"", Form(LIST, ("features",))
    line = 1
    stream = file.open()
    try:
        head = stream.read(HEAD)
    finally:
        stream.close()
    alone = len(head) < HEAD and enter(head, form.path) is None  # one feature, which is the document
    if alone:
        before, form = head.removeprefix(b"\xef\xbb\xbf"), Form(WHOLE)
    else:
        before, behind, line = around(file, form.path)
    try:
        said = orjson.loads(before + behind)
    except orjson.JSONDecodeError as error:
        at = error.pos
        text = (before + behind).decode(errors="replace")[:at].encode()
        here = 1 + text.count(b"\n") if len(text) <= len(before) else line + text[len(before) :].count(b"\n")
        raise SourceError(
            f"it is no JSON: {error.msg}", place=Place(file=file.name, line=here), remedy="look at the file there"
        ) from None
    kind = said.get("type") if isinstance(said, dict) else None
    if kind != ("Feature" if alone else "FeatureCollection"):
        raise SourceError(
            f"the document's type is {kind!r:.60}, not FeatureCollection",
            place=Place(file=file.name),
            remedy="TFCat is an object of the type FeatureCollection with features, fields and crs; or one Feature with crs",
        )
    system, faults = tfcat.crs(said.get("crs"))
    fields = said.get("fields")
    faults += tfcat.fields({} if alone and fields is None else fields)
    properties = said.get("properties") if not alone else None
    if properties is not None and not isinstance(properties, dict):
        faults.append(tfcat.Fault("properties", "it is no object", "an object: title, authors .."))
    if faults or system is None:
        first = faults[0]
        more = "".join(f"; {one.where}: {one.why}" for one in faults[1:8])
        raise SourceError(f"{first.where}: {first.why}{more}", place=Place(file=file.name), remedy=first.remedy)
    return _Document(crs=system, said=said["crs"], fields=fields or {}, properties=properties or {}, form=form)


def _id(text: pa.Scalar) -> Any:
    try:
        return json.loads(text.as_py()).get("id")
    except (ValueError, RecursionError, AttributeError):
        return None


def _meanings(values: Any) -> dict[str, str]:
    if isinstance(values, dict):
        return {str(code): str(words) for code, words in values.items()}
    return {str(code): str(code) for code in values}


def _compact(said: dict[str, Any]) -> str:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def _text(said: object) -> str | None:
    return said.strip() if isinstance(said, str) and said.strip() else None
