"""Data sets of a table (``series``): which columns are samples in time, and what their elements stand for."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from hven.descriptor._row_links import Over
from hven.model.errors import Fault, Place, nearest
from hven.model.table import Bins, Clock, FileReader, Series, Variable, begins_and_ends, is_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.descriptor._inherited import Inherited
    from hven.descriptor.value_schema import Faults, Fields
    from hven.descriptor.written import Written
    from hven.model.resource import Resource
    from hven.model.table import Column, Table


def data_sets(
    what: str, name: str, fields: Fields, names: Sequence[str] | None, around: Inherited, faults: Faults
) -> Iterator[Series]:
    """Read ``series`` of a table, whose columns may not be known yet (None)."""
    known: dict[str, str] = {}
    for number, item in enumerate(fields.get("series", ()), 1):
        where = f"{what}.series[{number}]" if len(fields["series"]) > 1 else f"{what}.series"
        one = _data_set(where, name, item, names, around, faults)
        for key in ("id", "path"):
            if (other := known.setdefault(f"{key} {getattr(one, key)}", where)) != where:
                message = f"{where}: {other} is {getattr(one, key)!r}, too"
                faults.error(message, item.place, f"give each its {'id' if key == 'id' else 'das2'}: {{id: .., ..}}")
        yield one


def check_data_sets(what: str, table: Table, faults: Faults) -> None:
    """Check that the data sets of a table whose columns are known have times, and what they name."""
    names = {column.name.lower(): column for column in table.columns}
    for series in table.series:
        place = series.places.get("time", next(iter(series.places.values()), Place()))
        if series.file:
            if series.version is not None and series.version.lower() not in names:
                message = f"{what}.series: the table has no column {series.version!r}"
                faults.error(message, series.places["version"], nearest(series.version, [*names]))
            ucds = [(one.ucd or "").lower() for one in table.columns]
            if begins_and_ends(table)[0] is None and not any(
                one.startswith(("time.start", "time.epoch")) for one in ucds
            ):
                remedy = "source: {kind: granules, ..} reads it from the files, as start and stop"
                faults.error(
                    f"{what}.series: no column says by its UCD when the samples of a file begin", place, remedy
                )
            continue
        for name in (series.time, *series.parameters, *series.bins, *series.colors, *series.vectors):
            if name and name.lower() not in names:
                message = f"{what}.series: the table has no column {name!r}"
                faults.error(message, place, nearest(name, [one.name for one in table.columns]))
        time = names.get(series.time.lower()) if series.time else begins_and_ends(table)[0]
        if time is None and not series.time:
            time = next(
                (one for one in table.columns if (one.ucd or "").lower().startswith("time.") and _days(one)), None
            )
        if time is None and not series.time:
            remedy = "time: the column that says when a sample was taken"
            faults.error(f"{what}.series: no column says by its UCD when a sample was taken", place, remedy)
        elif time is not None and not (is_time(time) or _days(time)):
            remedy = "a timestamp (type: timestamp), or days: unit: d, ucd: time.epoch"
            faults.error(f"{what}.series: {time.name} is {time.type}, no time", place, remedy)
        for name, (_, elements) in series.vectors.items():
            column = names.get(name)
            count = math.prod(one or 0 for one in column.type.shape) if column is not None else 0
            if column is not None and elements and count not in {0, len(elements)}:
                message = (
                    f"{what}.series.vectors.{name}: {len(elements)} components, but {column.name} is {column.type}"
                )
                faults.error(message, series.places["vectors"], f"{count} of them")
        for name, said in series.bins.items():
            if not series.file and name.lower() in names:  # what files have, they tell
                _check_bins(f"{what}.series.bins.{name}", names[name.lower()], said, series.places["bins"], faults)


def searched_by_time(table: Table) -> Table:
    """Have the times of data sets indexed: samples are asked for by windows of time."""
    begin = begins_and_ends(table)[0]
    times = {series.time.lower() or (begin.name.lower() if begin is not None else "") for series in table.series}
    if not times:
        return table
    return table.having(columns=tuple(one.having(indexed=True) if one.name.lower() in times and (is_time(one) or _days(one)) else one for one in table.columns))  # fmt: skip


def _days(one: Column) -> bool:
    """Check whether a column may be days: from when they count, their range tells."""
    return one.unit == "d" and one.type.is_numeric


def _check_bins(where: str, column: Column, said: Sequence[Bins], place: Place, faults: Faults) -> None:
    """Check that there is one for each element of each dimension: those of another number are not shown."""
    kind = column.type
    if not kind.is_array or kind.is_string:
        faults.error(f"{where}: {column.name} is {kind}, no array", place, "bins are for arrays: type: float32[400]")
        return
    if len(said) != len(kind.shape):
        message = f"{where}: {len(said)} of {len(kind.shape)} dimensions of {column.name} ({kind}) have bins"
        faults.error(message, place, "a map for each dimension, in the order in which its elements are counted last")
        return
    for one, size in zip(said, reversed(kind.shape), strict=True):
        count = len(one.centers or one.ranges)
        if size is not None and not isinstance(one.centers or one.ranges, str) and count != size:
            faults.error(f"{where}: {count} bins of {one.name}, but {column.name} is {kind}", place, f"{size} of them")


def wrong_ids(resources: Iterable[Resource], others: Sequence[Resource] = ()) -> Iterator[Fault]:
    """Find data sets of one name, of which the first collection's alone would be shown; and links to data sets that there are not.

    Parameters
    ----------
    resources
        Collections of a site.
    others
        Collections before these, of which nothing is told.

    Yields
    ------
    faults
        At each data set whose name one before it has, and at each link.
    """
    known: dict[str, str] = {}
    resources = tuple(resources)
    for resource in (*others, *resources):
        for table, one in ((spec.table, one) for spec in resource.tables for one in spec.table.series):
            for key, name in (("id", one.id), ("das2", one.path)):
                other = known.setdefault(f"{key} {name}", table.qualified)
                if other != table.qualified and resource not in others:
                    place = one.places.get(key, one.places.get("id", next(iter(one.places.values()), Place())))
                    message = f"{table.qualified}: {other} has a data set {name!r}, too"
                    yield Fault(message=message, place=place, remedy=f"give it another name: {key}: ..")
    ids = [name.removeprefix("id ") for name in known if name.startswith("id ")]
    for spec in (spec for resource in resources for spec in resource.tables):
        for name, place in spec.spans.items():
            if name not in ids:
                message = f"{spec.table.qualified}.links: there is no data set {name!r}"
                yield Fault(message=message, place=place, remedy=nearest(name, ids) or "series: of a table makes one; its id: is the name")  # fmt: skip


def recipes(table: Table) -> str:
    """Write how samples are found in files, for what reads files at ingest."""
    keys = ("id", "time", "parameters", "cadence", "part")
    return json.dumps(
        [
            {
                **{key: getattr(one, key) for key in keys},
                **({} if one.reader is None else {"reader": {**asdict(one.reader), "path": None}}),
                "clock": asdict(one.clock),
                "variables": {key: asdict(each) for key, each in one.variables.items()},
                "bins": {key: [asdict(each) for each in every] for key, every in one.bins.items()},
            }
            for one in table.series
            if one.file
        ],
        sort_keys=True,
    )


def _data_set(
    where: str, name: str, item: Fields, names: Sequence[str] | None, around: Inherited, faults: Faults
) -> Series:
    bins = {str(key): tuple(_bins(f"{where}.bins.{key}", one, faults) for one in said) for key, said in item.get("bins", {}).items()}  # fmt: skip
    clock = item.get("time", {})
    if "file" not in item:
        for key in ("part", "variables", "version", "reader"):
            if key in item:
                faults.error(
                    f"{where}.{key}: the samples are the table's rows", item.places[key], "file: '{target.path}'"
                )
        for key in ("unit", "since", "plus", "scale"):
            if key in clock:
                faults.error(
                    f"{where}.time.{key}: a column says it itself",
                    clock.places[key],
                    "columns: {..: {type: timestamp}}",
                )
    used: list[Written] = [
        *((clock["of"],) if "of" in clock else ()),
        *item.get("parameters", ()),
        *item.get("bins", {}),
        *item.get("colors", {}),
        *item.get("vectors", {}),
    ]
    for each in (one for said in item.get("bins", {}).values() for one in said):
        used += [text for text in (each.get("centers", ())[:1], *each.get("ranges", ())[:1]) for text in text[:1] if _number(text) is None]  # fmt: skip
    for one in (one for said in item.get("bins", {}).values() for one in said if "file" not in item):
        if len(one.get("centers", ())) > 1 and _number(one["centers"][0]) is None:
            faults.error(
                f"{where}.bins: several columns of centers",
                one.places["centers"],
                "one column, or a number for each element",
            )
    folded = {one.lower() for one in names or ()}
    for one in used if names is not None and "file" not in item else ():
        if one.lower() not in folded:
            faults.error(f"{where}: the table has no column {str(one)!r}", one.place, nearest(one, names or ()))
    id_ = _id(where, item["id"], faults) if "id" in item else f"{around.schema}_{name}"
    path = str(item["das2"]).strip("/") if "das2" in item else (id_ if "id" in item else f"{around.schema}/{name}")
    over = Over(names, None, around)
    if "file" in item and not around.files:
        faults.error(f"{where}.file: the collection publishes no files", item.places["file"], "add files: data/*")
    plus = clock.get("plus")
    return Series(
        id=id_,
        path=path,
        title=_text(item, "title"),
        description=_text(item, "description"),
        time=_text(clock, "of") or "" if clock else "",
        file=over.template(item["file"], f"{where}.file", faults) if "file" in item else (),
        reader=_reader(where, item["reader"], around, faults) if "reader" in item else None,
        part=_text(item, "part"),
        clock=Clock(
            unit=_text(clock, "unit"),
            since=_text(clock, "since") or "",
            scale=_text(clock, "scale") or "",
            plus=(str(plus["of"]), _text(plus, "unit")) if plus and "of" in plus else None,
        )
        if clock
        else Clock(),
        variables={
            str(key): _variable(f"{where}.variables.{key}", one, faults)
            for key, one in item.get("variables", {}).items()
        },
        version=_text(item, "version"),
        parameters=tuple(map(str, item.get("parameters", ()))),
        condition=over.expression(item["where"], f"{where}.where", faults, condition=True) if "where" in item else None,
        cadence=item.get("cadence"),
        ahead=item.get("ahead"),
        stamp=_text(item, "stamp") or "center",
        bins=bins,
        colors={
            str(name).lower(): {str(word): str(color) for word, color in said.items()}
            for name, said in item.get("colors", {}).items()
        },
        vectors={
            str(name).lower(): (str(said["system"]), tuple(map(str, said.get("components", ()))))
            for name, said in item.get("vectors", {}).items()
            if "system" in said
        },
        places=dict(item.places),
    )


def _reader(where: str, said: Written, around: Inherited, faults: Faults) -> FileReader:
    """Read what reads the files: a program's name in hven.toml, or a Python file; the file is parsed, never run here."""
    name, _, function = str(said).partition(":")
    if not name.endswith(".py"):
        if said not in around.readers:
            remedy = nearest(said, around.readers) or f"write [readers.{said}] into hven.toml; or a Python file: nda.py"
            faults.error(f"{where}.reader: hven.toml has no reader {str(said)!r}", said.place, remedy)
        return FileReader(name=str(said))
    path, function = around.directory / name, function or "read"
    if not around.contents.is_file(path):
        there = [one.name for one in around.directory.glob("*.py")]
        faults.error(f"{where}.reader: there is no file {name} beside the descriptor", said.place, nearest(name, there))
        return FileReader(name=name, function=function, path=path)
    data = around.contents.read_bytes(path)
    around.hashes[name] = around.contents.compute_sha256(path)
    try:
        defined = [node.name for node in ast.parse(data).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        faults.error(f"{where}.reader: {error}", Place(file=name, line=line))
    else:
        if function not in defined:
            remedy = nearest(function, defined) or "def read(path): return a table of pyarrow"
            faults.error(f"{where}.reader: {name} has no function {function!r}", said.place, remedy)
    return FileReader(name=name, function=function, path=path, sha256=around.hashes[name])


def _variable(where: str, said: Fields, faults: Faults) -> Variable:
    """Read what of a file a parameter is."""
    of, clocks = (tuple(map(str, said.get(key, ()))) for key in ("of", "time"))
    if clocks and len(clocks) != len(of):
        message = f"{where}.time: {len(clocks)} variables of times for {len(of)} of values"
        faults.error(message, said.places["time"], "one for each of 'of', in its order")
    return Variable(
        of=of,
        clocks=clocks,
        element=said.get("element"),
        fill=said.get("fill"),
        unit=_text(said, "unit"),
        description=_text(said, "description"),
        label=_text(said, "label"),
    )


def _id(where: str, said: Written, faults: Faults) -> str:
    """Refuse what clients cannot send back (HAPI 3.3, section 3.5)."""
    if not said or any(mark in said for mark in ",/\n\t ") or len(said) > 200:
        faults.error(f"{where}.id: {str(said)!r} is no name of a data set", said.place, "letters, digits, _ . - ~")
    return str(said)


def _bins(where: str, said: Fields, faults: Faults) -> Bins:
    """Read what the elements of one dimension are: numbers, or a column's name."""
    centers: tuple[float, ...] | str = ()
    ranges: tuple[tuple[float, float], ...] | str = ()
    of: tuple[str, ...] = ()
    texts = said.get("centers", ())
    if len(texts) == 1 and _number(texts[0]) is None:
        centers = str(texts[0])
    elif texts and all(_number(one) is None for one in texts):
        of = tuple(map(str, texts))
    else:
        centers = tuple(_numbers(f"{where}.centers", texts, faults))
    pairs = said.get("ranges", ())
    if len(pairs) == 1 and len(pairs[0]) == 1:
        ranges = pairs[0][0]
    else:
        found = [tuple(_numbers(f"{where}.ranges", pair, faults)) for pair in pairs]
        wrong = [at for at, pair in enumerate(found) if len(pair) != 2 or not pair[0] <= pair[1]]
        if wrong:
            faults.error(
                f"{where}.ranges: item {wrong[0] + 1} is no lowest and highest value",
                said.places["ranges"],
                "[[10, 11], [11, 12]]",
            )
        ranges = tuple((pair[0], pair[1]) for pair in found if len(pair) == 2)
    if not centers and not ranges and not of:
        faults.error(f"{where}: neither centers nor ranges say what the elements are", said.place, "centers: [10, 20]")
    elif (
        isinstance(centers, tuple) and isinstance(ranges, tuple) and centers and ranges and len(centers) != len(ranges)
    ):
        message = f"{where}: {len(centers)} centers, but {len(ranges)} ranges"
        faults.error(message, said.places["ranges"], "one for each element")
    return Bins(
        name=str(said["name"]),
        unit=_text(said, "unit"),
        centers=centers,
        ranges=ranges,
        label=_text(said, "label"),
        description=_text(said, "description"),
        of=of,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _numbers(where: str, texts: Sequence[Written], faults: Faults) -> Iterator[float]:
    for one in texts:
        value = _number(one)
        if value is None or not math.isfinite(value):
            faults.error(f"{where}: {str(one)!r} is no number", one.place, "a number for each element, or one column")
        else:
            yield value


def _text(fields: Fields, key: str) -> str | None:
    return str(fields[key]) if key in fields else None
