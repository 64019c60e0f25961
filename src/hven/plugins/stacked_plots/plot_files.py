"""Write the samples of a plot as files: CSV with one time column, and CDF with the attributes of ISTP.

Files have the samples as they are, and not the reduced ones of the picture.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import erfa
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from hven import __version__
from hven.model.errors import NotFoundError, TimeLimitError, format_message
from hven.plugins.series import reductions
from hven.plugins.series.sample_parameters import list_bin_centers
from hven.plugins.series.time_texts import format_instant
from hven.plugins.stacked_plots.cdf_writer import CdfVariable, write_cdf
from hven.plugins.stacked_plots.computed_sets import MAX_SELECTED_PARAMETERS, read_selected_samples, select_samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.plugins.series.sample_parameters import SampleParameter
    from hven.plugins.stacked_plots.computed_sets import SampleSelection
    from hven.plugins.stacked_plots.plot_addresses import PlotAddress
    from hven.plugins.stacked_plots.plot_reading import PlotReader

    Matrix = npt.NDArray[Any]

MAX_FILE_VALUES = 4_000_000  # values of a file; longer series are downloaded through HAPI
MAX_CSV_CELLS = 8_000_000  # cells of a CSV, which has empty ones where times differ
FILL_NUMBER = -1e31  # ISTP's fill value of floats
FIRST_TT2000, LAST_TT2000 = -315_575_942_816_000_000, 946_728_069_183_000_000  # of 1990 and 2030
FILL_TT2000 = -(2**63)
J2000_TAI_MICROSECONDS = 946_728_000_000_000 - 32_184_000  # of TAI, as if it were UTC, since 1970
DAY_MICROSECONDS = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedSamples:
    """The samples of one data set in the span of a plot.

    Attributes
    ----------
    selection
        The data set and its parameters.
    instants
        Times in microseconds since 1970.
    values
        Values by parameter: shape (samples, elements).
    """

    selection: SampleSelection
    instants: npt.NDArray[np.int64]
    values: Mapping[str, Matrix]


def read_plot_samples(reader: PlotReader, address: PlotAddress, start: int, stop: int) -> list[SelectedSamples]:
    """Read the samples of the visible panels with samples; panels of one data set are joined.

    Parameters
    ----------
    reader
        Reader of the plot.
    address
        State of the plot.
    start, stop
        Microseconds since 1970.

    Raises
    ------
    HvenError
        A panel cannot be read, there are none with samples, or there are too many samples.
    """
    parameters_by_set: dict[str, dict[str, None]] = {}
    for panel in address.list_sample_panels():
        selection = select_samples(reader, reader.require_portal_data_set(panel.name), panel.parameters)
        names = panel.parameters or tuple(selection.names)
        parameters_by_set.setdefault(panel.name, {}).update(dict.fromkeys(names))
    if not parameters_by_set:
        message = format_message("this plot has no panel with samples")
        raise NotFoundError(
            message, remedy="add a time series; rows of tables are downloaded on the pages of the tables"
        )
    sample_list = []
    remaining = MAX_FILE_VALUES
    for name, parameter_texts in parameters_by_set.items():
        selections = []
        for offset in range(0, len(parameter_texts), MAX_SELECTED_PARAMETERS):
            texts = list(parameter_texts)[offset : offset + MAX_SELECTED_PARAMETERS]
            selections.append(select_samples(reader, reader.require_portal_data_set(name), texts))
        for selection in selections:
            samples = _read_samples(reader, selection, start, stop, remaining)
            remaining -= sum(matrix.size for matrix in samples.values.values())
            sample_list.append(samples)
    return sample_list


def _read_samples(reader: PlotReader, selection: SampleSelection, start: int, stop: int, limit: int) -> SelectedSamples:
    instants: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    matrices: dict[str, list[Matrix]] = {name: [] for name in selection.names}
    count = 0
    for batch in read_selected_samples(reader, selection, start, stop):
        reader.check_deadline()
        instants.append(np.asarray(batch.column(0), np.int64))
        for name, parts in matrices.items():
            matrix = reductions.to_matrix(batch.column(name))
            parts.append(matrix)
            count += matrix.size
        if count > limit:
            message = format_message("the span of this plot has more than {limit:,} values", MAX_FILE_VALUES)
            raise TimeLimitError(message, remedy="choose a shorter time span, or download the samples through HAPI")
    values = {}
    for parameter in selection.parameters:
        parts = matrices[parameter.name] or [np.empty((0, parameter.element_count))]
        values[parameter.name] = np.concatenate(parts)
    return SelectedSamples(selection=selection, instants=np.concatenate(instants), values=values)


def write_plot_csv(sample_list: Sequence[SelectedSamples]) -> bytes:
    """Write samples as CSV: a row for each time, in UTC, and a column for each element of a parameter.

    Raises
    ------
    HvenError
        The table would have too many cells.
    """
    all_times = np.unique(np.concatenate([samples.instants for samples in sample_list]))
    elements = sum(matrix.shape[1] for samples in sample_list for matrix in samples.values.values())
    if elements * len(all_times) > MAX_CSV_CELLS:
        message = format_message("the table would have more than {limit:,} cells", MAX_CSV_CELLS)
        raise TimeLimitError(message, remedy="choose a shorter time span, or download CDF")
    columns: dict[str, Any] = {"time": pa.array(np.datetime_as_string(all_times.astype("M8[us]"), timezone="UTC"))}
    for samples in sample_list:
        places = np.searchsorted(all_times, samples.instants)
        for name, matrix in samples.values.items():
            for element in range(matrix.shape[1]):
                column = np.full(len(all_times), np.nan)
                column[places] = matrix[:, element]
                index = ""
                if matrix.shape[1] > 1:
                    index = f"[{element + 1}]"
                title = f"{samples.selection.data_set.id}.{name}{index}"
                columns[title] = pa.array(column, mask=np.isnan(column))
    buffer = io.BytesIO()
    pa_csv.write_csv(pa.table(columns), buffer, pa_csv.WriteOptions(quoting_style="needed"))
    return buffer.getvalue()


def write_plot_cdf(sample_list: Sequence[SelectedSamples], title: str, page_address: str, stem: str) -> bytes:
    """Write samples as CDF by the ISTP Metadata Guidelines: an epoch for each data set, in TT2000.

    Parameters
    ----------
    sample_list
        Samples of one or several data sets.
    title
        Title of the file.
    page_address
        Address of the plot, of which the file has the samples.
    stem
        Name of the file, without its extension.
    """
    variables: list[CdfVariable] = []
    known_names: set[str] = set()
    for number, samples in enumerate(sample_list):
        epoch_name = "Epoch" if number == 0 else f"Epoch_{number + 1}"
        known_names.add(epoch_name)
        variables.append(_build_epoch(samples, epoch_name))
        for parameter in samples.selection.parameters:
            prefix = ""
            if len(sample_list) > 1:
                prefix = f"{samples.selection.data_set.id}_"
            name = _choose_name(prefix + parameter.name, known_names)
            variables += _build_variables(samples, parameter, name, epoch_name)
    data_set_titles = [samples.selection.data_set.title for samples in sample_list]
    global_attributes = {
        "Title": [title],
        "Project": ["Hven"],
        "Discipline": ["Space Physics>Heliospheric Physics"],
        "Source_name": ["Hven>Data sets of several sources"],
        "Data_type": ["PLOT>Samples of a plot"],
        "Descriptor": ["SERIES>Time series"],
        "Data_version": ["1"],
        "TEXT": [f"Samples of {item}" for item in dict.fromkeys(data_set_titles)] + [page_address],
        "Instrument_type": ["Radio and Plasma Waves (space)"],
        "Mission_group": ["Hven"],
        "Logical_source": ["hven_plot_series"],
        "Logical_file_id": [stem],
        "Logical_source_description": ["Samples of several data sets in one time span"],
        "PI_name": ["See the data sets"],
        "PI_affiliation": ["See the data sets"],
        "Generated_by": [f"Hven {__version__}"],
        "HTTP_LINK": [page_address],
        "LINK_TEXT": ["The plot of these samples"],
        "LINK_TITLE": ["Plot"],
    }
    return write_cdf(global_attributes, variables)


def _choose_name(name: str, known_names: set[str]) -> str:
    """Choose a name of a variable: a letter, then letters, digits and underscores."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:200] or "value"
    if not plain[0].isalpha():
        plain = f"v_{plain}"
    candidate, number = plain, 1
    while candidate in known_names:
        number += 1
        candidate = f"{plain}_{number}"
    known_names.add(candidate)
    return candidate


