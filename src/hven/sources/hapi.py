"""Data sets of HAPI servers elsewhere: binary or CSV, window by window; of coarser data sets that the server links, the one that is coarse enough."""

from __future__ import annotations

import io
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from pydantic import Field

from hven.model import Deviation, DeviationKind
from hven.model.errors import SourceError
from hven.model.literal import find_overflow
from hven.model.table import Bins, Column
from hven.model.types import parse_type
from hven.sources import Context, Offer, Reject, ServiceKind, Source
from hven.sources._reading import windows
from hven.sources._reading.service import Broken, words
from hven.sources._reading.windows import SECOND, TooMuch, Windows, listed, micros, stamped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.sources.remote import Streamed

SERVICE = ServiceKind(
    address=r"(?P<url>https?://[^?#]*/hapi)(?:/[a-z]*(?:\?(?:[^#]*&)?(?:id|dataset)=(?P<dataset>[^&#]+)[^#]*)?)?",
    table="dataset",
)
OLD = {"dataset": "id", "start": "time.min", "stop": "time.max"}  # names of HAPI 2
KINDS = {"double": "float64", "integer": "int32", "string": "string", "isotime": "timestamp"}
TOO_MUCH, NOTHING = 1408, 1201
LIMIT = 64 << 20  # bytes of a document
_DURATION = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_SECONDS = (31_536_000, 2_592_000, 86_400, 3_600, 60, 1)


