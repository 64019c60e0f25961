"""Read the data sets of a table (``series``): which columns are samples in time, and what their elements mean."""

from __future__ import annotations

import ast
import itertools
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.keys import LinkExpressionParser
from hven.descriptor.value_schema import convert_plain_value
from hven.model.errors import Fault, TextPlace, suggest_spelling
from hven.model.table import (
    FileReaderSpec,
    ParameterBins,
    SeriesParameterSpec,
    TimeDecoding,
    TimeSeriesSpec,
    find_begin_and_end_time_columns,
    is_time_column,
)
from hven.plugins.series.sample_parameters import can_have_plot_scale
from hven.plugins.series.table_series import TableSeries, list_table_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.descriptor.api.keys import InheritedCollectionKeys, TableDescriptorKeyValue
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.resource import CollectionSpec
    from hven.model.table import Column, Table, Template

MAX_SERIES_ID_CHARACTERS = 200
# keys whose values the model has under the same names
PLAIN_SERIES_KEYS = ("title", "description", "part", "version", "parameters", "cadence", "ahead", "stamp")
PLAIN_CLOCK_KEYS = ("unit", "since", "scale")
PLAIN_VARIABLE_KEYS = ("of", "element", "fill", "unit", "description", "label")
PLAIN_BINS_KEYS = ("name", "unit", "label", "description", "scale_type")
GRANULE_SOURCE_KIND = "granules"


def read_table_series(key_value: TableDescriptorKeyValue) -> TableSeries:
    """Read ``series`` of a table."""
    return TableSeries(tuple(_iterate_written_series(key_value)))


def _iterate_written_series(key_value: TableDescriptorKeyValue) -> Iterator[TimeSeriesSpec]:
    collection_context, faults = key_value.collection_context, key_value.faults
    default_id = f"{collection_context.schema}_{key_value.table_name}"
    default_path = f"{collection_context.schema}/{key_value.table_name}"
    column_names = key_value.column_names
    labels_by_identifier: dict[str, str] = {}
    series_list = key_value.value
    for number, series_fields in enumerate(series_list, 1):
        series_label = key_value.key_path
        if len(series_list) > 1:
            series_label = f"{key_value.key_path}[{number}]"
        reader = _TimeSeriesReader(series_label, series_fields, column_names, collection_context, faults)
        time_series = reader.read(default_id, default_path)
        for key, identifier, written_key in (("id", time_series.id, "id"), ("path", time_series.path, "das2")):
            other_label = labels_by_identifier.setdefault(f"{key} {identifier}", series_label)
            if other_label != series_label:
                message = f"{series_label}: the name {identifier!r} is already used by {other_label}"
                faults.add_error(
                    message, series_fields.place, f"give each series its own name with `{written_key}: NAME`"
                )
        yield time_series


def check_table_series(series_path: str, table: Table, faults: FaultCollector) -> None:
    """Check the data sets of a table whose columns are known: their times, and the columns that they name."""
    columns_by_name = {column.name.lower(): column for column in table.columns}
    for series in list_table_series(table):
        if series.file:
            _check_series_of_files(series_path, series, table, faults)
            continue
        place = _find_series_key_place(series, "time")
        named_columns = (*series.parameters, *series.bins, *series.colors, *series.vectors, *series.scale_types)
        for name in (series.time, *named_columns):
            if name and name.lower() not in columns_by_name:
                message = f"{series_path}: the table has no column {name!r}"
                column_names = [column.name for column in table.columns]
                faults.add_error(message, place, suggest_spelling(name, column_names))
        _check_sample_times(series_path, series, table, faults)
        for name, (_, components) in series.vectors.items():
            column = columns_by_name.get(name)
            if column is None or not components:
                continue
            count = math.prod(size or 0 for size in column.type.shape)
            if count not in {0, len(components)}:
                message = (
                    f"{series_path}.vectors.{name}: {len(components)} components are listed, but the type of "
                    f"{column.name} is {column.type}"
                )
                faults.add_error(message, series.places["vectors"], f"write {count} components")
        for name in series.scale_types:
            column = columns_by_name.get(name)
            if column is not None and not can_have_plot_scale(column.type):
                message = (
                    f"{series_path}.scale_types.{name}: {column.name} must contain numbers, but its "
                    f"type is {column.type}"
                )
                faults.add_error(message, series.places["scale_types"], f"remove {name!r}")
        for name, parameter_bins in series.bins.items():
            column = columns_by_name.get(name.lower())
            if column is not None:
                bins_path = f"{series_path}.bins.{name}"
                _check_bin_counts(bins_path, column, parameter_bins, series.places["bins"], faults)