def convert_to_tt2000(instants: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Convert microseconds since 1970 (UTC) to TT2000: nanoseconds of TT since J2000.

    Times before 1972 have the difference of 1972 between TAI and UTC.
    """
    table = erfa.leap_seconds.get()
    table = table[table["year"] >= 1972]
    months = [
        f"{year:04d}-{month:02d}-01"
        for year, month in zip(table["year"].tolist(), table["month"].tolist(), strict=True)
    ]
    begins = np.array(months, "M8[us]").astype(np.int64)
    leap_seconds = np.asarray(table["tai_utc"], np.float64).round().astype(np.int64)
    rows = np.clip(np.searchsorted(begins, instants, "right") - 1, 0, None)
    return (instants + leap_seconds[rows] * 1_000_000 - J2000_TAI_MICROSECONDS) * 1000


def _build_epoch(samples: SelectedSamples, name: str) -> CdfVariable:
    times = convert_to_tt2000(samples.instants)
    attributes: dict[str, str | float | int] = {
        "CATDESC": f"Times of {samples.selection.data_set.title}",
        "FIELDNAM": name,
        "FILLVAL": FILL_TT2000,
        "VALIDMIN": int(times.min()) if times.size else FIRST_TT2000,
        "VALIDMAX": int(times.max()) if times.size else LAST_TT2000,
        "FORMAT": "I22",
        "LABLAXIS": "UT",
        "UNITS": "ns",
        "VAR_TYPE": "support_data",
        "SCALETYP": "linear",
        "MONOTON": "INCREASE",
        "TIME_BASE": "J2000",
        "TIME_SCALE": "Terrestrial Time",
        "REFERENCE_POSITION": "Rotating Earth Geoid",
    }
    return CdfVariable(name=name, values=times.astype("<i8"), attributes=attributes)


def _build_variables(
    samples: SelectedSamples, parameter: SampleParameter, name: str, epoch_name: str
) -> list[CdfVariable]:
    """Build the variable of a parameter, and those of its channels or of the labels of its elements."""
    matrix = samples.values[parameter.name]
    is_float4 = parameter.column.type.datatype == "float" and parameter.name not in samples.selection.lines
    values = np.where(np.isfinite(matrix), matrix, FILL_NUMBER).astype("<f4" if is_float4 else "<f8")
    finite = matrix[np.isfinite(matrix)]
    element_count = parameter.element_count
    label = parameter.column.label or parameter.name
    unit = parameter.column.unit or " "
    attributes: dict[str, str | float | int] = {
        "CATDESC": parameter.column.description or label,
        "FIELDNAM": label,
        "FILLVAL": FILL_NUMBER,
        "VALIDMIN": float(finite.min()) if finite.size else -1e30,
        "VALIDMAX": float(finite.max()) if finite.size else 1e30,
        "FORMAT": "E14.6",
        "LABLAXIS": label,
        "UNITS": unit,
        "VAR_TYPE": "data",
        "DISPLAY_TYPE": "time_series",
        "SCALETYP": parameter.scale_type or "linear",
        "DEPEND_0": epoch_name,
    }
    if element_count == 1:
        return [CdfVariable(name=name, values=values[:, 0], attributes=attributes)]
    centers = list_bin_centers(parameter.bins[-1]) if len(parameter.dimensions) == 1 and parameter.bins else ()
    if len(centers) == element_count:
        axis = parameter.bins[-1]
        axis_name = f"{name}_channels"
        attributes |= {"DISPLAY_TYPE": "spectrogram", "DEPEND_1": axis_name}
        axis_attributes: dict[str, str | float | int] = {
            "CATDESC": axis.description or axis.label or axis.name,
            "FIELDNAM": axis.label or axis.name,
            "FILLVAL": FILL_NUMBER,
            "VALIDMIN": min(centers),
            "VALIDMAX": max(centers),
            "FORMAT": "E14.6",
            "LABLAXIS": axis.label or axis.name,
            "UNITS": axis.unit or " ",
            "VAR_TYPE": "support_data",
            "SCALETYP": axis.scale_type or "linear",
        }
        channels = np.asarray(centers, "<f8")[None, :]
        support = CdfVariable(name=axis_name, values=channels, varies=False, attributes=axis_attributes)
    else:
        label_name = f"{name}_labels"
        attributes["LABL_PTR_1"] = label_name
        attributes.pop("LABLAXIS")
        labels = np.array([[f"{label}[{element + 1}]".encode() for element in range(element_count)]])
        label_attributes = {
            "CATDESC": f"Labels of {label}",
            "FIELDNAM": f"Labels of {label}",
            "FORMAT": f"A{labels.dtype.itemsize}",
            "VAR_TYPE": "metadata",
        }
        support = CdfVariable(name=label_name, values=labels, varies=False, attributes=label_attributes)
    return [CdfVariable(name=name, values=values, attributes=attributes), support]


def build_file_stem(start: int, stop: int) -> str:
    """Build the name of a file of a time span, without its extension."""
    first, last = (re.sub(r"[^0-9T]", "", format_instant(instant)[:19]) for instant in (start, stop))
    return f"plot_{first}_{last}"
