"""das2 2.2: the server at ``/das2/server`` with its list, its descriptions and its streams, reduced to the resolution that is asked for.

The names of das2 2.3 and of the servers that came later are understood as well, and nodes of the federated catalogue stand at
``/das2/catalog.json``. What is wrong is said in a packet of the stream, as das2's own servers do; an interval without samples is no error of HTTP.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import anyio.to_thread
import numpy as np
import orjson
from starlette.responses import RedirectResponse, Response

from hven import __version__
from hven import services as dali
from hven.model.errors import NotFound, ParamError, UserError
from hven.services import _pyramids as pyramids
from hven.services import _reductions as reductions
from hven.services import series
from hven.services._stamps import SECOND
from hven.services.face import Face, Surroundings, Way, route
from hven.services.faces import _das2_streams as streams
from hven.services.faces._das2_streams import Form, Plane, Segment
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Bins, Table
    from hven.services.series import DataSet, Parameter, Span
    from hven.site import Holdings, Published

# other name -> that of das2 2.2: of 2.3, of its longer forms, of das 3.0
OLD = {
    "time.min": "start_time", "reader.x.min": "start_time", "read.time.min": "start_time",
    "time.max": "end_time", "reader.x.max": "end_time", "read.time.max": "end_time",
    "time.res": "resolution", "reducer.x.resolution": "resolution", "bin.time.max": "resolution",
    "reader.x.interval": "interval", "reader.params": "params", "read.data": "params", "reader.ascii": "ascii", "encoder.ascii": "ascii",
}  # fmt: skip
SERVERS = ("list", "discovery", "dsdf", "dataset", "peers", "id", "logo")
TRUE = {"true", "1", "yes", "t"}
FEW = 16  # elements of an array without bins that are shown as so many lines
EXAMPLE = 2_000  # samples of an example, about
SHORT = {"cache-control": "no-cache", "vary": "authorization, cookie, host", "access-control-allow-origin": "*"}
PLAIN = "text/plain; charset=utf-8"
WORDS = {400: "IllegalArgument", 404: "NoSuchDataSource", 401: "Unauthorized", 403: "Forbidden"}


def _faults(request: Request, error: Exception) -> Response:
    """Say what is wrong as das2 has it."""
    status = dali.status_of(error)
    word = WORDS.get(status, "IllegalArgument" if isinstance(error, UserError) else "ServerError")
    body = streams.exception(word, dali.message_of(error, dali.request_id(request)), alone=True)
    headers = {**dali.headers_of(error), **SHORT, "cache-control": "no-store"}
    return Response(body, status, headers, "text/vnd.das2.das2stream; charset=utf-8")


def _given(request: Request) -> dict[str, str]:
    """Read a query, whose parts may be set off by semicolons; of a name that comes twice the first counts."""
    raw = request.scope.get("query_string", b"").replace(b";", b"&").decode("utf-8", "replace")
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise ParamError("the address has more than 100 parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(OLD.get(name, name), value.strip())
    return found


class _Asked(series.Asked):
    face = "das2"

    def __init__(self, request: Request, around: Surroundings) -> None:
        super().__init__(request, around)
        self.url = f"{self.base}/das2"

    @cached_property
    def known(self) -> dict[str, DataSet]:
        """By path: those that have something to show."""
        return {one.series.path: one for one in super().known.values() if any(map(_shown, one.parameters))}

    def one(self, path: str) -> DataSet:
        found = self.known.get(path.strip("/").removesuffix(".dsdf"))
        if found is None:
            raise NotFound("there is no such data source", remedy=f"{self.url}/server?server=list has them all")
        return found


def _shown(one: Parameter) -> bool:
    """Return whether das2 has packets for it: numbers, and lists of numbers."""
    return one.kind in {"double", "integer"} and len(one.size) < 2


def _title(one: DataSet) -> str:
    return " ".join((one.series.title or one.table.title or one.id).split())


def _about(one: DataSet) -> str:
    resource = one.published.resource
    said = one.series.description or one.table.description or (resource.description if resource else None)
    return " ".join((said or "").split())


def _time(moment: int) -> str:
    """Write a time with the digits that it needs."""
    text = series.iso(moment)[:-1]
    return text[:19] if text.endswith(".000000") else text[:23] if text.endswith("000") else text


def _range(start: int, stop: int) -> str:
    return f"{_time(start)} to {_time(stop)} UTC"


def _example(one: DataSet, span: Span) -> tuple[int, int]:
    """Choose the last samples, from a whole second on."""
    start, stop = span.start or 0, -(-(span.stop or 0) // SECOND) * SECOND
    long = int(EXAMPLE * pyramids.native(one, span))
    return max(start, (stop - long) // SECOND * SECOND), stop


def _listed(asked: _Asked, *, examples: bool) -> Response:
    """List directories and data sources, one a line: with their titles, as das2's server has it."""
    lines: dict[str, str] = {}
    for path, one in asked.known.items():
        if examples and asked.span(one).start is None:
            continue
        parts = path.split("/")
        for depth in range(1, len(parts)):
            lines.setdefault("/".join(parts[:depth]) + "/", "")
        lines[path] = _title(one)
    body = "".join(f"{path}|{title}\r\n" if title else f"{path}\r\n" for path, title in sorted(lines.items()))
    return Response(body, headers={**SHORT, "content-type": PLAIN})