def _find_series_key_place(series: TimeSeriesSpec, key: str) -> TextPlace:
    """Return the place of a key of a data set, or of its first key."""
    first_place = next(iter(series.places.values()), TextPlace())
    return series.places.get(key, first_place)


def _check_series_of_files(series_path: str, series: TimeSeriesSpec, table: Table, faults: FaultCollector) -> None:
    """Check the columns of a table of files: the version of a file, and the begin of its samples."""
    column_names = [column.name.lower() for column in table.columns]
    if series.version is not None and series.version.lower() not in column_names:
        message = f"{series_path}: the table has no column {series.version!r}"
        faults.add_error(message, series.places["version"], suggest_spelling(series.version, column_names))
    if find_begin_and_end_time_columns(table)[0] is not None:
        return
    ucds = [(column.ucd or "").lower() for column in table.columns]
    if not any(ucd.startswith(("time.start", "time.epoch")) for ucd in ucds):
        faults.add_error(
            f"{series_path}: no column has a UCD for the start time of a file's samples",
            _find_series_key_place(series, "time"),
            "write `source: {kind: granules, ..}`; then Hven reads the columns 'start' and 'stop' from the files",
        )


def _check_sample_times(series_path: str, series: TimeSeriesSpec, table: Table, faults: FaultCollector) -> None:
    """Check that a data set has a column of times."""
    place = _find_series_key_place(series, "time")
    if series.time:
        named_columns = [column for column in table.columns if column.name.lower() == series.time.lower()]
        time = next(iter(named_columns), None)
    else:
        time = find_begin_and_end_time_columns(table)[0] or _find_column_of_days(table)
    if time is None and not series.time:
        message = f"{series_path}: no column has a UCD for the time of a sample"
        faults.add_error(message, place, "write `time: COLUMN`, where COLUMN contains the sample times")
    elif time is not None and not (is_time_column(time) or _is_day_column(time)):
        message = f"{series_path}: {time.name} must be a time, but its type is {time.type}"
        faults.add_error(
            message, place, "write `type: timestamp`, or, for times in days, `unit: d` and `ucd: time.epoch`"
        )


def _find_column_of_days(table: Table) -> Column | None:
    for column in table.columns:
        if (column.ucd or "").lower().startswith("time.") and _is_day_column(column):
            return column
    return None


def list_sample_time_columns(table: Table) -> list[str]:
    """List the time columns of data sets: clients ask for samples by windows of time."""
    begin = find_begin_and_end_time_columns(table)[0]
    begin_name = ""
    if begin is not None:
        begin_name = begin.name.lower()
    time_column_names = {series.time.lower() or begin_name for series in list_table_series(table)}
    return [
        column.name
        for column in table.columns
        if column.name.lower() in time_column_names and (is_time_column(column) or _is_day_column(column))
    ]


def _is_day_column(column: Column) -> bool:
    """Return whether a column may hold days; the range of its values tells from when they count."""
    return column.unit == "d" and column.type.is_numeric


