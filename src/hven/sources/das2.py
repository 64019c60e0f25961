"""Data sources of das2 servers elsewhere: streams of das2 2.2, window by window, at the resolution that is asked for."""

from __future__ import annotations

import datetime as dt
import re
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from pydantic import Field

from hven.model import Deviation, DeviationKind
from hven.model.errors import SourceError
from hven.model.table import Bins, Column
from hven.model.types import parse_type
from hven.sources import ServiceKind
from hven.sources._reading import das2packets, windows
from hven.sources._reading.das2packets import Failed, Plane, Stream
from hven.sources._reading.service import words
from hven.sources._reading.windows import SECOND, Windows, listed, micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.sources import Context, Source

SERVICE = ServiceKind(
    address=r"(?P<url>https?://[^?#]*das2[^?#]*?)(?:\?(?:[^#]*&)?dataset=(?P<dataset>[^&#]+)[^#]*)?", table="dataset"
)
TIME = "time"
NOTHING = "NoDataInInterval"
WHOLE = 1000  # of all the time, what is looked at for the variables where no example is told
_NAME = re.compile(r"\W+")


class Options(windows.Options):
    """What a descriptor may say of a das2 server."""

    url: str = Field(pattern=r"^https?://", description="Address of the server: https://host/das2/server.")
    resolution: float | None = Field(None, gt=0, description="Seconds that may lie between two samples: the server reduces to means and peaks; default: all samples.")  # fmt: skip
    params: str | None = Field(None, description="What the data source takes as `params`.")
    tags: bool = Field(False, description="Also a column NAME_tags with the values of the items of each spectrum, which may change.")  # fmt: skip


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a data source; nothing is asked yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    return Samples(options, context)


