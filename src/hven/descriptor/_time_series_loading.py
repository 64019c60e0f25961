"""Data sets of a table (``series``): which columns are samples in time, and what their elements stand for."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from hven.descriptor._row_links import LinkExpressions
from hven.model.errors import Fault, Place, suggest_spelling
from hven.model.table import (
    FileParameter,
    FileReaderSpec,
    ParameterBins,
    TimeDecoding,
    TimeSeries,
    find_begin_and_end_columns,
    is_time_column,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.descriptor._collection_context import CollectionContext
    from hven.descriptor.value_schema import FaultCollector, KeyValues
    from hven.descriptor.written_yaml import WrittenScalar
    from hven.model.resource import Resource
    from hven.model.table import Column, Table


def read_time_series(
    key_path: str,
    name: str,
    fields: KeyValues,
    column_names: Sequence[str] | None,
    collection_context: CollectionContext,
    faults: FaultCollector,
) -> Iterator[TimeSeries]:
    """Read ``series`` of a table, whose columns may not be known yet (None)."""
    labels_by_identifier: dict[str, str] = {}
    for number, item in enumerate(fields.get("series", ()), 1):
        if len(fields["series"]) > 1:
            series_label = f"{key_path}.series[{number}]"
        else:
            series_label = f"{key_path}.series"
        time_series = _read_time_series(series_label, name, item, column_names, collection_context, faults)
        for key in ("id", "path"):
            other_label = labels_by_identifier.setdefault(f"{key} {getattr(time_series, key)}", series_label)
            if other_label != series_label:
                message = f"{series_label}: {other_label} is {getattr(time_series, key)!r}, too"
                faults.add_error(
                    message, item.place, f"give each its {'id' if key == 'id' else 'das2'}: {{id: .., ..}}"
                )
        yield time_series


def check_time_series(key_path: str, table: Table, faults: FaultCollector) -> None:
    """Check that the data sets of a table whose columns are known have times, and what they name."""
    names = {column.name.lower(): column for column in table.columns}
    for series in table.series:
        place = series.places.get("time", next(iter(series.places.values()), Place()))
        if series.file:
            if series.version is not None and series.version.lower() not in names:
                message = f"{key_path}.series: the table has no column {series.version!r}"
                faults.add_error(message, series.places["version"], suggest_spelling(series.version, [*names]))
            ucds = [(table_column.ucd or "").lower() for table_column in table.columns]
            if find_begin_and_end_columns(table)[0] is None and not any(
                table_column.startswith(("time.start", "time.epoch")) for table_column in ucds
            ):
                remedy = "source: {kind: granules, ..} reads it from the files, as start and stop"
                faults.add_error(
                    f"{key_path}.series: no column says by its UCD when the samples of a file begin", place, remedy
                )
            continue
        for name in (series.time, *series.parameters, *series.bins, *series.colors, *series.vectors):
            if name and name.lower() not in names:
                message = f"{key_path}.series: the table has no column {name!r}"
                faults.add_error(
                    message, place, suggest_spelling(name, [table_column.name for table_column in table.columns])
                )
        if series.time:
            time = names.get(series.time.lower())
        else:
            time = find_begin_and_end_columns(table)[0]
        if time is None and not series.time:
            time = next(
                (
                    table_column
                    for table_column in table.columns
                    if (table_column.ucd or "").lower().startswith("time.") and _is_day_column(table_column)
                ),
                None,
            )
        if time is None and not series.time:
            remedy = "time: the column that says when a sample was taken"
            faults.add_error(f"{key_path}.series: no column says by its UCD when a sample was taken", place, remedy)
        elif time is not None and not (is_time_column(time) or _is_day_column(time)):
            remedy = "a timestamp (type: timestamp), or days: unit: d, ucd: time.epoch"
            faults.add_error(f"{key_path}.series: {time.name} is {time.type}, no time", place, remedy)
        for name, (_, elements) in series.vectors.items():
            column = names.get(name)
            if column is not None:
                count = math.prod(table_column or 0 for table_column in column.type.shape)
            else:
                count = 0
            if column is not None and elements and count not in {0, len(elements)}:
                message = (
                    f"{key_path}.series.vectors.{name}: {len(elements)} components, but {column.name} is {column.type}"
                )
                faults.add_error(message, series.places["vectors"], f"{count} of them")
        for name, parameter_bins in series.bins.items():
            if not series.file and name.lower() in names:  # what files have, they tell
                _check_bin_counts(
                    f"{key_path}.series.bins.{name}", names[name.lower()], parameter_bins, series.places["bins"], faults
                )


def mark_time_columns_indexed(table: Table) -> Table:
    """Have the times of data sets indexed: samples are asked for by windows of time."""
    begin = find_begin_and_end_columns(table)[0]
    time_column_names = {
        series.time.lower() or (begin.name.lower() if begin is not None else "") for series in table.series
    }
    if not time_column_names:
        return table
    columns = tuple(
        column.copy_with(indexed=True)
        if column.name.lower() in time_column_names and (is_time_column(column) or _is_day_column(column))
        else column
        for column in table.columns
    )
    return table.copy_with(columns=columns)


def _is_day_column(column: Column) -> bool:
    """Check whether a column may be days: from when they count, their range tells."""
    return column.unit == "d" and column.type.is_numeric


def _check_bin_counts(
    key_path: str, column: Column, parameter_bins: Sequence[ParameterBins], place: Place, faults: FaultCollector
) -> None:
    """Check that there is one for each element of each dimension: those of another number are not shown."""
    column_type = column.type
    if not column_type.is_array or column_type.is_string:
        faults.add_error(
            f"{key_path}: {column.name} is {column_type}, no array", place, "bins are for arrays: type: float32[400]"
        )
        return
    if len(parameter_bins) != len(column_type.shape):
        message = (
            f"{key_path}: {len(parameter_bins)} of {len(column_type.shape)} dimensions of {column.name} "
            f"({column_type}) have bins"
        )
        faults.add_error(
            message, place, "a map for each dimension, in the order in which its elements are counted last"
        )
        return
    for dimension_bins, size in zip(parameter_bins, reversed(column_type.shape), strict=True):
        count = len(dimension_bins.centers or dimension_bins.ranges)
        if size is not None and not isinstance(dimension_bins.centers or dimension_bins.ranges, str) and count != size:
            faults.add_error(
                f"{key_path}: {count} bins of {dimension_bins.name}, but {column.name} is {column_type}",
                place,
                f"{size} of them",
            )


def find_series_id_faults(resources: Iterable[Resource], earlier_resources: Sequence[Resource] = ()) -> Iterator[Fault]:
    """Find data sets of one name, of which the first collection's alone would be shown.

    And links to data sets that there are not.

    Parameters
    ----------
    resources
        Collections of a site.
    earlier_resources
        Collections before these, of which nothing is told.

    Yields
    ------
    faults
        At each data set whose name one before it has, and at each link.
    """
    tables_by_identifier: dict[str, str] = {}
    resources = tuple(resources)
    for resource in (*earlier_resources, *resources):
        for table, time_series in (
            (spec.table, time_series) for spec in resource.tables for time_series in spec.table.series
        ):
            for key, name in (("id", time_series.id), ("das2", time_series.path)):
                other_table = tables_by_identifier.setdefault(f"{key} {name}", table.qualified_name)
                if other_table != table.qualified_name and resource not in earlier_resources:
                    place = time_series.places.get(
                        key, time_series.places.get("id", next(iter(time_series.places.values()), Place()))
                    )
                    message = f"{table.qualified_name}: {other_table} has a data set {name!r}, too"
                    yield Fault(message=message, place=place, remedy=f"give it another name: {key}: ..")
    ids = [name.removeprefix("id ") for name in tables_by_identifier if name.startswith("id ")]
    for spec in (spec for resource in resources for spec in resource.tables):
        for name, place in spec.span_places.items():
            if name not in ids:
                message = f"{spec.table.qualified_name}.links: there is no data set {name!r}"
                remedy = suggest_spelling(name, ids) or "series: of a table makes one; its id: is the name"
                yield Fault(
                    message=message,
                    place=place,
                    remedy=remedy,
                )


def write_series_recipes(table: Table) -> str:
    """Write how samples are found in files, for what reads files at ingest."""
    keys = ("id", "time", "parameters", "cadence", "part")
    return json.dumps(
        [
            {
                **{key: getattr(time_series, key) for key in keys},
                **({} if time_series.reader is None else {"reader": {**asdict(time_series.reader), "path": None}}),
                "clock": asdict(time_series.clock),
                "variables": {key: asdict(each) for key, each in time_series.variables.items()},
                "bins": {
                    key: [asdict(each) for each in parameter_bins] for key, parameter_bins in time_series.bins.items()
                },
            }
            for time_series in table.series
            if time_series.file
        ],
        sort_keys=True,
    )


def _read_time_series(
    key_path: str,
    name: str,
    series_fields: KeyValues,
    column_names: Sequence[str] | None,
    collection_context: CollectionContext,
    faults: FaultCollector,
) -> TimeSeries:
    bins = {
        str(key): tuple(_read_parameter_bins(f"{key_path}.bins.{key}", column_name, faults) for column_name in bin_list)
        for key, bin_list in series_fields.get("bins", {}).items()
    }
    clock = series_fields.get("time", {})
    if "file" not in series_fields:
        for key in ("part", "variables", "version", "reader"):
            if key in series_fields:
                faults.add_error(
                    f"{key_path}.{key}: the samples are the table's rows",
                    series_fields.places[key],
                    "file: '{target.path}'",
                )
        for key in ("unit", "since", "plus", "scale"):
            if key in clock:
                faults.add_error(
                    f"{key_path}.time.{key}: a column says it itself",
                    clock.places[key],
                    "columns: {..: {type: timestamp}}",
                )
    used_columns: list[WrittenScalar] = [
        *((clock["of"],) if "of" in clock else ()),
        *series_fields.get("parameters", ()),
        *series_fields.get("bins", {}),
        *series_fields.get("colors", {}),
        *series_fields.get("vectors", {}),
    ]
    for bin_fields in (column_name for bin_list in series_fields.get("bins", {}).values() for column_name in bin_list):
        used_columns += [
            text
            for text in (bin_fields.get("centers", ())[:1], *bin_fields.get("ranges", ())[:1])
            for text in text[:1]
            if _parse_number(text) is None
        ]
    for column_name in (
        column_name
        for bin_list in series_fields.get("bins", {}).values()
        for column_name in bin_list
        if "file" not in series_fields
    ):
        if len(column_name.get("centers", ())) > 1 and _parse_number(column_name["centers"][0]) is None:
            faults.add_error(
                f"{key_path}.bins: several columns of centers",
                column_name.places["centers"],
                "one column, or a number for each element",
            )
    lower_case_names = {column_name.lower() for column_name in column_names or ()}
    for column_name in used_columns if column_names is not None and "file" not in series_fields else ():
        if column_name.lower() not in lower_case_names:
            faults.add_error(
                f"{key_path}: the table has no column {str(column_name)!r}",
                column_name.place,
                suggest_spelling(column_name, column_names or ()),
            )
    if "id" in series_fields:
        id_ = _check_series_id(key_path, series_fields["id"], faults)
    else:
        id_ = f"{collection_context.schema}_{name}"
    if "das2" in series_fields:
        path = str(series_fields["das2"]).strip("/")
    elif "id" in series_fields:
        path = id_
    else:
        path = f"{collection_context.schema}/{name}"
    template_parser = LinkExpressions(column_names, None, collection_context)
    if "file" in series_fields and not collection_context.publishes_files:
        faults.add_error(
            f"{key_path}.file: the collection publishes no files", series_fields.places["file"], "add files: data/*"
        )
    plus = clock.get("plus")
    title = _read_optional_text(series_fields, "title")
    description = _read_optional_text(series_fields, "description")
    time = _read_optional_text(clock, "of") or "" if clock else ""
    return TimeSeries(
        id=id_,
        path=path,
        title=title,
        description=description,
        time=time,
        file=template_parser.parse_template(series_fields["file"], f"{key_path}.file", faults)
        if "file" in series_fields
        else (),
        reader=_read_file_reader(key_path, series_fields["reader"], collection_context, faults)
        if "reader" in series_fields
        else None,
        part=_read_optional_text(series_fields, "part"),
        clock=TimeDecoding(
            unit=_read_optional_text(clock, "unit"),
            since=_read_optional_text(clock, "since") or "",
            scale=_read_optional_text(clock, "scale") or "",
            plus=(str(plus["of"]), _read_optional_text(plus, "unit")) if plus and "of" in plus else None,
        )
        if clock
        else TimeDecoding(),
        variables={
            str(key): _read_file_parameter(f"{key_path}.variables.{key}", column_name, faults)
            for key, column_name in series_fields.get("variables", {}).items()
        },
        version=_read_optional_text(series_fields, "version"),
        parameters=tuple(map(str, series_fields.get("parameters", ()))),
        condition=template_parser.parse_expression_text(
            series_fields["where"], f"{key_path}.where", faults, condition=True
        )
        if "where" in series_fields
        else None,
        cadence=series_fields.get("cadence"),
        ahead=series_fields.get("ahead"),
        stamp=_read_optional_text(series_fields, "stamp") or "center",
        bins=bins,
        colors={
            str(name).lower(): {str(word): str(color) for word, color in bin_list.items()}
            for name, bin_list in series_fields.get("colors", {}).items()
        },
        vectors={
            str(name).lower(): (str(bin_list["system"]), tuple(map(str, bin_list.get("components", ()))))
            for name, bin_list in series_fields.get("vectors", {}).items()
            if "system" in bin_list
        },
        places=dict(series_fields.places),
    )


def _read_file_reader(
    key_path: str, reader_text: WrittenScalar, collection_context: CollectionContext, faults: FaultCollector
) -> FileReaderSpec:
    """Read what reads the files: a program's name in hven.toml, or a Python file.

    The file is parsed, never run here.
    """
    name, _, function = str(reader_text).partition(":")
    if not name.endswith(".py"):
        if reader_text not in collection_context.reader_names:
            remedy = (
                suggest_spelling(reader_text, collection_context.reader_names)
                or f"write [readers.{reader_text}] into hven.toml; or a Python file: nda.py"
            )
            faults.add_error(
                f"{key_path}.reader: hven.toml has no reader {str(reader_text)!r}", reader_text.place, remedy
            )
        return FileReaderSpec(name=str(reader_text))
    path = collection_context.directory / name
    function = function or "read"
    if not collection_context.contents.is_file(path):
        python_files = [python_file.name for python_file in collection_context.directory.glob("*.py")]
        faults.add_error(
            f"{key_path}.reader: there is no file {name} beside the descriptor",
            reader_text.place,
            suggest_spelling(name, python_files),
        )
        return FileReaderSpec(name=name, function=function, path=path)
    data = collection_context.contents.read_bytes(path)
    collection_context.hashes[name] = collection_context.contents.compute_sha256(path)
    try:
        defined = [node.name for node in ast.parse(data).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError) as error:
        if isinstance(error, SyntaxError):
            line = error.lineno
        else:
            line = None
        faults.add_error(f"{key_path}.reader: {error}", Place(file=name, line=line))
    else:
        if function not in defined:
            remedy = suggest_spelling(function, defined) or "def read(path): return a table of pyarrow"
            faults.add_error(f"{key_path}.reader: {name} has no function {function!r}", reader_text.place, remedy)
    return FileReaderSpec(name=name, function=function, path=path, sha256=collection_context.hashes[name])


def _read_file_parameter(key_path: str, parameter_fields: KeyValues, faults: FaultCollector) -> FileParameter:
    """Read what of a file a parameter is."""
    variable_names, clocks = (tuple(map(str, parameter_fields.get(key, ()))) for key in ("of", "time"))
    if clocks and len(clocks) != len(variable_names):
        message = f"{key_path}.time: {len(clocks)} variables of times for {len(variable_names)} of values"
        faults.add_error(message, parameter_fields.places["time"], "one for each of 'of', in its order")
    element = parameter_fields.get("element")
    fill = parameter_fields.get("fill")
    unit = _read_optional_text(parameter_fields, "unit")
    return FileParameter(
        of=variable_names,
        clocks=clocks,
        element=element,
        fill=fill,
        unit=unit,
        description=_read_optional_text(parameter_fields, "description"),
        label=_read_optional_text(parameter_fields, "label"),
    )


def _check_series_id(key_path: str, series_id: WrittenScalar, faults: FaultCollector) -> str:
    """Refuse what clients cannot send back (HAPI 3.3, section 3.5)."""
    if not series_id or any(mark in series_id for mark in ",/\n\t ") or len(series_id) > 200:
        faults.add_error(
            f"{key_path}.id: {str(series_id)!r} is no name of a data set", series_id.place, "letters, digits, _ . - ~"
        )
    return str(series_id)


def _read_parameter_bins(key_path: str, bin_fields: KeyValues, faults: FaultCollector) -> ParameterBins:
    """Read what the elements of one dimension are: numbers, or a column's name."""
    centers: tuple[float, ...] | str = ()
    ranges: tuple[tuple[float, float], ...] | str = ()
    source_names: tuple[str, ...] = ()
    center_texts = bin_fields.get("centers", ())
    if len(center_texts) == 1 and _parse_number(center_texts[0]) is None:
        centers = str(center_texts[0])
    elif center_texts and all(_parse_number(text) is None for text in center_texts):
        source_names = tuple(map(str, center_texts))
    else:
        numbers = _parse_numbers(f"{key_path}.centers", center_texts, faults)
        centers = tuple(numbers)
    pairs = bin_fields.get("ranges", ())
    if len(pairs) == 1 and len(pairs[0]) == 1:
        ranges = pairs[0][0]
    else:
        read_ranges = [tuple(_parse_numbers(f"{key_path}.ranges", pair, faults)) for pair in pairs]
        invalid_positions = [at for at, pair in enumerate(read_ranges) if len(pair) != 2 or not pair[0] <= pair[1]]
        if invalid_positions:
            faults.add_error(
                f"{key_path}.ranges: item {invalid_positions[0] + 1} is no lowest and highest value",
                bin_fields.places["ranges"],
                "[[10, 11], [11, 12]]",
            )
        ranges = tuple((pair[0], pair[1]) for pair in read_ranges if len(pair) == 2)
    if not centers and not ranges and not source_names:
        faults.add_error(
            f"{key_path}: neither centers nor ranges say what the elements are", bin_fields.place, "centers: [10, 20]"
        )
    elif (
        isinstance(centers, tuple) and isinstance(ranges, tuple) and centers and ranges and len(centers) != len(ranges)
    ):
        message = f"{key_path}: {len(centers)} centers, but {len(ranges)} ranges"
        faults.add_error(message, bin_fields.places["ranges"], "one for each element")
    return ParameterBins(
        name=str(bin_fields["name"]),
        unit=_read_optional_text(bin_fields, "unit"),
        centers=centers,
        ranges=ranges,
        label=_read_optional_text(bin_fields, "label"),
        description=_read_optional_text(bin_fields, "description"),
        of=source_names,
    )


def _parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _parse_numbers(key_path: str, texts: Sequence[WrittenScalar], faults: FaultCollector) -> Iterator[float]:
    for text in texts:
        value = _parse_number(text)
        if value is None or not math.isfinite(value):
            faults.add_error(
                f"{key_path}: {str(text)!r} is no number", text.place, "a number for each element, or one column"
            )
        else:
            yield value


def _read_optional_text(fields: KeyValues, key: str) -> str | None:
    if key in fields:
        return str(fields[key])
    return None