def _check_bin_counts(
    key_path: str, column: Column, parameter_bins: Sequence[ParameterBins], place: TextPlace, faults: FaultCollector
) -> None:
    """Check that there is one bin for each element of each dimension: others are not shown."""
    column_type = column.type
    if not column_type.is_array or column_type.is_string:
        message = f"{key_path}: {column.name} must be an array, but its type is {column_type}"
        faults.add_error(message, place, "write an array type, such as `type: float32[400]`")
        return
    if len(parameter_bins) != len(column_type.shape):
        message = (
            f"{key_path}: the number of dimensions is {len(parameter_bins)} in 'bins', but "
            f"{len(column_type.shape)} in {column.name} ({column_type})"
        )
        faults.add_error(message, place, "write a map for each dimension, with the slowest-varying dimension first")
        return
    for dimension_bins, size in zip(parameter_bins, reversed(column_type.shape), strict=True):
        bin_values = dimension_bins.centers or dimension_bins.ranges
        if size is None or isinstance(bin_values, str) or len(bin_values) == size:
            continue
        message = (
            f"{key_path}: {dimension_bins.name} has {len(bin_values)} bins, but the type of "
            f"{column.name} is {column_type}"
        )
        faults.add_error(message, place, f"write {size} bins")


def find_series_conflicts(
    resources: Sequence[CollectionSpec], earlier_resources: Sequence[CollectionSpec] = ()
) -> Iterator[Fault]:
    """Find data sets that share a name, and links to data sets that no collection has.

    Only the data set of the first collection would be shown under a shared name.

    Parameters
    ----------
    resources
        Collections of a site.
    earlier_resources
        Collections before these; their faults are not reported.

    Yields
    ------
    faults
        One fault for each data set whose name an earlier one has, and for each link.
    """
    tables_by_identifier: dict[str, str] = {}
    resources = tuple(resources)
    yield from _find_repeated_series_names(resources, earlier_resources, tables_by_identifier)
    ids = [name.removeprefix("id ") for name in tables_by_identifier if name.startswith("id ")]
    yield from _find_broken_series_links(resources, ids)


def _find_repeated_series_names(
    resources: Sequence[CollectionSpec],
    earlier_resources: Sequence[CollectionSpec],
    tables_by_identifier: dict[str, str],
) -> Iterator[Fault]:
    """Find data sets whose id or path an earlier one has; fill a dict with all of them: ``id NAME`` -> table."""
    for resource in (*earlier_resources, *resources):
        is_reported = resource not in earlier_resources
        for table, time_series in _iterate_time_series(resource):
            for key, name in (("id", time_series.id), ("das2", time_series.path)):
                other_table = tables_by_identifier.setdefault(f"{key} {name}", table.qualified_name)
                if other_table == table.qualified_name or not is_reported:
                    continue
                place = time_series.places.get(key, _find_series_key_place(time_series, "id"))
                message = f"{table.qualified_name}: {other_table} already has a data set {name!r}"
                yield Fault(message=message, place=place, remedy=f"give the data set another name with `{key}: NAME`")


def _find_broken_series_links(resources: Sequence[CollectionSpec], ids: Sequence[str]) -> Iterator[Fault]:
    """Find the links of tables to data sets that do not exist."""
    for resource in resources:
        for spec in resource.tables:
            for name, place in spec.span_places.items():
                if name in ids:
                    continue
                message = f"{spec.table.qualified_name}.links: there is no data set {name!r}"
                hint = suggest_spelling(name, ids)
                remedy = hint or "create a data set with `series:` in a table, and give it this `id:`"
                yield Fault(message=message, place=place, remedy=remedy)


def _iterate_time_series(resource: CollectionSpec) -> Iterator[tuple[Table, TimeSeriesSpec]]:
    for spec in resource.tables:
        for time_series in list_table_series(spec.table):
            yield spec.table, time_series


def build_granule_options(source_kind: str, table: Table) -> dict[str, Any]:
    """Write how samples are found in files, as JSON for the source that reads the files at ingest."""
    if source_kind != GRANULE_SOURCE_KIND:
        return {}
    series_list = list_table_series(table)
    recipes = [_build_series_file_spec(time_series) for time_series in series_list if time_series.file]
    return {"samples": json.dumps(recipes, sort_keys=True)}


def _build_series_file_spec(time_series: TimeSeriesSpec) -> dict[str, Any]:
    recipe: dict[str, Any] = {key: getattr(time_series, key) for key in ("id", "time", "parameters", "cadence", "part")}
    if time_series.reader is not None:
        recipe["reader"] = {**asdict(time_series.reader), "path": None}
    recipe["clock"] = asdict(time_series.clock)
    recipe["variables"] = {key: asdict(parameter) for key, parameter in time_series.variables.items()}
    recipe["bins"] = {
        key: [_build_bins_recipe(dimension_bins) for dimension_bins in parameter_bins]
        for key, parameter_bins in time_series.bins.items()
    }
    return recipe