def _dsdf(asked: _Asked, path: str) -> Response:
    """Describe a data source: a stream of nothing but properties."""
    one = asked.one(path)
    span, resource, settings = asked.span(one), one.published.resource, asked.around.site.settings
    contact = resource.contact if resource is not None else None
    email = (contact.email if contact is not None else None) or settings.contact_email or ""
    name = (contact.name if contact is not None else None) or settings.contact_name or settings.title or settings.name
    said = {
        "description": _title(one),
        "title": _title(one),
        "das2Stream": "1",
        "server": f"{asked.url}/server",
        "summary": _about(one),
        "techContact": f"{name} <{email}>" if email else name,
    }
    if span.start is not None and span.stop is not None:
        said["validRange"] = _range(span.start, span.stop)
        said["exampleRange_00"] = f"{_range(*_example(one, span))} | the last samples"
    shown = [each for each in one.parameters if _shown(each)]
    said |= {
        f"item_{at:02d}": f"{each.name} | {each.column.description or each.name}" for at, each in enumerate(shown[:99])
    }
    if len(shown) > 1:
        said["param_00"] = f"{shown[0].name} | names of variables with commas between; else all"
    left = [each.name for each in one.parameters if not _shown(each)]
    said |= {"note": f"not in streams, for they are texts or tables: {', '.join(left)}"} if left else {}
    body = streams.properties({key: text for key, text in said.items() if text})
    return Response(body, headers={**SHORT, "content-type": "text/vnd.das2.das2stream; charset=utf-8"})


def _peers(asked: _Asked) -> Response:
    """Name the servers that this one knows of: itself."""
    settings = asked.around.site.settings
    words = [
        text.replace("&", "&amp;").replace("<", "&lt;")
        for text in (settings.name, f"{asked.url}/server", settings.description or settings.title or settings.name)
    ]
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<das2server>\n  <peers>\n    <server>\n      <name>{}</name>\n      <url>{}</url>\n'
        "      <description>{}</description>\n    </server>\n  </peers>\n</das2server>\n"
    ).format(*words)
    return Response(body, headers={**SHORT, "content-type": "text/xml; charset=utf-8"})


def _moment(given: Mapping[str, str], name: str) -> int:
    """Read a time, as strictly as ISO 8601 or with a space between date and clock."""
    if not given.get(name):
        raise ParamError(f"{name} is missing", name=name, remedy="write 2017-01-01T10:30 or 2017-001T10:30")
    text = given[name].upper().removesuffix("UTC").strip()
    try:
        return series.micros("T".join(text.replace("T", " ").split()))
    except ValueError:
        raise ParamError(f"{name} is no time", name=name, remedy="write 2017-01-01T10:30 or 2017-001T10:30") from None


