"""das2 2.2: the server at ``/das2/server`` with its list, its descriptions and its streams, reduced to the resolution that is asked for.

The names of das2 2.3 and of the servers that came later are understood as well, and nodes of the federated catalogue stand at
``/das2/catalog.json``. What is wrong is said in a packet of the stream, as das2's own servers do; an interval without samples is no error of HTTP.
"""

from __future__ import annotations

from functools import cached_property
from itertools import groupby, pairwise
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

import anyio.to_thread
import numpy as np
import orjson
from starlette.responses import RedirectResponse, Response

from hven import __version__
from hven import services as dali
from hven.model.errors import NotFound, ParamError, UserError
from hven.model.params import Param
from hven.model.types import FLOAT64
from hven.services import _pyramids as pyramids
from hven.services import _reductions as reductions
from hven.services import series
from hven.services._spans import applies, links
from hven.services._stamps import SECOND
from hven.services.face import Capability, Face, Surroundings, Way, route
from hven.services.faces import _das2_streams as streams
from hven.services.faces._das2_streams import Form, Plane, Segment
from hven.site import sends
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Bins, Link, Schema, Table
    from hven.services.series import DataSet, Parameter
    from hven.site import Holdings, Published

# other name -> that of das2 2.2: of 2.3, of its longer forms, of das 3.0
OLD = {
    "time.min": "start_time", "reader.x.min": "start_time", "read.time.min": "start_time",
    "time.max": "end_time", "reader.x.max": "end_time", "read.time.max": "end_time",
    "time.res": "resolution", "reducer.x.resolution": "resolution", "bin.time.max": "resolution",
    "reader.x.interval": "interval", "reader.params": "params", "read.data": "params", "reader.ascii": "ascii", "encoder.ascii": "ascii",
}  # fmt: skip
TRUE = {"true", "1", "yes", "t"}
FEW = 16  # elements of an array without bins that are shown as so many lines
EXAMPLE = 2_000  # samples of an example, about
SHORT = {"cache-control": "no-cache", "vary": "authorization, cookie, host", "access-control-allow-origin": "*"}
TEXT = {**SHORT, "content-type": "text/plain; charset=utf-8"}
STREAM = "text/vnd.das2.das2stream; charset=utf-8"
PEERS = """<?xml version="1.0" encoding="UTF-8"?>
<das2server>
  <peers>
    <server>
      <name>{}</name>
      <url>{}</url>
      <description>{}</description>
    </server>
  </peers>
</das2server>
"""
CATALOG = """{"type": "Catalog", "version": "0.4", "name": $name, "title": $title, "separator": "/", "catalog": $inside}
"""
COLLECTION = """{
  "type": "Collection", "version": "0.4", "name": $name, "title": $title, "description": $about,
  "coordinates": $axes,
  "data": $data, "tech_contacts": [{"name": $contact}],
  "sources": {"das2": {"type": "HttpStreamSrc", "convention": "das2/2.2", "name": "das2/2.2 Source", "urls": [$source]}}
}
"""
SOURCE = """{
  "type": "HttpStreamSrc", "version": "0.7", "name": $name, "label": $title, "title": $title, "description": $about,
  "protocol": {
    "method": "GET", "convention": "das2/2.2", "authorization": {"required": false}, "baseUrls": [$server],
    "httpParams": {
      "start_time": {"required": true, "type": "isotime"}, "end_time": {"required": true, "type": "isotime"},
      "resolution": {"required": false, "type": "real", "units": "s"},
      "params": {"required": false, "type": "FlagSet", "flagSep": ",", "flags": $flags},
      "format.version": {"required": false, "type": "enum", "enum": ["2", "3"]},
      "format.serial": {"required": false, "type": "enum", "enum": ["binary", "text"]},
      "compress": {"required": false, "type": "boolean"}
    }
  },
  "interface": {
    "coords": {
      "time": {
        "label": "Time",
        "props": {
          "min": {"label": "Minimum", "value": null, "set": {"param": "start_time", "required": true}},
          "max": {"label": "Maximum", "value": null, "set": {"param": "end_time", "required": true}},
          "units": {"value": "UTC"},
          "res": {"label": "Resolution", "value": null, "set": {"param": "resolution", "required": false}, "units": "s"}
        },
        "validRange": [$min, $max]
      }
    },
    "data": $data,
    "examples": [{"label": "The last samples", "settings": {"coords/time/props/min": $from, "coords/time/props/max": $to}}],
    "formats": {
      "das": {"label": "das stream", "mimeTypes": ["application/vnd.das2.das2stream", "text/vnd.das2.das2stream", "application/vnd.das.stream"]}
    }
  }
}
"""
WORDS = {400: "IllegalArgument", 404: "NoSuchDataSource", 401: "Unauthorized", 403: "Forbidden"}