def _build_bins_recipe(dimension_bins: ParameterBins) -> dict[str, Any]:
    """Write the meaning of elements, without the scale type, which changes plots and nothing that is read."""
    recipe = asdict(dimension_bins)
    del recipe["scale_type"]
    return recipe


class _TimeSeriesReader:
    """Reads the keys of one data set."""

    def __init__(
        self,
        key_path: str,
        series_fields: LocatedKeyValues,
        column_names: Sequence[str] | None,
        collection_context: InheritedCollectionKeys,
        faults: FaultCollector,
    ) -> None:
        self._key_path = key_path
        self._fields = series_fields
        self._column_names = column_names
        self._collection_context = collection_context
        self._faults = faults
        self._reads_files = "file" in series_fields
        self._clock_fields: LocatedKeyValues | dict[str, Any] = series_fields.get("time", {})
        self._bins_by_column: dict[LocatedYamlScalar, Sequence[LocatedKeyValues]] = series_fields.get("bins", {})

    def read(self, default_id: str, default_path: str) -> TimeSeriesSpec:
        """Read the data set; `default_id` and `default_path` name one that has no ``id`` or ``das2``."""
        fields, key_path, faults = self._fields, self._key_path, self._faults
        bins = {
            str(name): tuple(
                _read_parameter_bins(f"{key_path}.bins.{name}", bin_fields, faults) for bin_fields in bin_list
            )
            for name, bin_list in self._bins_by_column.items()
        }
        if not self._reads_files:
            self._check_no_file_keys()
            self._check_columns()
        if "id" in fields:
            default_id = default_path = _check_series_id(key_path, fields["id"], faults)
        template_parser = LinkExpressionParser(self._column_names, None, self._collection_context)
        file_template: Template = ()
        if self._reads_files:
            if not self._collection_context.publishes_files:
                message = f"{key_path}.file: the collection publishes no files"
                faults.add_error(message, fields.places["file"], "write `files: data/*` in the collection")
            file_template = template_parser.parse_template(fields["file"], f"{key_path}.file", faults)
        reader = None
        if "reader" in fields:
            reader = _read_file_reader_spec(key_path, fields["reader"], self._collection_context, faults)
        condition = None
        if "where" in fields:
            condition = template_parser.parse_expression_text(
                fields["where"], f"{key_path}.where", faults, is_condition=True
            )
        return TimeSeriesSpec(
            id=default_id,
            path=str(fields.get("das2", default_path)).strip("/"),
            time=str(self._clock_fields.get("of", "")),
            file=file_template,
            reader=reader,
            clock=self._read_time_decoding(),
            variables={
                str(name): _read_series_parameter_spec(f"{key_path}.variables.{name}", parameter_fields, faults)
                for name, parameter_fields in fields.get("variables", {}).items()
            },
            condition=condition,
            bins=bins,
            colors={
                str(name).lower(): {str(word): str(color) for word, color in colors.items()}
                for name, colors in fields.get("colors", {}).items()
            },
            vectors={
                str(name).lower(): (
                    str(vector_fields["system"]),
                    convert_plain_value(vector_fields.get("components", ())),
                )
                for name, vector_fields in fields.get("vectors", {}).items()
                if "system" in vector_fields
            },
            scale_types={
                str(name).lower(): str(scale_type) for name, scale_type in fields.get("scale_types", {}).items()
            },
            places=dict(fields.places),
            **_convert_plain_values(fields, PLAIN_SERIES_KEYS),
        )

    def _check_no_file_keys(self) -> None:
        """Report keys that are for samples in files, where the samples are rows of the table."""
        for key in ("part", "variables", "version", "reader"):
            if key in self._fields:
                message = (
                    f"{self._key_path}.{key}: this key is for samples in files, but here the samples are the "
                    "table's rows"
                )
                self._faults.add_error(
                    message, self._fields.places[key], "remove the key, or write `file: '{target.path}'`"
                )
        for key in ("unit", "since", "plus", "scale"):
            if key in self._clock_fields:
                message = (
                    f"{self._key_path}.time.{key}: this key is for samples in files; a column has its own unit and type"
                )
                place = self._fields["time"].places[key]
                self._faults.add_error(message, place, "write `columns: {..: {type: timestamp}}`")
        for bin_fields in itertools.chain.from_iterable(self._bins_by_column.values()):
            centers = bin_fields.get("centers", ())
            if len(centers) > 1 and _parse_number(centers[0]) is None:
                self._faults.add_error(
                    f"{self._key_path}.bins: 'centers' lists several columns",
                    bin_fields.places["centers"],
                    "write the name of one column, or a number for each element",
                )

    def _check_columns(self) -> None:
        """Report names that are no columns of the table."""
        if self._column_names is None:
            return
        lower_case_names = {name.lower() for name in self._column_names}
        for name in self._list_used_columns():
            if name.lower() not in lower_case_names:
                message = f"{self._key_path}: the table has no column {str(name)!r}"
                self._faults.add_error(message, name.place, suggest_spelling(name, self._column_names))

    def _list_used_columns(self) -> list[LocatedYamlScalar]:
        used_columns: list[LocatedYamlScalar] = []
        if "of" in self._clock_fields:
            used_columns.append(self._clock_fields["of"])
        for key in ("parameters", "bins", "colors", "vectors", "scale_types"):
            used_columns += self._fields.get(key, ())
        for bin_fields in itertools.chain.from_iterable(self._bins_by_column.values()):
            first_texts = list(bin_fields.get("centers", ())[:1])
            for first_range in bin_fields.get("ranges", ())[:1]:
                first_texts += first_range[:1]
            used_columns += [text for text in first_texts if _parse_number(text) is None]
        return used_columns

    def _read_time_decoding(self) -> TimeDecoding:
        offset_variable = None
        offset_fields = self._clock_fields.get("plus")
        if offset_fields and "of" in offset_fields:
            offset_variable = (str(offset_fields["of"]), convert_plain_value(offset_fields.get("unit")))
        return TimeDecoding(plus=offset_variable, **_convert_plain_values(self._clock_fields, PLAIN_CLOCK_KEYS))