class Options(windows.Options):
    """What a descriptor may say of a HAPI server."""

    url: str = Field(pattern=r"^https?://", description="Address of the server: https://host/hapi.")
    cadence: float | None = Field(None, gt=0, description="Seconds that may lie between two samples: of the coarser data sets that the server links (x_relations), the coarsest that is not coarser is read.")  # fmt: skip
    format: Literal["auto", "binary", "csv"] = Field("auto", description="How samples are asked for: binary, where the server has it.")  # fmt: skip


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a data set; nothing is asked yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    return Samples(options, context)


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the data sets of a server.

    Raises
    ------
    SourceError
        It does not answer, or is no HAPI server.
    """
    server = Samples(Options.model_validate({**options, "dataset": "-"}), context)
    return [Offer(choice=str(one["id"])) for one in server._document("catalog").get("catalog") or ()]  # noqa: SLF001  (ours)


class Samples(Windows):
    """The samples of a data set of HAPI."""

    options: Options

    def about(self) -> tuple[str | None, str | None]:
        """Return the data set's description."""
        return None, self._info.get("description")

    # --- what the server says ------------------------------------------------------------------------------------

    @cached_property
    def _info(self) -> dict[str, Any]:
        return self._document("info", dataset=self._dataset)

    @cached_property
    def _dataset(self) -> str:
        """The data set that is read: one of those that it links, where a cadence is asked for."""
        wanted, name = self.options.cadence, self.options.dataset
        if wanted is None:
            return name
        info = self._document("info", dataset=name)
        linked = [
            (seconds, one["id"])
            for one in info.get("x_relations", ())
            if isinstance(one, dict) and isinstance(one.get("id"), str) and one.get("type", "resample") == "resample"
            if (seconds := _seconds(one.get("cadence"))) is not None and seconds <= wanted
        ]
        if not linked and (native := _seconds(info.get("cadence"))) is not None and native < wanted:
            self._tell(f"{self.what} links no data set with samples every {wanted:g} s; all its samples are read")
        return str(max(linked, default=(0.0, name))[1])

    @cached_property
    def _capabilities(self) -> dict[str, Any]:
        return self._document("capabilities")

    @property
    def _binary(self) -> bool:
        said = self.options.format
        return said == "binary" or (said == "auto" and "binary" in (self._capabilities.get("outputFormats") or ()))

    @cached_property
    def _parameters(self) -> dict[str, dict[str, Any]]:
        said = self._info.get("parameters")
        try:
            found = {str(one["name"]): {**one, "type": one["type"]} for one in said or ()}
            for one in found.values():
                _ = KINDS[one["type"]], [int(size) for size in one.get("size") or ()]
                if one["type"] in {"string", "isotime"}:
                    one["length"] = int(one["length"])
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"the info of {self.what} describes a parameter wrongly: {error!r}", remedy="tell its owners") from error  # fmt: skip
        if not found or next(iter(found.values()))["type"] != "isotime":
            raise SourceError(f"the info of {self.what} does not begin with a time", remedy="tell its owners")
        wanted = self.options.columns
        for name in wanted or ():
            if name not in found:
                raise SourceError(f"{self.what} has no parameter {name!r}", remedy=f"it has {', '.join(found)[:500]}")
        first = next(iter(found))
        return {name: one for name, one in found.items() if wanted is None or name in {first, *wanted}}

    @cached_property
    def _columns(self) -> dict[str, Column]:
        first = next(iter(self._parameters))
        found = {}
        for name, one in self._parameters.items():
            size = [int(each) for each in one.get("size") or ()]
            sizes = [*map(str, reversed(size))]
            kind = KINDS[one["type"]]
            if size and one["type"] in {"string", "isotime"}:  # an array of texts; there is no type for arrays of times
                kind, sizes = "string", [str(max(one["length"], 1)), *sizes]
                if one["type"] == "isotime":
                    message = "the elements of an array of times are read as texts"
                    self._tell(Deviation(kind=DeviationKind.TYPE, column=name, file=self.what, message=message))
            shape = f"[{'x'.join(sizes)}]" if size else ""
            units = one.get("units")
            unit = units if isinstance(units, str) and one["type"] != "isotime" and units != "dimensionless" else None
            found[name] = Column(
                name=name, type=parse_type(kind + shape), unit=unit, description=one.get("description"),
                ucd="time.epoch" if name == first else None,
            )  # fmt: skip
        return found

    def bins(self) -> Mapping[str, tuple[Bins, ...]]:
        """Say what the elements of columns stand for; of what is said wrongly, nothing."""
        found = {}
        for name, one in self._parameters.items():
            try:
                found[name] = tuple(_bins(each) for each in one.get("bins") or ())
            except (KeyError, TypeError, ValueError):
                self._tell(f"{self.what} describes the bins of {name} wrongly; they are left out")
        return {name: said for name, said in found.items() if said}

    def lengths(self) -> Mapping[str, int]:
        """Say how many bytes texts have at most."""
        return {name: one["length"] for name, one in self._parameters.items() if one["type"] == "string" or (one["type"] == "isotime" and one.get("size"))}  # fmt: skip

    @cached_property
    def _limits(self) -> tuple[int, int]:
        try:
            first, last = (
                int(micros(np.array([str(self._info[key]).encode()]))[0]) for key in ("startDate", "stopDate")
            )
        except (KeyError, ValueError) as error:
            raise SourceError(f"the info of {self.what} does not say from when to when it has samples", remedy="tell its owners") from error  # fmt: skip
        return first, last

    @property
    def _cadence(self) -> int | None:
        found = _seconds(self._info.get("cadence"))
        return int(found * SECOND) if found else None

    @property
    def _longest(self) -> int | None:
        found = _seconds(self._info.get("maxRequestDuration"))
        return int(found * SECOND) if found else None

    def _url(self, endpoint: str, given: dict[str, str], *, old: bool) -> str:
        query = urlencode({OLD.get(name, name) if old else name: value for name, value in given.items()}, safe=":,")
        return f"{self.service.url}/{endpoint}{'?' if query else ''}{query}"

    def _document(self, endpoint: str, **given: str) -> dict[str, Any]:
        old = endpoint != "capabilities" and str(self._capabilities.get("HAPI", "3"))[:2] in {"1.", "2."}

        def ask() -> dict[str, Any]:
            with self.service.asked("GET", self._url(endpoint, given, old=old)) as answer:
                if answer.status != 200:
                    raise self._refused(answer)
                data = bytearray()
                for part in answer.parts:
                    data += part
                    if len(data) > LIMIT:
                        raise SourceError(f"/{endpoint} of {self.what} has more than {LIMIT:,} bytes")
            try:
                found = json.loads(data)
            except ValueError as error:
                raise Broken(f"/{endpoint} is no JSON: {error}") from error
            if not isinstance(found, dict):
                raise SourceError(f"/{endpoint} of {self.service.host} is no JSON object", remedy="give the address that ends in /hapi")  # fmt: skip
            return found

        return self.service.tried(ask)

    def _refused(self, answer: Streamed) -> Exception:
        """Make the error that the server means."""
        data = self._budget.read(answer.parts, LIMIT)
        code, message = _status(data)
        if code == TOO_MUCH or answer.status == 413:
            return TooMuch(message)
        if answer.status >= 500:
            return Broken(f"answers {answer.status}: {message or words(data)}")
        return SourceError(f"{self.what}: the server answers {code or answer.status}: {message or words(data)}", remedy="look at its catalog and its info")  # fmt: skip

    # --- samples -------------------------------------------------------------------------------------------------

    def _window(self, start: int, stop: int, names: Sequence[str]) -> list[pa.Table]:
        asked = [name for name in names if name != self.time]
        given = {
            "dataset": self._dataset,
            "start": f"{np.datetime64(start, 'us')}Z",
            "stop": f"{np.datetime64(stop, 'us')}Z",
        }
        if len(names) < len(self._info["parameters"]):
            given["parameters"] = ",".join(asked) or self.time
        given["format"] = "binary" if self._binary else "csv"
        old = str(self._info.get("HAPI", "3"))[:2] in {"1.", "2."}
        with self.service.asked("GET", self._url("data", given, old=old)) as answer:
            if answer.status == 204:
                return []
            if answer.status != 200:
                raise self._refused(answer)
            data = self._budget.read(answer.parts)
        if data[:1] == b"{":  # an error that says 200
            code, message = _status(data)
            if code == NOTHING:
                return []
            if code is not None:
                raise SourceError(f"{self.what}: the server answers {code}: {message}", remedy="look at its info")
        if not data:
            return []
        chosen = {name: self._parameters[name] for name in names}
        return [self._of_binary(data, chosen) if self._binary else self._of_csv(data, chosen)]

    def _of_binary(self, data: bytes, chosen: dict[str, dict[str, Any]]) -> pa.Table:
        numbers = {"double": "<f8", "integer": "<i4"}
        kind = np.dtype([(name, numbers.get(one["type"], f"S{one.get('length')}"), tuple(one.get("size") or ())) for name, one in chosen.items()])  # fmt: skip
        if len(data) % kind.itemsize:
            raise Broken(f"{len(data):,} bytes are no whole number of records of {kind.itemsize}")
        rows = np.frombuffer(data, kind)
        return pa.table({name: self._array(rows[name], name, one) for name, one in chosen.items()})

    def _array(self, values: Any, name: str, one: dict[str, Any]) -> pa.Array:
        fill = one.get("fill")
        if one.get("size") and one["type"] in {"string", "isotime"}:
            count = int(np.prod(one["size"]))
            flat = self._array(np.ascontiguousarray(values).ravel(), name, {**one, "size": (), "type": "string"})
            offsets = np.arange(0, len(values) * count + 1, count, dtype=np.int32)
            return pa.ListArray.from_arrays(pa.array(offsets), flat)
        if one["type"] == "isotime":
            try:
                return stamped(np.ascontiguousarray(values), fill)
            except ValueError as error:
                raise SourceError(f"{self.what} sends as {name} what is no time: {error}", remedy="tell its owners") from error  # fmt: skip
        if one["type"] == "string":
            texts = pa.array(np.ascontiguousarray(values).ravel().astype(object), pa.binary())
            try:
                found = texts.cast(pa.string())
            except pa.ArrowInvalid as error:
                raise SourceError(f"{self.what} sends as {name} what is no UTF-8", remedy="tell its owners") from error
            return pc.if_else(pc.equal(found, fill), None, found) if fill is not None else found
        number = _number(fill)
        return listed(np.ascontiguousarray(values).reshape(len(values), -1) if one.get("size") else values, number, self._columns[name].type.arrow)  # fmt: skip

    def _of_csv(self, data: bytes, chosen: dict[str, dict[str, Any]]) -> pa.Table:
        if not data.endswith(b"\n"):
            raise Broken("the last line has no end: the answer broke off")
        kinds = {"double": pa.float64(), "integer": pa.int32()}
        cells = [(name, one) for name, one in chosen.items() for _ in range(int(np.prod(one.get("size") or (1,))))]
        types = {f"f{at}": kinds.get(one["type"], pa.string()) for at, (_, one) in enumerate(cells)}

        def wrong(row: Any) -> str:
            if self.context.reject is None:
                return "error"
            self.context.reject(Reject(file=None, row=None, column=None, value=row.text, reason=f"{row.actual_columns} values, not {row.expected_columns}", text=row.text))  # fmt: skip
            return "skip"

        try:
            found = pv.read_csv(
                io.BytesIO(data),
                read_options=pv.ReadOptions(column_names=list(types)),
                parse_options=pv.ParseOptions(invalid_row_handler=wrong),
                convert_options=pv.ConvertOptions(column_types=types, null_values=["NaN", "nan", ""], strings_can_be_null=False),
            )  # fmt: skip
        except pa.ArrowInvalid as error:
            raise SourceError(f"{self.what} sends lines that are not as its info says: {error}", remedy="tell its owners") from error  # fmt: skip
        self._refuse_overflow(data, list(types), found)
        made, columns = {}, iter(found.columns)
        for name, one in chosen.items():
            parts = [next(columns) for _ in range(int(np.prod(one.get("size") or (1,))))]
            if one["type"] in kinds:
                arrays = [part.to_numpy() for part in parts]
                made[name] = self._array(np.stack(arrays, axis=1) if one.get("size") else arrays[0], name, one)
            else:
                kind = f"S{max(one['length'], 1)}"
                texts = np.stack([part.cast(pa.binary()).to_numpy().astype(kind) for part in parts], axis=1)
                made[name] = self._array(texts if one.get("size") else texts[:, 0], name, one)
        return pa.table(made)

    def _refuse_overflow(self, data: bytes, names: list[str], found: pa.Table) -> None:
        """Refuse numbers that are too large for a double: Arrow reads an infinity."""
        large = [name for name in names if pa.types.is_floating(found.column(name).type) and pc.any(pc.is_inf(found.column(name))).as_py()]  # fmt: skip
        if not large:
            return
        texts = pv.read_csv(
            io.BytesIO(data),
            read_options=pv.ReadOptions(column_names=names),
            parse_options=pv.ParseOptions(invalid_row_handler=lambda _row: "skip"),
            convert_options=pv.ConvertOptions(column_types=dict.fromkeys(large, pa.string()), include_columns=large),
        )
        for name in large:
            written, read = (table.column(name).combine_chunks() for table in (texts, found))
            if (flags := find_overflow(written, read)) is not None:
                value = written[int(flags.argmax())].as_py()
                raise SourceError(f"{self.what} sends {value}, which is too large for a double", remedy="tell its owners")  # fmt: skip


def _bins(said: Any) -> Bins:
    """Read what the elements of one dimension stand for; `centers` may be another parameter."""
    centers, ranges = said.get("centers") or (), said.get("ranges") or ()
    return Bins(
        name=str(said["name"]), unit=said.get("units") or None, label=said.get("label"), description=said.get("description"),
        centers=centers if isinstance(centers, str) else tuple(map(float, centers)),
        ranges=ranges if isinstance(ranges, str) else tuple((float(low), float(high)) for low, high in ranges),
    )  # fmt: skip


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _seconds(duration: Any) -> float | None:
    """Read a duration as ISO 8601 has it, about; None: it is none."""
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    total = (
        sum(float(one) * length for one, length in zip(found.groups(), _SECONDS, strict=True) if one) if found else 0.0
    )
    return total or None


def _status(data: bytes) -> tuple[int | None, str]:
    """Find HAPI's code and message in a document; None: it is none of HAPI's."""
    try:
        said = json.loads(data)["status"]
        return int(said["code"]), str(said.get("message", ""))[:400]
    except (ValueError, TypeError, KeyError):
        return None, ""


__all__ = ["Options", "open"]
