"""Group hapi: a HAPI server's documents, what it says of its data sets, their samples in each format, and its words for wrong requests."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hven.lint import hapi_server as hapi
from hven.lint.findings import Looked, Notes, table_of_checks
from hven.lint.group import Group
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.lint.hapi_server import Server
    from hven.sources.remote import Answer

H = "HAPI 3.3 sec. "
CHECKS = table_of_checks(
    ("hapi.document", "error", H + "3", "a document is not there, or no JSON object", "answer with status 200 and a JSON object", ""),
    ("hapi.status", "error", H + "3.8", "a document has no HAPI version, or no status with the code 1200", "{HAPI: .., status: {code: 1200, message: OK}}", ""),
    ("hapi.media-type", "warning", H + "3", "an answer has another media type", "application/json, text/csv, application/octet-stream", ""),
    ("hapi.cors", "warning", H + "9", "scripts of other sites may not read the answer", "Access-Control-Allow-Origin: *", ""),
    ("hapi.about-key", "error", H + "3.2", "/about lacks a key", "id, title, contact", ""),
    ("hapi.formats", "error", H + "3.3", "outputFormats does not have csv", "every server has csv", ""),
    ("hapi.catalog", "error", H + "3.5", "the catalog has an entry without id, an id twice, or one that clients cannot send back", "one id each, without commas", ""),
    ("hapi.depth", "error", H + "3.5", "the catalog of depth=all has another info than /info", "give the same", ""),
    ("hapi.info-key", "error", H + "3.6", "an info lacks a key, or has it in another form", "parameters, startDate, stopDate; times and durations as ISO 8601 has them", ""),
    ("hapi.time", "error", H + "3.6.3", "the first parameter is not the time", "type isotime, units UTC, fill null", ""),
    ("hapi.parameter", "error", H + "3.6.3", "a parameter is not described as it must be", "name, type, length of texts, size of arrays, units, fill as a text", ""),
    ("hapi.bins", "error", H + "3.6.18", "bins do not fit the parameter's size", "one center or range for each element of each dimension", ""),
    ("hapi.subset", "error", H + "3.6.1", "an info for some parameters has others", "the time, and what is asked for", ""),
    ("hapi.record", "error", H + "3.7", "a line of csv is not what the info says", "one value for each element, in the form of its type", ""),
    ("hapi.time-form", "error", H + "3.7.6", "times have another length than is said, or no Z at their end", "one form in a data set", ""),
    ("hapi.order", "error", H + "3.7", "samples are not in the order of time", "sort them", ""),
    ("hapi.outside", "error", H + "3.7", "samples lie outside of what was asked for, or do not come though they lie within", "from start on, before stop", ""),
    ("hapi.binary", "error", H + "3.7.4", "binary has other samples than csv, or no whole number of records", "little-endian doubles, integers of 4 bytes, texts of their length", ""),
    ("hapi.json", "error", H + "3.7.5", "json has other samples than csv, or is not as the info says", "the header's object with the key data", ""),
    ("hapi.header", "error", H + "3.7.2", "the header before the samples is not the info with its format", "lines that begin with #, include=header", ""),
    ("hapi.nothing", "warning", H + "3.8", "an interval without samples is not answered with nothing", "status 200, an empty body; with include=header the code 1201", ""),
    ("hapi.code", "warning", H + "3.8.1", "a wrong request does not get the code that there is for it", "HAPI's own code in a JSON document", ""),
    ("hapi.refused", "error", H + "3.8.1", "a wrong request is not refused", "an HTTP status from 400 on, a JSON document with HAPI's code", ""),
    ("hapi.http-status", "error", H + "3.8.1", "the HTTP status does not fit HAPI's code", "404 for unknown data sets and parameters, else 400", ""),
    ("hapi.echo", "error", H + "3.8.2", "a wrong value is said again in the answer", "leave it out: it may be a script", ""),
    ("hapi.old-names", "error", H + "1.1", "requests of HAPI 2 are not understood", "take id, time.min and time.max, too", ""),
)  # fmt: skip
TYPES = {"string", "double", "integer", "isotime"}
STAMPS = {"begin", "center", "end", "other"}
SETS = 20  # data sets that are judged, at most
SAMPLES = 40  # of a data set, about
WRONG = "hvenWrong<b>"
NOT_FOUND = {1406, 1407}


def _run(server: Server, notes: Notes) -> None:
    documents = {}
    for name, needed in (("about", ("id", "title", "contact")), ("capabilities", ()), ("catalog", ())):
        if name == "about" and server.at_least < (3,):
            continue
        documents[name] = _document(server, notes, name) or {}
        for key in needed:
            if documents[name] and not documents[name].get(key):
                notes.tell("hapi.about-key", key)
    if "csv" not in server.formats:
        notes.tell("hapi.formats", value=server.formats)
    listed = documents["catalog"].get("catalog")
    ids: list[str] = []
    for item in listed if isinstance(listed, list) else []:
        one = item.get("id") if isinstance(item, dict) else None
        if not isinstance(one, str) or not one or "," in one or one in ids:
            notes.tell("hapi.catalog", value=one)
        else:
            ids.append(one)
    if not ids:
        notes.skip("the catalog has no data sets")
        return
    deep = _deep(server, notes) if server.at_least >= (3, 2) else {}
    step = max(len(ids) // SETS, 1)
    good = None
    for name in ids[::step][:SETS]:
        try:
            found = _data_set(server, notes, name, deep.get(name))
            good = good or found
        except UserError as error:
            notes.skip(f"{name}: {error.message}")
    if good is not None:
        _refusals(server, notes, *good)


def _document(server: Server, notes: Notes, endpoint: str, **given: str) -> dict[str, Any] | None:
    """Fetch a document, and judge what all have."""
    answer = server.ask(endpoint, **given)
    where: dict[str, Any] = {"table": given.get("dataset", "")}
    try:
        found = hapi.read(answer)
    except hapi.NotJson as error:
        notes.tell("hapi.document", f"/{endpoint}: {error.message}", **where)
        return None
    if answer.status != 200:
        notes.tell("hapi.document", f"/{endpoint} answers {answer.status}", **where)
        return None
    if hapi.code_of(answer) != 1200 or not found.get("HAPI"):
        notes.tell("hapi.status", f"/{endpoint}", value=found.get("status"), **where)
    _media(notes, answer, "application/json", endpoint)
    if answer.headers.get("access-control-allow-origin") != "*":
        notes.tell("hapi.cors", f"/{endpoint}")
    return found


def _media(notes: Notes, answer: Answer, wanted: str, what: str) -> None:
    said = answer.headers.get("content-type", "")
    if said.partition(";")[0].strip().lower() != wanted:
        notes.tell("hapi.media-type", f"{what}: not {wanted}", value=said or "none")


def _deep(server: Server, notes: Notes) -> dict[str, Any]:
    if "all" not in (hapi.read(server.first).get("catalogDepthOptions") or ()):
        return {}
    found = _document(server, notes, "catalog", depth="all") or {}
    return {str(one.get("id")): one.get("info") for one in found.get("catalog", ()) if isinstance(one, dict)}


def _data_set(server: Server, notes: Notes, name: str, deep: Any) -> tuple[str, dict[str, Any], list[list[str]]] | None:
    info = _document(server, notes, "info", dataset=name)
    if info is None or not _info(notes, name, info):
        return None
    if isinstance(deep, dict):
        other = {key for key in (*deep, *info) if key not in {"HAPI", "status"} and deep.get(key) != info.get(key)}
        if other:
            notes.tell("hapi.depth", ", ".join(sorted(other)), table=name)
    rows = _samples(server, notes, name, info)
    listed = [one["name"] for one in info["parameters"]]
    if len(listed) > 1:
        some = _document(server, notes, "info", dataset=name, parameters=listed[-1]) or {}
        said = [one.get("name") for one in some.get("parameters", ()) if isinstance(one, dict)]
        if some and said != [listed[0], listed[-1]]:
            notes.tell("hapi.subset", table=name, value=said)
    notes_of = Looked(table=name, rows=len(rows), total=None, aggregates=False)
    server.looked.append(notes_of)
    return name, info, rows


def _info(notes: Notes, name: str, info: dict[str, Any]) -> bool:
    """Judge what a data set says of itself; False: nothing can be asked of it."""
    try:
        backwards = hapi.moment(info["startDate"]) >= hapi.moment(info["stopDate"])
    except (KeyError, TypeError, ValueError):
        notes.tell("hapi.info-key", "startDate, stopDate", table=name, value=(info.get("startDate"), info.get("stopDate")))  # fmt: skip
        return False
    if backwards:
        notes.tell("hapi.info-key", "stopDate is not behind startDate", table=name, value=info["stopDate"])
        return False
    if "cadence" in info and not hapi.seconds(str(info["cadence"])):
        notes.tell("hapi.info-key", "cadence", table=name, value=info["cadence"])
    if info.get("timeStampLocation", "center") not in STAMPS:
        notes.tell("hapi.info-key", "timeStampLocation", table=name, value=info["timeStampLocation"])
    listed = info.get("parameters")
    if (
        not isinstance(listed, list)
        or not listed
        or not all(isinstance(one, dict) and one.get("name") for one in listed)
    ):
        notes.tell("hapi.info-key", "parameters", table=name)
        return False
    time, names = listed[0], [str(one["name"]).lower() for one in listed]
    if time.get("type") != "isotime" or time.get("fill") is not None or time.get("units") != "UTC" or time.get("size"):
        notes.tell("hapi.time", table=name, column=str(time["name"]), value=time)
    wrong = False
    for one in listed:
        for why in _faults(one, names):
            notes.tell("hapi.parameter", why, table=name, column=str(one["name"]))
            wrong = wrong or why in {"type", "length", "size"}
        for why in _bins(one, {str(each["name"]): each for each in listed}):
            notes.tell("hapi.bins", why, table=name, column=str(one["name"]))
    return not wrong


def _faults(one: dict[str, Any], names: Sequence[str]) -> Iterator[str]:
    kind, fill, units, size = one.get("type"), one.get("fill"), one.get("units", ""), one.get("size")
    if names.count(str(one["name"]).lower()) > 1 or "," in str(one["name"]):
        yield "name"
    if kind not in TYPES:
        yield "type"
    if kind in {"string", "isotime"} and not (isinstance(one.get("length"), int) and one["length"] > 0):
        yield "length"
    if size is not None and not (
        isinstance(size, list) and size and all(isinstance(each, int) and each > 0 for each in size)
    ):
        yield "size"
    if units == "" or not isinstance(units, str | list | None):
        yield "units"
    if (
        "fill" not in one
        or not isinstance(fill, str | None)
        or (fill is not None and kind in {"integer", "double"} and not _number(fill, kind))
    ):
        yield "fill"


def _number(text: str, kind: str) -> bool:
    try:
        return -(2**31) <= int(text) < 2**31 if kind == "integer" else bool(float(text) or True)
    except ValueError:
        return False


def _bins(one: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    bins, size = one.get("bins"), one.get("size")
    if bins is None:
        return
    if not isinstance(bins, list) or not isinstance(size, list) or len(bins) != len(size):
        yield "one for each dimension"
        return
    for each, count in zip(bins, size, strict=True):
        if not isinstance(each, dict) or not each.get("name") or "units" not in each:
            yield "name, units"
            continue
        if "centers" not in each and "ranges" not in each:
            yield "neither centers nor ranges"
        for key in ("centers", "ranges"):
            said = each.get(key)
            if isinstance(said, str) and said not in known:
                yield f"{key} is no parameter"
            elif isinstance(said, list) and len(said) != count:
                yield f"{len(said)} {key} for {count} elements"
            elif isinstance(said, list) and key == "ranges" and not all(isinstance(two, list) and len(two) == 2 for two in said):  # fmt: skip
                yield "ranges are no pairs"


# --- samples -----------------------------------------------------------------------------------------------------


def _windows(info: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Choose where samples may be: what the server proposes, the last ones, the first ones, all of a small set."""
    first, last = hapi.moment(info["startDate"]), hapi.moment(info["stopDate"])
    with contextlib.suppress(KeyError, TypeError, ValueError):
        yield hapi.moment(info["sampleStartDate"]), hapi.moment(info["sampleStopDate"])
    cadence = hapi.seconds(str(info.get("cadence", "")))
    long = int(cadence * SAMPLES * hapi.SECOND) if cadence else max((last - first) // 1000, 60 * hapi.SECOND)
    for width in (long, 30 * long):
        yield max(first, last - width), last
        yield first, min(first + width, last)


def _samples(server: Server, notes: Notes, name: str, info: dict[str, Any]) -> list[list[str]]:
    """Judge some samples in all formats; return them as texts."""
    rows: list[list[str]] = []
    given: dict[str, str] = {}
    for start, stop in dict.fromkeys(_windows(info)):
        given = {"dataset": name, "start": hapi.written(start), "stop": hapi.written(stop)}
        answer = server.ask("data", **given)
        if answer.status != 200:
            notes.tell("hapi.document", f"/data answers {answer.status}, {hapi.code_of(answer)}", table=name, value=f"{given['start']} to {given['stop']}")  # fmt: skip
            return []
        rows = list(csv.reader(io.StringIO(answer.body.decode("utf-8", "replace"))))
        if rows:
            _media(notes, answer, "text/csv", "/data")
            break
    if not rows:
        notes.skip(f"{name}: no samples were found")
        return []
    if not answer.body.endswith(b"\n"):
        notes.tell("hapi.record", "the last line has no end", table=name)
    times = _records(notes, name, info, rows, start, stop)
    if times is None:
        return rows
    _formats(server, notes, name, info, rows, given)
    if len(set(times)) > 2:
        at = sorted(set(times))
        part = server.ask("data", dataset=name, start=hapi.written(at[1]), stop=hapi.written(at[2]))
        got = [row[:1] for row in csv.reader(io.StringIO(part.body.decode("utf-8", "replace")))]
        if got != [row[:1] for row, time in zip(rows, times, strict=True) if time == at[1]]:
            notes.tell("hapi.outside", "from one sample to the next", table=name, value=[row[0] for row in got[:3]])
        if at[1] - at[0] > 2:
            empty = {"dataset": name, "start": hapi.written(at[0] + 1), "stop": hapi.written(at[0] + 2)}
            none, headed = server.ask("data", **empty), server.ask("data", **empty, include="header")
            if none.status not in {200, 204} or none.body.strip():
                notes.tell("hapi.nothing", f"status {none.status}, {len(none.body)} bytes", table=name)
            elif _header(headed.body)[0].get("status", {}).get("code") not in {1200, 1201}:
                notes.tell("hapi.nothing", "with include=header", table=name)
    return rows


def _count(one: dict[str, Any]) -> int:
    return math.prod(one.get("size") or (1,))


def _records(notes: Notes, name: str, info: dict[str, Any], rows: list[list[str]], start: int, stop: int) -> list[int] | None:  # fmt: skip
    """Judge lines of csv; return their times, None: they cannot be read."""
    listed = info["parameters"]
    width, times = sum(map(_count, listed)), []
    cells = [one for one in listed for _ in range(_count(one))]
    for number, row in enumerate(rows, 1):
        where: dict[str, Any] = {"table": name, "key": f"record {number}"}
        if len(row) != width:
            notes.tell("hapi.record", f"{len(row)} values, not {width}", **where)
            return None
        if len(row[0]) != listed[0]["length"] or not row[0].endswith("Z"):
            notes.tell("hapi.time-form", f"{listed[0]['length']} characters", value=row[0], **where)
        for one, text in zip(cells, row, strict=True):
            kind = one["type"]
            if (kind in {"integer", "double"} and not _number(text, kind)) or (
                kind in {"string", "isotime"} and len(text.encode()) > one["length"]
            ):
                notes.tell("hapi.record", kind, column=str(one["name"]), value=text, **where)
        try:
            times.append(hapi.moment(row[0]))
        except ValueError:
            notes.tell("hapi.record", "no time", value=row[0], **where)
            return None
    if any(after < before for before, after in pairwise(times)):
        notes.tell("hapi.order", table=name, value=rows[0][0])
    if any(not start <= one < stop for one in times):
        notes.tell("hapi.outside", f"{hapi.written(start)} to {hapi.written(stop)}", table=name, value=(rows[0][0], rows[-1][0]))  # fmt: skip
    return times


def _formats(server: Server, notes: Notes, name: str, info: dict[str, Any], rows: list[list[str]], given: dict[str, str]) -> None:  # fmt: skip
    """Compare the other formats with the lines of csv."""
    header, rest = _header(server.ask("data", **given, include="header").body)
    said = [one.get("name") for one in header.get("parameters", ())]
    if header.get("format") != "csv" or said != [one["name"] for one in info["parameters"]]:
        notes.tell("hapi.header", table=name)
    elif list(csv.reader(io.StringIO(rest.decode("utf-8", "replace")))) != rows:
        notes.tell("hapi.header", "other samples than without it", table=name)
    flat = [_values(info, row) for row in rows]
    if "binary" in server.formats:
        answer = server.ask("data", **given, format="binary")
        _media(notes, answer, "application/octet-stream", "format=binary")
        codes = {"double": "d", "integer": "i"}
        form = struct.Struct("<" + "".join(_count(one) * codes.get(one["type"], f"{one.get('length')}s") for one in info["parameters"]))  # fmt: skip
        if len(answer.body) != form.size * len(rows):
            notes.tell("hapi.binary", f"{len(answer.body)} bytes, not {len(rows)} records of {form.size}", table=name)
        else:
            read = [[one.rstrip(b"\0").decode("utf-8", "replace") if isinstance(one, bytes) else one for one in record] for record in form.iter_unpack(answer.body)]  # fmt: skip
            _compared(notes, "hapi.binary", name, flat, read)
    if "json" in server.formats:
        answer = server.ask("data", **given, format="json")
        _media(notes, answer, "application/json", "format=json")
        try:
            found = hapi.read(answer)
            _compared(notes, "hapi.json", name, flat, [list(_flat(row)) for row in found["data"]])
        except (hapi.NotJson, KeyError, TypeError) as error:
            notes.tell("hapi.json", str(error), table=name)


def _header(body: bytes) -> tuple[dict[str, Any], bytes]:
    lines = body.splitlines(keepends=True)
    count = next((at for at, line in enumerate(lines) if not line.startswith(b"#")), len(lines))
    try:
        found = json.loads(b"".join(line[1:] for line in lines[:count]))
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}, b"".join(lines[count:])