def _read_file_reader_spec(
    key_path: str, reader_text: LocatedYamlScalar, collection_context: InheritedCollectionKeys, faults: FaultCollector
) -> FileReaderSpec:
    """Read the reader of the files: the name of a program in hven.toml, or of a Python file.

    The Python file is parsed; it does not run here.
    """
    name, _, function = str(reader_text).partition(":")
    if not name.endswith(".py"):
        reader_names = collection_context.reader_names
        if reader_text not in reader_names:
            hint = suggest_spelling(reader_text, reader_names)
            remedy = hint or f"add [readers.{reader_text}] to hven.toml, or specify a Python file such as nda.py"
            message = f"{key_path}.reader: hven.toml has no reader {str(reader_text)!r}"
            faults.add_error(message, reader_text.place, remedy)
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
        function_names = [node.name for node in ast.parse(data).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError) as error:
        if isinstance(error, SyntaxError):
            line = error.lineno
        else:
            line = None
        faults.add_error(f"{key_path}.reader: {error}", TextPlace(file=name, line=line))
    else:
        if function not in function_names:
            hint = suggest_spelling(function, function_names)
            remedy = hint or "define read(path), which returns a pyarrow table"
            faults.add_error(f"{key_path}.reader: {name} has no function {function!r}", reader_text.place, remedy)
    return FileReaderSpec(name=name, function=function, path=path, sha256=collection_context.hashes[name])


def _read_series_parameter_spec(
    key_path: str, parameter_fields: LocatedKeyValues, faults: FaultCollector
) -> SeriesParameterSpec:
    """Read which variables of a file make a parameter."""
    parameter_spec = SeriesParameterSpec(
        clocks=convert_plain_value(parameter_fields.get("time", ())),
        **_convert_plain_values(parameter_fields, PLAIN_VARIABLE_KEYS),
    )
    if parameter_spec.clocks and len(parameter_spec.clocks) != len(parameter_spec.of):
        message = (
            f"{key_path}.time: the number of variables is {len(parameter_spec.clocks)} in 'time', but "
            f"{len(parameter_spec.of)} in 'of'"
        )
        faults.add_error(
            message,
            parameter_fields.places["time"],
            "write one time variable for each variable under 'of', in the same order",
        )
    return parameter_spec