class Samples(Windows):
    """The samples of a data source of das2."""

    options: Options

    def about(self) -> tuple[str | None, str | None]:
        """Return title and description of the data source."""
        return self._said.get("title"), self._said.get("summary") or self._said.get("description")

    @cached_property
    def _said(self) -> dict[str, str]:
        """What the server says of the data source."""
        return self._asked({"server": "dsdf", "dataset": self.options.dataset}).properties

    @cached_property
    def _limits(self) -> tuple[int, int]:
        said = self._said.get("validRange", "")
        found = _range(said) or (None, None)
        given = (self.options.start, self.options.stop)
        first, last = (_time(one) if one else there for one, there in zip(given, found, strict=True))
        if first is None or last is None:
            raise SourceError(
                f"{self.what} does not say from when to when it has samples: validRange is {said!r:.80}",
                remedy="say start and stop",
            )
        return first, last

    @cached_property
    def _planes(self) -> dict[str, Plane]:
        """The variables by the names of their columns, as the first samples have them."""
        first, last = self._limits
        width = max((last - first) // WHOLE, 60 * SECOND)
        example = _range(self._said.get("exampleRange_00", ""))
        for start, stop in (*([example] if example else []), (first, min(first + width, last)), (max(last - width, first), last), (first, last)):  # fmt: skip
            stream = self._stream(start, stop)
            if stream is not None and stream.segments:
                found: dict[str, Plane] = {}
                for one in stream.segments:
                    for at, plane in enumerate(one.planes[1:], 1):
                        found.setdefault(_name(plane, at), plane)
                return found
        raise SourceError(f"{self.what} has no samples", remedy="say another start and stop")

    @cached_property
    def _columns(self) -> dict[str, Column]:
        made = {
            TIME: Column(
                name=TIME, type=parse_type("timestamp"), ucd="time.epoch", description=self._said.get("xLabel")
            )
        }
        for name, plane in self._planes.items():
            kind = "float32" if plane.type.endswith("real4") else "float64"
            shape = ("[*]" if self.options.tags else f"[{plane.items}]") if plane.scan else ""
            about = plane.said.get("summary") or plane.said.get("description")
            made[name] = Column(name=name, type=parse_type(kind + shape), unit=plane.units or None, description=about)
            if self.options.tags and plane.tags:
                made[f"{name}_tags"] = Column(name=f"{name}_tags", type=parse_type("float64[*]"), description=plane.said.get("yLabel"))  # fmt: skip
        wanted = self.options.columns
        for name in wanted or ():
            if name not in made:
                raise SourceError(f"{self.what} has no variable {name!r}", remedy=f"it has {', '.join(made)[:500]}")
        return {name: one for name, one in made.items() if wanted is None or name in {TIME, *wanted}}

    def bins(self) -> Mapping[str, tuple[Bins, ...]]:
        """Say what the items of spectra stand for."""
        return {
            name: (Bins(name=plane.said.get("yLabel") or "frequency", centers=tuple(map(float, plane.tags))),)
            for name, plane in self._planes.items()
            if plane.tags
        }  # fmt: skip

    def _asked(self, given: dict[str, str]) -> Stream:
        def ask() -> Stream:
            with self.service.asked("GET", f"{self.service.url}?{urlencode(given, safe=':/,')}") as answer:
                data = self._budget.read(answer.parts)
                if answer.status >= 400 and data[:1] not in {b"[", b"|"}:
                    raise SourceError(f"{self.what}: the server answers {answer.status}: {words(data)}", remedy="look at server=list")  # fmt: skip
            if data[:1] in {b"|", b"/"}:
                raise SourceError(f"{self.what}: the server sends a stream of das 3.0", remedy="only das2 2.2 is read: ask its operator for it")  # fmt: skip
            return das2packets.parse(data)

        return self.service.tried(ask)

    def _stream(self, start: int, stop: int) -> Stream | None:
        given = {
            "server": "dataset",
            "dataset": self.options.dataset,
            "start_time": str(np.datetime64(start, "us")),
            "end_time": str(np.datetime64(stop, "us")),
        }
        given |= {"resolution": f"{self.options.resolution:.9g}"} if self.options.resolution else {}
        given |= {"params": self.options.params} if self.options.params else {}
        try:
            return self._asked(given)
        except SourceError as error:
            cause = error.__cause__ if isinstance(error.__cause__, Failed) else error
            if isinstance(cause, Failed) and cause.kind == NOTHING:
                return None
            raise

    def _window(self, start: int, stop: int, names: Sequence[str]) -> list[pa.Table]:
        stream = self._stream(start, stop)
        made = []
        if stream is not None and stream.left:
            for name in stream.left:
                message = "the values are no numbers; they are left out"
                self._tell(Deviation(kind=DeviationKind.DROPPED_COLUMN, column=name, file=self.what, message=message))
        for segment in stream.segments if stream is not None else ():
            arrays = {TIME: pa.array(segment.times).cast(pa.timestamp("us"))}
            for at, (plane, values) in enumerate(zip(segment.planes[1:], segment.values, strict=True), 1):
                name = _name(plane, at)
                first = self._planes.get(name)
                if first is None:
                    message = "the first samples do not have this variable; it is left out"
                    self._tell(
                        Deviation(kind=DeviationKind.DROPPED_COLUMN, column=name, file=self.what, message=message)
                    )
                    continue
                if not self.options.tags and first.tags != plane.tags:
                    moment = np.datetime64(int(segment.times[0]), "us")
                    raise SourceError(f"{self.what}: the values of the {plane.items} items of {name} are others at {moment}Z than at first", remedy="say tags: true, which adds a column of them")  # fmt: skip
                if name in names:
                    arrays[name] = listed(values if plane.scan else values[:, 0], None, self._columns[name].type.arrow)
                if f"{name}_tags" in names and plane.tags:
                    tags = np.broadcast_to(np.array(plane.tags), (len(values), plane.items))
                    arrays[f"{name}_tags"] = listed(tags, None, self._columns[f"{name}_tags"].type.arrow)
            rows = len(segment.times)
            made.append(pa.table({name: arrays.get(name, pa.nulls(rows, self._columns[name].type.arrow)) for name in names}))  # fmt: skip
        return [pa.concat_tables(made).sort_by(TIME)] if len(made) > 1 else made  # packets of several types take turns


def _name(plane: Plane, at: int) -> str:
    return _NAME.sub("_", plane.name).strip("_") or f"plane_{at}"


def _time(text: str) -> int | None:
    text = text.strip().upper().removesuffix("UTC").strip()
    if text == "NOW":
        return int(dt.datetime.now(dt.UTC).timestamp()) * SECOND
    try:
        return int(micros(np.array([text.replace(" ", "T").encode()]))[0])
    except ValueError:
        return None


def _range(text: str) -> tuple[int, int] | None:
    """Read `A to B UTC | words`."""
    first, to, last = text.partition("|")[0].partition(" to ")
    found = _time(first), _time(last)
    return (found[0], found[1]) if to and found[0] is not None and found[1] is not None else None


__all__ = ["Options", "open"]