def _seconds(given: Mapping[str, str]) -> float:
    """Read the resolution: seconds that may lie between two samples; 0: as they are."""
    text = given.get("resolution", "").lower().removesuffix("s").strip()
    if text in {"", "intrin"} or given["resolution"].lower() == "intrinsic":
        return 0.0
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e12:
        raise ParamError("resolution is no number of seconds", name="resolution", remedy="write 60, or leave it out")
    return found


def _chosen(one: DataSet, given: Mapping[str, str]) -> list[Parameter]:
    every = {each.name: each for each in one.parameters if _shown(each)}
    wanted = given.get("params", "").replace(",", " ").split()
    unknown = [name for name in wanted if name not in every]
    if unknown:
        known = ", ".join(every)[:500]
        raise ParamError("params names what this data source does not have", name="params", remedy=f"it has {known}")
    return [each for name, each in every.items() if not wanted or name in wanted]


def _form(given: Mapping[str, str]) -> Form:
    version = given.get("format.version", "2") or "2"
    serial = given.get("format.serial", "binary") or "binary"
    if version not in {"2", "3", "2.2", "3.0"} or serial not in {"binary", "text"}:
        raise ParamError(
            "there is no such format",
            name="format.version",
            remedy="format.version=2 or 3, format.serial=binary or text",
        )
    text = serial == "text" or given.get("ascii", "").lower() in TRUE
    packed = version[0] == "2" and given.get("compress", "").lower() in TRUE
    return Form(version=int(version[0]), text=text, deflated=packed)


async def _data(asked: _Asked, given: Mapping[str, str]) -> Response:
    one = await anyio.to_thread.run_sync(asked.one, given.get("dataset", ""))
    if given.get("interval"):
        raise ParamError(
            "interval is for sources that compute positions; this one has samples",
            name="interval",
            remedy="leave it out",
        )
    start, stop, seconds = _moment(given, "start_time"), _moment(given, "end_time"), _seconds(given)
    if start >= stop:
        raise ParamError("end_time is not behind start_time", name="end_time")
    chosen, form = _chosen(one, given), _form(given)
    reach = asked.holdings.reach(asked.who, asked.around.policies)
    tag = dali.etag(__version__, asked.holdings.version, reach, asked.url, *sorted(given.items()))
    headers = {
        **dali.caching(tag, public=reach == "public" and asked.who.anonymous),
        "access-control-allow-origin": "*",
    }
    if dali.unchanged(asked.request, tag):
        return Response(status_code=304, headers=headers)
    span: Span = await anyio.to_thread.run_sync(asked.span, one)
    native = pyramids.native(one, span)
    width = reductions.width(int(seconds * SECOND), native) if span.rows else None
    label = "_".join(_time(each).replace(":", "-").removesuffix("T00-00-00") for each in (start, stop))
    headers["content-type"] = form.media_type
    headers["content-disposition"] = (
        f'inline; filename="{quote(one.series.path.rpartition("/")[2])}_{label}.{form.ending}"'
    )
    form = replace(form, properties=_properties(one, chosen, start, stop, width, native))

    def chunks() -> Iterator[bytes]:
        empty = span.start is None or span.stop is None or start >= span.stop or stop <= span.start
        segments = () if empty else _segments(asked, one, chosen, start, stop, width)
        nothing = f"No data in the interval {_range(start, stop)}"
        return streams.written(
            segments, form, nothing, lambda error: dali.message_of(error, dali.request_id(asked.request))
        )

    return await series.streamed(asked.request, chunks, headers)