def _values(info: dict[str, Any], row: list[str]) -> list[Any]:
    kinds = [one["type"] for one in info["parameters"] for _ in range(_count(one))]
    read = {"double": float, "integer": float}
    return [
        read[kind](text) if kind in read and _number(text, kind) else text
        for kind, text in zip(kinds, row, strict=True)
    ]


def _flat(value: Any) -> Iterator[Any]:
    for one in value:
        yield from _flat(one) if isinstance(one, list) else (one,)


def _compared(notes: Notes, code: str, name: str, wanted: list[list[Any]], got: list[list[Any]]) -> None:
    if len(wanted) != len(got):
        notes.tell(code, f"{len(got)} records, not {len(wanted)}", table=name)
        return
    for number, (left, right) in enumerate(zip(wanted, got, strict=True), 1):
        other = len(left) != len(right) or any(not _same(a, b) for a, b in zip(left, right, strict=True))
        if other:
            notes.tell(code, f"csv has {left[:8]}", table=name, key=f"record {number}", value=right[:8])
            return


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float):
        b = math.nan if b is None else b
        return isinstance(b, int | float) and (
            math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b)) or a == b
        )
    return bool(a == b)


# --- wrong requests ----------------------------------------------------------------------------------------------


def _refusals(server: Server, notes: Notes, name: str, info: dict[str, Any], rows: list[list[str]]) -> None:
    listed = [str(one["name"]) for one in info["parameters"]]
    start, stop = info["startDate"], info["stopDate"]
    if rows:
        last = hapi.moment(rows[-1][0])
        start, stop = rows[0][0], hapi.written(min(last + 1, hapi.moment(stop)))
    far = hapi.written(max(hapi.moment(info["startDate"]) - 366 * 86_400 * hapi.SECOND, 366 * 86_400 * hapi.SECOND))
    data = {"dataset": name, "start": start, "stop": stop}
    wrong: list[tuple[str, dict[str, str], tuple[int, ...]]] = [
        (WRONG, {}, (1400,)),
        ("catalog", {WRONG: WRONG}, (1401, 1400)),
        ("info", {}, (1400, 1406)),
        ("info", {"dataset": WRONG}, (1406,)),
        ("info", {"dataset": name, "parameters": WRONG}, (1407,)),
        ("data", {**data, "start": WRONG}, (1402,)),
        ("data", {**data, "stop": WRONG}, (1403,)),
        ("data", {**data, "start": stop, "stop": start}, (1404,)),
        ("data", {**data, "stop": start}, (1404,)),
        ("data", {**data, "start": far}, (1405,)),
        ("data", {**data, "parameters": WRONG}, (1407,)),
        ("data", {**data, "format": WRONG}, (1409,)),
        ("data", {**data, "include": WRONG}, (1410,)),
        ("data", {**data, "parameters": f"{listed[-1]},{listed[-1]}"}, (1411,)),
        *([("data", {**data, "parameters": f"{listed[-1]},{listed[1]}"}, (1411,))] if len(listed) > 2 else []),
        *([("catalog", {"depth": WRONG}, (1413,))] if server.at_least >= (3, 2) else []),
        *([("info", {"dataset": name, "resolve_references": WRONG}, (1412,))] if server.at_least >= (3, 3) else []),
    ]  # fmt: skip
    for endpoint, given, codes in wrong:
        what = f"/{endpoint.replace(WRONG, 'x')}?{'&'.join(f'{key}={value}' for key, value in given.items())}".replace(WRONG, "x")  # fmt: skip
        answer = server.ask(endpoint.replace("<", "").replace(">", ""), **given)
        code = hapi.code_of(answer)
        if answer.status < 400:
            notes.tell("hapi.refused", what, value=f"{answer.status}, {code}")
            continue
        if code not in codes:
            notes.tell("hapi.code", what, value=code)
        elif answer.status != (404 if code in NOT_FOUND else 500 if code >= 1500 else 400):
            notes.tell("hapi.http-status", what, value=f"{answer.status}, {code}")
        if WRONG.encode() in answer.body:
            notes.tell("hapi.echo", what)
    if server.client.send("POST", f"{server.url}/catalog").status < 400:
        notes.tell("hapi.refused", "POST", value="catalog")
    if server.at_least >= (3,) and rows:
        old = server.client.get(f"{server.url}/data", [(hapi.OLD[key], value) for key, value in data.items()])
        if old.status != 200 or old.body != server.ask("data", **data).body:
            notes.tell("hapi.old-names", value=old.status)


GROUP = Group(name="hapi", title="HAPI", checks=CHECKS, run=_run, protocol="hapi")