def _check_series_id(key_path: str, series_id: LocatedYamlScalar, faults: FaultCollector) -> str:
    """Refuse a name that clients cannot send back (HAPI 3.3, section 3.5)."""
    has_forbidden_character = any(mark in series_id for mark in ",/\n\t ")
    if not series_id or has_forbidden_character or len(series_id) > MAX_SERIES_ID_CHARACTERS:
        message = f"{key_path}.id: {str(series_id)!r} cannot be the name of a data set"
        faults.add_error(message, series_id.place, "use only letters, digits and the characters _ . - ~")
    return str(series_id)


def _read_parameter_bins(key_path: str, bin_fields: LocatedKeyValues, faults: FaultCollector) -> ParameterBins:
    """Read what the elements of one dimension are: numbers, or the name of a column."""
    centers: tuple[float, ...] | str = ()
    source_names: tuple[str, ...] = ()
    center_texts = bin_fields.get("centers", ())
    are_names = bool(center_texts) and all(_parse_number(text) is None for text in center_texts)
    if are_names and len(center_texts) == 1:
        centers = str(center_texts[0])
    elif are_names:
        source_names = tuple(map(str, center_texts))
    else:
        centers = tuple(_parse_numbers(f"{key_path}.centers", center_texts, faults))
    ranges = _read_bin_ranges(key_path, bin_fields, faults)
    if not centers and not ranges and not source_names:
        message = f"{key_path}: 'centers' or 'ranges' is missing"
        faults.add_error(message, bin_fields.place, "write numbers such as `centers: [10, 20]`")
    are_numbers = isinstance(centers, tuple) and isinstance(ranges, tuple)
    if are_numbers and centers and ranges and len(centers) != len(ranges):
        message = f"{key_path}: 'centers' has {len(centers)} values, but 'ranges' has {len(ranges)}"
        faults.add_error(message, bin_fields.places["ranges"], "write one center and one range for each element")
    return ParameterBins(
        centers=centers, ranges=ranges, of=source_names, **_convert_plain_values(bin_fields, PLAIN_BINS_KEYS)
    )


def _read_bin_ranges(
    key_path: str, bin_fields: LocatedKeyValues, faults: FaultCollector
) -> tuple[tuple[float, float], ...] | str:
    """Read the lowest and the highest value of each bin, or the column that has them."""
    written_ranges = bin_fields.get("ranges", ())
    if len(written_ranges) == 1 and len(written_ranges[0]) == 1:
        column_name: str = written_ranges[0][0]
        return column_name
    ranges = []
    first_invalid_number = None
    for number, written_range in enumerate(written_ranges, 1):
        limits = tuple(_parse_numbers(f"{key_path}.ranges", written_range, faults))
        if len(limits) == 2:
            ranges.append((limits[0], limits[1]))
        if first_invalid_number is None and (len(limits) != 2 or not limits[0] <= limits[1]):
            first_invalid_number = number
    if first_invalid_number is not None:
        faults.add_error(
            f"{key_path}.ranges: item {first_invalid_number} must be a pair of the form [lowest, highest]",
            bin_fields.places["ranges"],
            "write pairs such as [[10, 11], [11, 12]]",
        )
    return tuple(ranges)


def _parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _parse_numbers(key_path: str, texts: Sequence[LocatedYamlScalar], faults: FaultCollector) -> Iterator[float]:
    for text in texts:
        value = _parse_number(text)
        if value is None or not math.isfinite(value):
            message = f"{key_path}: {str(text)!r} is not a number"
            faults.add_error(message, text.place, "write a number for each element, or the name of one column")
        else:
            yield value


def _convert_plain_values(fields: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: convert_plain_value(fields[key]) for key in keys if key in fields}