def _properties(
    one: DataSet, chosen: Sequence[Parameter], start: int, stop: int, width: int | None, native: float
) -> dict[str, str]:
    """Say what holds for the whole stream."""
    spectra = [each for each in chosen if _tagged(each)]
    said = {
        "title": f"{_title(one)}%{{xCacheResInfo}}",
        "summary": _about(one),
        "xLabel": "Time (UTC)",
        "boolean:xMonotonic": "true",
        "DatumRange:xCacheRange": _range(start, stop),
        "sourceId": f"hven {__version__}",
    }
    if spectra:
        bins, column = _bins(spectra[0]), spectra[0].column
        said["renderer"] = "spectrogram"
        said["yLabel"] = _labelled(bins.label or bins.name, bins.unit) if bins else ""
        said["zLabel"] = _labelled(column.label or column.name, column.unit)
        tags = _tags(spectra[0])
        if tags and min(tags) > 0 and max(tags) > 30 * min(tags):
            said["yScaleType"] = "log"
        said["double:zFill"] = f"{streams.FILL:g}"
    elif chosen:
        said["double:yFill"] = f"{streams.FILL:g}"
        said["yLabel"] = (
            _labelled(chosen[0].column.label or chosen[0].name, chosen[0].column.unit) if len(chosen) == 1 else ""
        )
    if width is not None:
        said["Datum:xTagWidth"] = said["Datum:xCacheResolution"] = f"{width / SECOND:.9g} s"
        said["xCacheResInfo"] = f" ({_long(width / SECOND)} Averages)"
    else:
        if one.series.cadence:
            said["Datum:xTagWidth"] = f"{native / SECOND:.9g} s"
        said["xCacheResInfo"] = " (Intrinsic Resolution)"
    return {name: text for name, text in said.items() if text}