def _faults(request: Request, error: Exception) -> Response:
    """Say what is wrong as das2 has it."""
    status = dali.status_of(error)
    word = WORDS.get(status, "IllegalArgument" if isinstance(error, UserError) else "ServerError")
    body = streams.exception(word, dali.message_of(error, dali.request_id(request)), word="stream")
    return Response(
        body, status, {**dali.headers_of(error), **SHORT, "cache-control": "no-store", "content-type": STREAM}
    )


def _given(request: Request) -> dict[str, str]:
    """Read a query, whose parts may be set off by semicolons; of a name that comes twice the first counts."""
    raw = request.scope.get("query_string", b"").replace(b";", b"&").decode("utf-8", "replace")
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise ParamError("the address has more than 100 parameters") from None
    return {OLD.get(name, name): value.strip() for name, value in reversed(pairs)}


class _Asked(series.Asked):
    face = "das2"

    def __init__(self, request: Request, around: Surroundings) -> None:
        super().__init__(request, around)
        self.url, self.settings = f"{self.base}/das2", around.site.settings

    @cached_property
    def known(self) -> dict[str, DataSet]:
        """By path: those that have something to show."""
        return {one.series.path: one for one in super().known.values() if any(map(_shown, one.parameters))}

    def one(self, path: str) -> DataSet:
        found = self.named(path.strip("/").removesuffix(".dsdf"))
        if found is None:
            raise NotFound("there is no such data source", remedy=f"{self.url}/server?server=list has them all")
        return found


def _shown(one: Parameter) -> bool:
    """Return whether das2 has packets for it: numbers, lists of numbers, and a few of such lists."""
    return one.kind in {"double", "integer"} and (len(one.size) < 2 or (len(one.size) == 2 and one.size[0] <= FEW))


def _time(moment: int) -> str:
    """Write a time with the digits that it needs."""
    text = series.iso(moment)[:-1]
    return text[:19] if text.endswith(".000000") else text[:23] if text.endswith("000") else text


def _range(start: int, stop: int) -> str:
    return f"{_time(start)} to {_time(stop)} UTC"


def _title(one: DataSet) -> str:
    return " ".join((one.series.title or one.table.title or one.id).split())