def _long(seconds: float) -> str:
    """Write a duration as das2's reducers do."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for most, unit, word in ((60, 1, "s"), (3600, 60, "minute"), (86_400, 3600, "hour")):
        if seconds < most:
            return f"{seconds / unit:.1f} {word}"
    return f"{seconds / 86_400:.3g} day"


def _labelled(name: str, unit: str | None) -> str:
    return f"{name} ({streams.units(unit)})" if unit else name


def _bins(one: Parameter) -> Bins | None:
    return one.bins[0] if one.bins else None


def _tags(one: Parameter) -> tuple[float, ...]:
    """Give the values of its elements, where they are the same for all samples."""
    bins = _bins(one)
    if bins is None or isinstance(bins.centers, str):
        return ()
    if bins.centers:
        return bins.centers
    return () if isinstance(bins.ranges, str) else tuple((low + high) / 2 for low, high in bins.ranges)


def _tagged(one: Parameter) -> bool:
    """Return whether its elements stand along an axis; of a few without bins each is a line of its own."""
    return bool(one.size) and (bool(one.bins) or one.size[0] > FEW)


def _table(one: DataSet, each: Parameter) -> str | None:
    """Name the column that has the values of its elements for each sample."""
    bins = _bins(each)
    name = bins.centers if bins is not None and isinstance(bins.centers, str) else None
    return next(
        (
            other.name
            for other in one.parameters
            if name and other.name.lower() == name.lower() and other.size == each.size
        ),
        None,
    )


def _segments(
    asked: _Asked, one: DataSet, chosen: Sequence[Parameter], start: int, stop: int, width: int | None
) -> Iterator[Segment]:
    """Read samples, in pieces of which each has the same values of elements."""
    names, tables = [each.name for each in chosen], {each.name: _table(one, each) for each in chosen}
    moving = sorted({table for table in tables.values() if table})
    place = (asked.around, asked.who, one)
    if width is not None and not moving:
        bins = pyramids.reduced(*place, names, start, stop, width, asked.holdings)
        yield Segment(_planes(chosen, {}, reduced=True), (_reduced(each, chosen) for each in bins))
        return
    low, high = (start, stop) if width is None else (start // width * width, -(-stop // width) * width)
    batches = series.samples(*place, list(dict.fromkeys([*names, *moving])), low, high, asked.holdings)
    for said, pieces in groupby(_pieces(batches, moving), lambda piece: piece[0]):
        values = {name: tuple(np.frombuffer(raw, np.float64).tolist()) for name, raw in zip(moving, said, strict=True)}
        planes = _planes(
            chosen, {name: values[table] for name, table in tables.items() if table}, reduced=width is not None
        )
        rows = (batch for _, batch in pieces)
        if width is None:
            yield Segment(planes, (_native(batch, chosen) for batch in rows))
        else:
            yield Segment(planes, (_reduced(each, chosen) for each in reductions.binned(rows, width, names)))


def _pieces(
    batches: Iterable[pa.RecordBatch], moving: Sequence[str]
) -> Iterator[tuple[tuple[bytes, ...], pa.RecordBatch]]:
    """Cut batches where the values of elements change."""
    for batch in batches:
        if not batch.num_rows:
            continue
        tables = [reductions.matrix(batch.column(name)).astype(np.float64) for name in moving]
        changes = np.zeros(batch.num_rows, bool)
        for table in tables:
            now, before = table[1:], table[:-1]
            changes[1:] |= ((now != before) & ~(np.isnan(now) & np.isnan(before))).any(axis=1)
        cuts = [0, *np.flatnonzero(changes).tolist(), batch.num_rows]
        for first, last in pairwise(cuts):
            yield tuple(table[first].tobytes() for table in tables), batch.slice(first, last - first)


def _lines(one: Parameter) -> bool:
    return bool(one.size) and not _tagged(one)


def _native(batch: pa.RecordBatch, chosen: Sequence[Parameter]) -> streams.Rows:
    found = []
    for each in chosen:
        values = reductions.matrix(batch.column(each.name))
        found += np.split(values, values.shape[1], axis=1) if _lines(each) else [values]
    return np.asarray(batch.column(0), np.int64), found


def _reduced(bins: reductions.Bins, chosen: Sequence[Parameter]) -> streams.Rows:
    """Give means first, then peaks, as das2's own reducer has its planes; of lines the lowest values before these."""
    means: list[Any] = []
    peaks: list[Any] = []
    for each in chosen:
        one = bins.fields[each.name]
        mean = one.mean.astype(one.high.dtype)
        means += np.split(mean, mean.shape[1], axis=1) if _lines(each) else [mean]
        if _lines(each):
            peaks += np.split(one.high, mean.shape[1], axis=1)
        else:
            peaks += [one.high] if each.size else [one.low, one.high]
    return bins.middle, means + peaks


def _planes(chosen: Sequence[Parameter], moved: Mapping[str, tuple[float, ...]], *, reduced: bool) -> list[Plane]:
    """Describe the variables of a packet, in the order of `_native` and `_reduced`."""
    found, peaks = [], []
    for each in chosen:
        bins, column = _bins(each), each.column
        label = _labelled(column.label or each.name, column.unit)
        plane = Plane(name=each.name, unit=column.unit, label=label, summary=column.description or "")
        if _lines(each):
            made = [
                replace(plane, name=f"{each.name}_{at}", label=f"{each.name} {at}") for at in range(1, each.size[0] + 1)
            ]
        elif each.size:
            tags = moved.get(each.name) or _tags(each) or tuple(float(at) for at in range(1, each.size[0] + 1))
            axis = (bins.label or bins.name) if bins is not None else "index"
            made = [replace(plane, tags=tags, axis=axis, tag_unit=bins.unit if bins is not None else None)]
        else:
            made = [plane]
        found += [replace(one, source=one.name, operation="BIN_AVG") if reduced else one for one in made]
        peaks += [
            replace(one, name=f"{one.name}.{ending}", source=one.name, operation=f"BIN_{ending.upper()}")
            for one in made
            for ending in (("max",) if each.size else ("min", "max"))
        ]
    return found + peaks if reduced else found


def _node(asked: _Asked, path: str) -> dict[str, Any]:
    """Make a node of the federated catalogue: a directory, or a data source with what it holds."""
    path = path.removesuffix(".json").strip("/")
    known = asked.known
    below = {each.lower(): each for each in known}
    at = f"{path.lower()}/" if path else ""
    if at and path.lower() in below:
        return _collection(asked, known[below[path.lower()]])
    inside: dict[str, dict[str, Any]] = {}
    real = ""
    for lower, each in below.items():
        if not lower.startswith(at):
            continue
        parts = each.split("/")
        depth = at.count("/")
        real = "/".join(parts[:depth])
        leaf = len(parts) == depth + 1
        address = quote("/".join(parts[: depth + 1]))
        inside[parts[depth].lower()] = {
            "name": parts[depth], "title": _title(known[each]) if leaf else None, "type": "Collection" if leaf else "Catalog",
            "urls": [f"{asked.url}/catalog/{address}.json"],
        }  # fmt: skip
    if at and not inside:
        raise NotFound("there is no such node", remedy=f"{asked.url}/catalog.json leads to all of them")
    settings = asked.around.site.settings
    name = real.rpartition("/")[2] or settings.name
    title = None if at else settings.title or settings.name
    return {
        "type": "Catalog",
        "version": "0.4",
        "name": name,
        "title": title,
        "separator": "/",
        "catalog": dict(sorted(inside.items())),
    }


def _collection(asked: _Asked, one: DataSet) -> dict[str, Any]:
    span, contact = asked.span(one), asked.around.site.settings.contact_name
    time: dict[str, Any] = {"name": one.time.name, "units": "UTC"}
    if span.start is not None and span.stop is not None:
        time |= {"valid_min": _time(span.start), "valid_max": _time(span.stop)}
    shown = [each for each in one.parameters if _shown(each)]
    axes = {
        bins.name.lower(): {"name": bins.name, "units": streams.units(bins.unit)}
        for each in shown
        if (bins := _bins(each)) is not None
    }
    path = one.series.path
    return {
        "type": "Collection", "version": "0.4", "name": path.rpartition("/")[2], "title": _title(one), "description": _about(one),
        "coordinates": {"time": time, **axes},
        "data": {each.name.lower(): {"name": each.name, "title": each.column.description, "units": streams.units(each.column.unit)} for each in shown},
        "tech_contacts": [{"name": contact}] if contact else [],
        "sources": {
            "das2": {"type": "HttpStreamSrc", "convention": "das2/2.2", "name": "das2/2.2 Source", "urls": [f"{asked.url}/source/{quote(path)}.json"]}
        },
    }  # fmt: skip