def _told(asked: _Asked, one: DataSet) -> dict[str, Any]:
    """Collect what documents tell of a data source."""
    span, resource, settings = asked.span(one), one.published.resource, asked.settings
    said = one.series.description or one.table.description or (resource.description if resource else None)
    contact = resource.contact if resource else None
    address, shown = quote(one.series.path), [each for each in one.parameters if _shown(each)]
    found: dict[str, Any] = {
        "name": one.series.path.rpartition("/")[2], "title": _title(one), "about": " ".join((said or "").split()),
        "min": None, "max": None, "from": None, "to": None,
        "contact": (contact.name if contact else None) or settings.contact_name or settings.title or settings.name,
        "email": (contact.email if contact else None) or settings.contact_email or "",
        "source": f"{asked.url}/source/{address}.json", "server": f"{asked.url}/server?server=dataset&dataset={address}",
        "axes": {plane.axis.lower(): {"name": plane.axis, "units": streams.units(plane.tag_unit)} for plane in _planes(shown, {}) if plane.tags},
        "data": {
            each.name: {"name": each.name, "label": each.column.label or each.name, "title": each.column.description, "units": streams.units(each.column.unit), "props": {}}
            for each in shown
        },
        "flags": {each.name: {"value": each.name} for each in shown},
    }  # fmt: skip
    if span.start is not None and span.stop is not None:  # an example: the last samples, from a whole second on
        stop = -(-span.stop // SECOND) * SECOND
        low = max(span.start, (stop - int(EXAMPLE * pyramids.native(one, span))) // SECOND * SECOND)
        moments = (span.start, span.stop, low, stop)
        found |= zip(("min", "max", "from", "to"), map(_time, moments), strict=True)
    time = {"name": one.time.name, "units": "UTC", "valid_min": found["min"], "valid_max": found["max"]}
    return found | {"axes": {"time": time, **found["axes"]}}


def _filled(template: str, told: Mapping[str, Any]) -> Response:
    """Answer with JSON: each name behind a $ becomes what is told."""
    body = Template(template).substitute({name: orjson.dumps(each).decode() for name, each in told.items()})
    return Response(body, headers={**SHORT, "content-type": "application/json"})


def _list(asked: _Asked, given: Mapping[str, str]) -> Response:
    """List directories and data sources, one a line: with their titles, as das2's server has it."""
    lines = set()
    for path, one in asked.known.items():
        if given["server"] == "list" or asked.span(one).start is not None:
            lines |= {f"{path[: at + 1]}\r\n" for at, letter in enumerate(path) if letter == "/"}
            lines.add(f"{path}|{_title(one)}\r\n")
    return Response("".join(sorted(lines)), headers=TEXT)


def _dsdf(asked: _Asked, given: Mapping[str, str]) -> Response:
    """Describe a data source: a stream of nothing but properties."""
    one = asked.one(given.get("dataset", ""))
    told = _told(asked, one)
    left = ", ".join(each.name for each in one.parameters if not _shown(each))
    items = {
        f"item_{at:02d}": f"{name} | {each['title'] or name}"
        for at, (name, each) in enumerate(told["data"].items())
        if at < 100
    }
    said = {
        "description": told["title"], "title": told["title"], "das2Stream": "1", "server": f"{asked.url}/server", "summary": told["about"],
        "techContact": f"{told['contact']} <{told['email']}>" if told["email"] else told["contact"],
        "validRange": f"{told['min']} to {told['max']} UTC" if told["min"] else "",
        "exampleRange_00": f"{told['from']} to {told['to']} UTC | the last samples" if told["min"] else "",
        **items,
        "param_00": f"{next(iter(told['data']))} | names of variables with commas between; else all" if len(items) > 1 else "",
        "note": f"not in streams, for they are texts or tables: {left}" if left else "",
    }  # fmt: skip
    return Response(streams.properties(said), headers={**SHORT, "content-type": STREAM})


def _peers(asked: _Asked, _: Mapping[str, str]) -> Response:
    """Name the servers that this one knows of: itself."""
    said = (asked.settings.name, f"{asked.url}/server", asked.settings.description or asked.settings.title)
    body = PEERS.format(*(escape(each or asked.settings.name) for each in said))
    return Response(body, headers={**SHORT, "content-type": "text/xml; charset=utf-8"})


def _logo(asked: _Asked, _: Mapping[str, str]) -> Response:
    if not asked.settings.logo:
        raise NotFound("this site has no logo")
    return RedirectResponse(f"{asked.base}/logo", 302)


def _help(asked: _Asked, given: Mapping[str, str]) -> Response:
    """Say whose server it is, and what it may be asked."""
    name = f"{asked.settings.title or asked.settings.name}\r\n"
    every = "".join(f"{asked.url}/server?server={each}\r\n" for each in SERVERS if each)
    return Response(name if given.get("server") else f"das2 server of {name}\r\n{every}", headers=TEXT)


def _wrong(name: str, message: str, remedy: str) -> ParamError:
    return ParamError(f"{name} {message}", name=name, remedy=remedy)


def _moment(given: Mapping[str, str], name: str) -> int:
    """Read a time, as strictly as ISO 8601 or with a space between date and clock."""
    text = given.get(name, "").upper().removesuffix("UTC").replace("T", " ")
    try:
        return series.micros("T".join(text.split()))
    except ValueError:
        raise _wrong(name, "is missing, or no time", "write 2017-01-01T10:30 or 2017-001T10:30") from None


def _width(given: Mapping[str, str], native: float) -> int | None:
    """Read the resolution, the seconds that may lie between two samples: how wide bins are; None: samples as they are."""
    text = given.get("resolution", "").lower()
    try:
        found = 0.0 if text in {"", "intrin", "intrinsic"} else float(text.removesuffix("s"))
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e12:
        raise _wrong("resolution", "is no number of seconds", "write 60, or leave it out")
    return reductions.width(int(found * SECOND), native)


def _chosen(one: DataSet, given: Mapping[str, str]) -> list[Parameter]:
    every = {each.name: each for each in one.parameters if _shown(each)}
    wanted = given.get("params", "").replace(",", " ").split() or every
    if not every.keys() >= {*wanted}:
        raise _wrong("params", "names what this data source does not have", f"it has {', '.join(every)[:500]}")
    return [each for name, each in every.items() if name in wanted]


def _form(given: Mapping[str, str]) -> Form:
    version, serial = (given.get(f"format.{name}") or usual for name, usual in (("version", "2"), ("serial", "binary")))
    if version not in {"2", "3", "2.2", "3.0"} or serial not in {"binary", "text"}:
        raise _wrong("format", "is none that there is", "format.version=2 or 3, format.serial=binary or text")
    text, packed = (given.get(name, "").lower() in TRUE for name in ("ascii", "compress"))
    return Form(int(version[0]), text or serial == "text", packed and version[0] == "2")


def _data(asked: _Asked, given: Mapping[str, str]) -> Response | tuple[Any, Mapping[str, str]]:
    one = asked.one(given.get("dataset", ""))
    if given.get("interval"):
        raise _wrong("interval", "is for sources that compute positions; this one has samples", "leave it out")
    start, stop, span = _moment(given, "start_time"), _moment(given, "end_time"), asked.span(one)
    if start >= stop:
        raise _wrong("end_time", "is not behind start_time", "write a later one")
    sends(tables={one.table.qualified: 0})
    chosen, form, native = _chosen(one, given), _form(given), pyramids.native(one, span)
    width = _width(given, native)
    reach = asked.holdings.reach(asked.who, asked.around.policies)
    tag = dali.etag(__version__, asked.holdings.version, reach, asked.url, one.changing, *sorted(given.items()))
    label = "_".join(_time(each).replace(":", "-").removesuffix("T00-00-00") for each in (start, stop))
    headers = {
        **dali.caching(tag, public=reach == "public" and asked.who.anonymous),
        "access-control-allow-origin": "*", "content-type": form.media_type,
        "content-disposition": f'inline; filename="{quote(one.series.path.rpartition("/")[2])}_{label}.{form.ending}"',
    }  # fmt: skip
    if dali.unchanged(asked.request, tag):
        return Response(status_code=304, headers=headers)
    stamp = one.time.length if one.fine and not width else form.stamp
    form = form._replace(properties=_properties(asked, one, chosen, _range(start, stop), width), stamp=stamp)

    def chunks() -> Iterator[bytes]:
        there = span.start is not None and span.stop is not None and start < span.stop and stop > span.start
        segments = _segments(asked, one, chosen, start, stop, width) if there else ()
        request = dali.request_id(asked.request)
        nothing = f"No data in the interval {_range(start, stop)}"
        return streams.written(segments, form, nothing, lambda error: dali.message_of(error, request))

    return chunks, headers


def _properties(
    asked: _Asked, one: DataSet, chosen: Sequence[Parameter], interval: str, width: int | None
) -> dict[str, str]:
    """Say what holds for the whole stream."""
    planes = _planes(chosen, {})
    letter, first = next((("z", each) for each in planes if each.tags), ("y", planes[0]))
    seconds = width / SECOND if width else one.series.cadence
    said = {
        "title": f"{_title(one)}%{{xCacheResInfo}}", "summary": _told(asked, one)["about"], "xLabel": "Time (UTC)",
        "DatumRange:xCacheRange": interval, "sourceId": f"hven {__version__}",
        "xCacheResInfo": f" ({_long(width / SECOND)} Averages)" if width else " (Intrinsic Resolution)",
        "Datum:xTagWidth": f"{seconds:.9g} s" if seconds else "",
        "Datum:xCacheResolution": f"{seconds:.9g} s" if width else "",
        f"double:{letter}Fill": f"{streams.FILL:g}",
    }  # fmt: skip
    if first.tags:
        said |= {"renderer": "spectrogram", "yLabel": _labelled(first.axis, first.tag_unit), "zLabel": first.label}
        if min(first.tags) > 0 and max(first.tags) > 30 * min(first.tags):
            said["yScaleType"] = "log"
    elif len(chosen) == 1:
        said["yLabel"] = first.label
    return said


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


def _axis(one: Parameter) -> Bins | None:
    """Find what the elements of its last dimension stand for."""
    return one.bins[-1] if one.bins else None


def _tags(one: Parameter) -> tuple[float, ...]:
    """Give the values of its elements, where they are the same for all samples."""
    axis = _axis(one)
    if axis is None or isinstance(axis.centers, str) or isinstance(axis.ranges, str):
        return ()
    return axis.centers or tuple((low + high) / 2 for low, high in axis.ranges)


def _table(one: DataSet, each: Parameter) -> str | None:
    """Name the column that has the values of its elements for each sample."""
    axis = _axis(each)
    name = axis.centers.lower() if axis is not None and isinstance(axis.centers, str) else None
    fit = (other.name for other in one.parameters if other.name.lower() == name and other.size == each.size[-1:])
    return next(fit, None)


def _planes(
    chosen: Sequence[Parameter], moved: Mapping[str, tuple[float, ...]], *, reduced: bool = False
) -> list[Plane]:
    """Describe the variables of a packet; means first, then peaks, as das2's own reducer has them, of lines the lowest values before these."""
    found = []
    stems: dict[str, str] = {}
    for each in chosen:
        stem = plain = streams.identifier(each.name)
        while stem in stems.values():  # two names that differ in other characters
            stem = f"{plain[:50]}_{len(stems)}x"
        stems[each.name] = stem
        axis, (many, size) = _axis(each), (1, 1, *each.size)[-2:]
        tags, name, unit = None, "", None
        if len(each.size) == 2 or each.bins or size > FEW:
            tags = moved.get(each.name) or _tags(each) or tuple(map(float, range(1, size + 1)))
            name, unit = (axis.label or axis.name, axis.unit) if axis else ("index", None)
        elif each.size:  # of a few without bins each is a line of its own
            many, size = size, 1
        for at in range(many):
            several = (tags is None and each.size) or many > 1
            label = f"{each.name} {at + 1}" if several else _labelled(each.column.label or each.name, each.column.unit)
            ending, part = f"_{at + 1}" if several else "", (at * size, at * size + size)
            said = (each.column.unit, tags, name, unit, "", "", label, each.column.description or "")
            found.append(Plane(stem + ending, each.name, part, *said))
    lines = {each.name for each in chosen if not each.size}
    kinds = [[("m", "", "BIN_AVG")], [("l", ".min", "BIN_MIN"), ("h", ".max", "BIN_MAX")]]
    every = (
        one._replace(name=one.name + ending, field=f"{letter} {one.field}", source=one.name, operation=operation)
        for kind in kinds for one in found for letter, ending, operation in kind if letter != "l" or one.field in lines
    )  # fmt: skip
    return [*every] if reduced else found


def _segments(
    asked: _Asked, one: DataSet, chosen: Sequence[Parameter], start: int, stop: int, width: int | None
) -> Iterator[Segment]:
    """Read samples, in pieces of which each has the same values of elements."""
    names, tables = [each.name for each in chosen], {each.name: _table(one, each) for each in chosen}
    moving = sorted({table for table in tables.values() if table})
    place = (asked.around, asked.who, one)

    def rows(bins: Iterable[Any], step: int) -> Iterator[tuple[Any, Any]]:
        return ((each["number"] * step + step // 2, each) for each in bins)

    if width is not None and not moving:
        bins = pyramids.reduced(*place, names, start, stop, width, asked.holdings)
        yield _planes(chosen, {}, reduced=True), rows(bins, width)
        return
    step = width or 1
    low, high = start // step * step, -(-stop // step) * step
    every = list(dict.fromkeys([*names, *moving]))
    if one.fine and not width:
        batches = series.fine_samples(*place, every, low * 1000, high * 1000, asked.holdings)
    else:
        batches = series.samples(*place, every, low, high, asked.holdings)
    for said, pieces in groupby(_pieces(batches, moving), lambda piece: piece[0]):
        tags = {name: tuple(np.frombuffer(raw, np.float64).tolist()) for name, raw in zip(moving, said, strict=True)}
        planes = _planes(chosen, {name: tags[table] for name, table in tables.items() if table}, reduced=bool(width))
        parts = (batch for _, batch in pieces)
        if width:
            yield planes, rows(map(reductions.stored, reductions.binned(parts, width, names)), width)
        else:
            yield planes, ((each.column(0).to_numpy(), {name: reductions.matrix(each.column(name)) for name in names}) for each in parts)  # fmt: skip


def _pieces(
    batches: Iterable[pa.RecordBatch], moving: Sequence[str]
) -> Iterator[tuple[tuple[bytes, ...], pa.RecordBatch]]:
    """Cut batches where the values of elements change."""
    for batch in batches:
        tables = [reductions.matrix(batch.column(name)).astype(np.float64) for name in moving]
        changes = np.zeros(max(batch.num_rows - 1, 0), bool)
        for table in tables:
            now, before = table[1:], table[:-1]
            changes |= ((now != before) & ~(np.isnan(now) & np.isnan(before))).any(axis=1)
        cuts = [0, *(np.flatnonzero(changes) + 1).tolist(), batch.num_rows]
        for first, last in pairwise(cuts if batch.num_rows else ()):
            yield tuple(table[first].tobytes() for table in tables), batch.slice(first, last - first)


def _node(asked: _Asked, path: str) -> Response:
    """Make a node of the federated catalogue: a directory, or a data source with what it holds."""
    path = path.strip("/").lower()
    inside: dict[str, dict[str, Any]] = {}
    parts, depth, settings = [""], path.count("/") + bool(path), asked.settings
    for each, one in asked.known.items():
        if each.lower() == path:
            return _filled(COLLECTION, _told(asked, one))
        if not path or each.lower().startswith(f"{path}/"):
            parts = each.split("/")
            below, leaf = parts[depth], len(parts) == depth + 1
            url = f"{asked.url}/catalog/{quote('/'.join(parts[: depth + 1]))}.json"
            about = (_title(one), "Collection") if leaf else (None, "Catalog")
            inside[below.lower()] = {"name": below, "title": about[0], "type": about[1], "urls": [url]}
    if path and not inside:
        raise NotFound("there is no such node", remedy=f"{asked.url}/catalog.json leads to all of them")
    name, title = (parts[depth - 1], None) if path else (settings.name, settings.title or settings.name)
    return _filled(CATALOG, {"name": name, "title": title, "inside": dict(sorted(inside.items()))})


def _source(asked: _Asked, path: str) -> Response:
    """Describe how a data source is asked over HTTP."""
    return _filled(SOURCE, _told(asked, asked.one(path)))


SERVERS: dict[str, Callable[[_Asked, Mapping[str, str]], Any]] = {
    "list": _list, "discovery": _list, "dsdf": _dsdf, "dataset": _data, "peers": _peers, "id": _help, "logo": _logo, "": _help,
}  # fmt: skip


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/das2/server``, and the catalogue's nodes."""

    async def server(request: Request) -> Response:
        given = _given(request)
        answer = SERVERS.get(given.get("server", ""))
        if answer is None:
            raise _wrong("server", "is no kind of request", f"server= {', '.join(filter(None, SERVERS))}")
        found = await anyio.to_thread.run_sync(answer, _Asked(request, around), given)
        return await series.streamed(request, *found) if isinstance(found, tuple) else found

    def document(make: Callable[[_Asked, str], Response]) -> Any:
        async def answer(request: Request) -> Response:
            path = request.path_params.get("path", "").removesuffix(".json")
            return await anyio.to_thread.run_sync(make, _Asked(request, around), path)

        return answer

    def changed(holdings: Holdings) -> None:
        pyramids.follow(around, series.data_sets(around, ANONYMOUS, FACE.name, holdings).values(), holdings)

    if not around.collections:  # a portal has no others than the site
        around.site.after_changes(changed)
    nodes = {"/das2/catalog.json": _node, "/das2/catalog/{path:path}": _node, "/das2/source/{path:path}": _source}
    return [
        route("/das2/server", server, _faults),
        *(route(path, document(make)) for path, make in nodes.items()),
    ]


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how samples are asked for."""
    made = []
    for one in published.table.series:
        url = f"{base}/das2/server?server=dataset&dataset={quote(one.path)}&start_time={{start}}&end_time={{end}}"
        made.append(Way(title=FACE.title, url=f"{base}/das2/server?server=dsdf&dataset={quote(one.path)}", example=f"curl -o samples.d2s '{url}&resolution=60'"))  # fmt: skip
    return made


def _links(table: Table, around: Surroundings) -> Sequence[Link]:
    """Describe how samples of rows are asked for that are spans of data sets."""
    resolution = Param(
        name="resolution", type=FLOAT64, unit="s", description="seconds that may lie between two samples"
    )
    return links(
        table, around, FACE.name, "/das2/server", lambda one: {"server": "dataset", "dataset": one.path}, ("start_time", "end_time"),
        (resolution,), "application/vnd.das2.das2stream", "/das2/server?server=dsdf&",
    )  # fmt: skip


def _capable(_: Surroundings, base: str, schema: Schema | None) -> Sequence[Capability]:
    """Name its catalogue: the IVOA has no identifier for it."""
    return [] if schema else [Capability(standard_id=None, url=f"{base}/das2/catalog.json", interface="vr:WebBrowser")]


FACE = Face(
    name="das2",
    title="das2",
    description="Samples in time as streams of das2 2.2, reduced to the resolution asked for; for Autoplot, das2py and others.",
    applies=applies,
    lacking="data sets of samples in time (`series`)",
    ways=_ways,
    routes=routes,
    links=_links,
    capable=_capable,
)