def _source(asked: _Asked, path: str) -> dict[str, Any]:
    """Describe how a data source is asked over HTTP."""
    one = asked.one(path.removesuffix(".json"))
    span = asked.span(one)
    shown = [each for each in one.parameters if _shown(each)]
    first, last = _example(one, span) if span.start is not None else (0, 0)
    flags = {each.name: {"value": each.name} for each in shown}

    def asked_by(param: str, name: str, *, needed: bool, value: Any = None) -> dict[str, Any]:
        return {"label": name, "value": value, "set": {"param": param, "required": needed}}

    return {
        "type": "HttpStreamSrc", "version": "0.7", "name": one.series.path.rpartition("/")[2], "label": _title(one), "title": _title(one),
        "description": _about(one),
        "protocol": {
            "method": "GET", "convention": "das2/2.2", "authorization": {"required": False},
            "baseUrls": [f"{asked.url}/server?server=dataset&dataset={quote(one.series.path)}"],
            "httpParams": {
                "start_time": {"required": True, "type": "isotime"}, "end_time": {"required": True, "type": "isotime"},
                "resolution": {"required": False, "type": "real", "units": "s"},
                "params": {"required": False, "type": "FlagSet", "flagSep": ",", "flags": flags},
                "format.version": {"required": False, "type": "enum", "enum": ["2", "3"]},
                "format.serial": {"required": False, "type": "enum", "enum": ["binary", "text"]},
                "compress": {"required": False, "type": "boolean"},
            },
        },
        "interface": {
            "coords": {
                "time": {
                    "label": "Time",
                    "props": {
                        "min": asked_by("start_time", "Minimum", needed=True), "max": asked_by("end_time", "Maximum", needed=True),
                        "units": {"value": "UTC"},
                        "res": {**asked_by("resolution", "Resolution", needed=False), "units": "s"},
                    },
                    "validRange": [_time(span.start), _time(span.stop)] if span.start is not None and span.stop is not None else None,
                }
            },
            "data": {each.name: {"label": each.column.label or each.name, "units": streams.units(each.column.unit), "props": {}} for each in shown},
            "examples": [{"label": "The last samples", "settings": {"coords/time/props/min": _time(first), "coords/time/props/max": _time(last)}}] if span.start is not None else [],
            "formats": {"das": {"label": "das stream", "mimeTypes": ["application/vnd.das2.das2stream", "text/vnd.das2.das2stream", "application/vnd.das.stream"]}},
        },
    }  # fmt: skip


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/das2/server``, and the catalogue's nodes."""

    async def server(request: Request) -> Response:
        given, asked = _given(request), _Asked(request, around)
        what, path = given.get("server", ""), given.get("dataset", "")
        if what == "dataset":
            return await _data(asked, given)
        if what in {"list", "discovery"}:
            return await anyio.to_thread.run_sync(lambda: _listed(asked, examples=what == "discovery"))
        if what == "dsdf":
            return await anyio.to_thread.run_sync(_dsdf, asked, path)
        settings = around.site.settings
        if what == "peers":
            return _peers(asked)
        if what == "id":
            return Response(f"{settings.title or settings.name}\r\n", headers={**SHORT, "content-type": PLAIN})
        if what == "logo":
            if settings.logo:
                return RedirectResponse(f"{asked.url.removesuffix('/das2')}/logo", 302)
            raise NotFound("this site has no logo")
        if what:
            raise ParamError("there is no such kind of request", name="server", remedy=f"server= {', '.join(SERVERS)}")
        body = "".join(f"{asked.url}/server?server={each}\r\n" for each in SERVERS)
        return Response(
            f"das2 server of {settings.title or settings.name}\r\n\r\n{body}", headers={**SHORT, "content-type": PLAIN}
        )

    def document(make: Any) -> Any:
        async def answer(request: Request) -> Response:
            asked = _Asked(request, around)
            made = await anyio.to_thread.run_sync(make, asked, request.path_params.get("path", ""))
            body = orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            return dali.whole(request, body, {**SHORT, "content-type": "application/json"})

        return answer

    def changed(holdings: Holdings) -> None:
        pyramids.follow(around, series.data_sets(around, ANONYMOUS, FACE.name, holdings).values(), holdings)

    around.site.after_changes(changed)
    return [
        route("/das2/server", server, _faults),
        route("/das2/catalog.json", document(_node)),
        route("/das2/catalog/{path:path}", document(_node)),
        route("/das2/source/{path:path}", document(_source)),
    ]


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how samples are asked for."""
    made = []
    for one in published.table.series:
        url = f"{base}/das2/server?server=dataset&dataset={quote(one.path)}&start_time={{start}}&end_time={{end}}"
        made.append(Way(title=FACE.title, url=f"{base}/das2/server?server=dsdf&dataset={quote(one.path)}", example=f"curl -o samples.d2s '{url}&resolution=60'"))  # fmt: skip
    return made


def applies(table: Table) -> bool:
    """Serve tables with data sets."""
    return bool(table.series)


FACE = Face(
    name="das2",
    title="das2",
    description="Samples in time as streams of das2 2.2, reduced to the resolution asked for; for Autoplot, das2py and others.",
    applies=applies,
    lacking="data sets of samples in time (`series`)",
    ways=_ways,
    routes=routes,
)
