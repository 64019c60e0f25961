"""Read what the panels of a plot show, with the reader's rights: lines, spectra, and rows of tables in a time span.

Samples are reduced to bins of the width of a picture, from kept reductions where possible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from hven import query
from hven.model.errors import HvenError, NotFoundError, ParamError, TimeLimitError, format_message
from hven.plugins.series import pyramids, reductions, sample_sets
from hven.plugins.series.sample_parameters import is_spectrum, list_bin_centers
from hven.plugins.series.timelines.latest_sample_span import find_span_after_last_gap
from hven.plugins.series.timelines.spectrum_channels import MAX_CHANNELS, resample_spectra
from hven.plugins.series.timelines.spectrum_pictures import build_spectrum_picture, find_channel_parameter_name
from hven.plugins.stacked_plots.computed_sets import read_selected_samples, select_samples
from hven.plugins.stacked_plots.sample_expressions import SampleBlock, compute_max_gap
from hven.plugins.stacked_plots.table_events import find_table_span, read_table_events
from hven.portal.api.page_rows import build_table_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.table import Table
    from hven.plugins.series.reductions import BinRecords
    from hven.plugins.series.sample_parameters import SampleParameter
    from hven.plugins.series.sample_sets import SampleDataSet
    from hven.plugins.stacked_plots.computed_sets import SampleSelection
    from hven.plugins.stacked_plots.plot_addresses import PanelAddress, PlotAddress
    from hven.plugins.stacked_plots.table_events import TableEvents
    from hven.portal.api.pages import PageContext

    Numbers = npt.NDArray[Any]

LINE_BINS = 1000
SPECTRUM_BINS = 800
SPECTRUM_ROWS = 220
MAX_SPECTRUM_BINS = 2 * SPECTRUM_BINS + 2
MAX_LINES = 8
MAX_READ_BINS = 40_000  # exact samples of a line that are drawn without reduction
MAX_COMPUTED_VALUES = 2_000_000  # values from which a line is computed exactly; more are reduced to means first
EMPTY_SPAN_NOTE = format_message("There are no samples in this time span.")
QUERY_TIMEOUT_SECONDS = 10.0
MAX_PLOT_SECONDS = 20.0  # for all panels of a plot


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTrace:
    """A line: the values of samples, or of bins.

    Attributes
    ----------
    name, unit
        Name for people, and unit.
    instants
        Times in microseconds since 1970.
    means, lows, highs
        Means and extremes; NaN for no value.
    scale_type
        ``linear`` or ``log``; None: the values decide.
    max_gap_microseconds
        Points that are further apart are not connected; 0: all are connected.
    """

    name: str
    unit: str
    instants: npt.NDArray[np.int64]
    means: Numbers
    lows: Numbers
    highs: Numbers
    scale_type: str | None
    max_gap_microseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumTrace:
    """A spectrogram.

    Attributes
    ----------
    name, unit
        Name of the values for people, and their unit.
    values
        Shape (rows, bins), the first row is the lowest channel; NaN for no value.
    has_samples
        Whether a bin has samples.
    axis_name, axis_unit
        What the channels stand for.
    low, high
        The outer edges of the lowest and the highest row.
    is_logarithmic
        Whether rows are evenly spaced in the logarithm of the channel.
    has_logarithmic_values
        Whether colours show the logarithms of values.
    start, bin_microseconds
        Begin of the first bin, in microseconds since 1970, and the width of the bins.
    """

    name: str
    unit: str
    values: Numbers
    has_samples: npt.NDArray[np.bool_]
    axis_name: str
    axis_unit: str
    low: float
    high: float
    is_logarithmic: bool
    has_logarithmic_values: bool
    start: int
    bin_microseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelContent:
    """What a panel shows.

    Attributes
    ----------
    address
        The panel in the address.
    title, url
        Title of the data set or the table, and its page.
    notes
        What the reader should know about the picture.
    fault
        Why the panel shows nothing.
    is_in_hapi
        Whether HAPI serves what the panel shows.
    """

    address: PanelAddress
    title: str
    url: str = ""
    lines: Sequence[LineTrace] = ()
    spectrum: SpectrumTrace | None = None
    events: TableEvents | None = None
    notes: Sequence[str] = ()
    fault: HvenError | None = None
    is_in_hapi: bool = False


class PlotReader(sample_sets.SeriesRequest):
    """Reads the data of one plot for its reader.

    Parameters
    ----------
    page_context
        Context of the page.
    """

    face = "plots"

    def __init__(self, page_context: PageContext) -> None:
        super().__init__(page_context.request, page_context.context)
        self.page_context = page_context
        self.principal = page_context.principal
        self.published_state = page_context.published_state
        self.deadline = monotonic() + MAX_PLOT_SECONDS

    def list_data_sets(self) -> dict[str, SampleDataSet]:
        """List the reader's data sets that have pages."""
        return sample_sets.list_data_sets(self, "timelines")

    def list_portal_data_sets(self) -> dict[str, SampleDataSet]:
        """List the data sets of the collections that this portal shows."""
        names = {schema.name for schema in self.page_context.catalogue.schemas}
        return {name: data_set for name, data_set in self.data_sets.items() if data_set.table.schema in names}

    def find_table(self, name: str) -> Table:
        """Find a table by its qualified name.

        Raises
        ------
        NotFoundError
            The reader has no such table.
        """
        for table in self.page_context.catalogue.iterate_tables():
            if table.qualified_name == name and name in self.published_state.tables_by_name and table.release is None:
                return table
        raise NotFoundError(format_message("there is no table {name!r:.80} here", name))

    def require_portal_data_set(self, name: str) -> SampleDataSet:
        """Find a data set by its id.

        Raises
        ------
        HvenError
            The reader has no such data set, or its files cannot be read.
        """
        self.find_readable_data_set(name)  # raises the error of files that cannot be read
        data_set = self.list_portal_data_sets().get(name)
        if data_set is None:
            message = format_message("there is no data set {name!r:.80} here", name)
            raise NotFoundError(message, remedy="search below for data sets that you can add")
        return data_set

    def choose_span(self, address: PlotAddress) -> tuple[int, int] | None:
        """Choose the time span of a plot whose address has none: the latest samples, else the rows of a table."""
        if address.start is not None and address.stop is not None:
            return address.start, address.stop
        for panel in address.panels:
            try:
                if panel.is_table:
                    span = self._find_table_span(panel.name)
                else:
                    span = self._find_sample_span(panel.name)
            except HvenError:  # the panel shows it
                continue
            if span is not None:
                return span
        return None

    def _find_sample_span(self, name: str) -> tuple[int, int] | None:
        data_set = self.require_portal_data_set(name)
        extent = sample_sets.find_time_extent(self, data_set)
        if extent is None:
            return None
        return find_span_after_last_gap(self, data_set, extent)

    def _find_table_span(self, name: str) -> tuple[int, int] | None:
        return find_table_span(self.query_rows, self.find_table(name))

    def read_panel(self, panel: PanelAddress, start: int, stop: int) -> PanelContent:
        """Read what a panel shows; a fault of one panel leaves the others as they are.

        Parameters
        ----------
        panel
            The panel.
        start, stop
            The time span in microseconds since 1970.
        """
        base = self.page_context.base
        try:
            if panel.is_table:
                table = self.find_table(panel.name)
                url = build_table_address(base, table)
                title = table.title or table.qualified_name
                if panel.is_hidden:
                    return PanelContent(address=panel, title=title, url=url)
                events = read_table_events(self.query_rows, table, start, stop, url)
                return PanelContent(address=panel, title=title, url=url, events=events, notes=events.notes)
            data_set = self.require_portal_data_set(panel.name)
            url = f"{base}/series/{quote(panel.name, safe='')}"
            if panel.is_hidden:
                return PanelContent(address=panel, title=data_set.title, url=url)
            self.check_deadline()
            return self._read_samples_of_panel(
                panel, select_samples(self, data_set, panel.parameters), url, start, stop
            )
        except HvenError as error:
            return PanelContent(address=panel, title=panel.name, fault=error)

    def query_rows(self, adql: str, row_limit: int) -> pa.Table:
        """Run a query with the rights of the reader."""
        self.check_deadline()
        with query.run_query(
            adql,
            self.principal,
            site=self.context.site,
            policies=self.context.policies,
            published_state=self.published_state,
            maxrec=row_limit,
            hard_row_limit=row_limit,
            timeout_seconds=QUERY_TIMEOUT_SECONDS,
        ) as result:
            batches = list(result.iterate_batches())
            if batches:
                return pa.Table.from_batches(batches, batches[0].schema)
            return pa.table({column.name: pa.array([], column.type.arrow) for column in result.columns})

    def check_deadline(self) -> None:
        """Raise an error if the time of the plot is over."""
        if monotonic() > self.deadline:
            message = format_message("reading this plot takes more than {limit:.0f} seconds", MAX_PLOT_SECONDS)
            raise TimeLimitError(message, remedy="choose a shorter time span, or fewer panels")

    def _watch_time(self, parts: Iterable[Any]) -> Iterator[Any]:
        for part in parts:
            self.check_deadline()
            yield part

    def _read_samples_of_panel(
        self, panel: PanelAddress, selection: SampleSelection, url: str, start: int, stop: int
    ) -> PanelContent:
        data_set = selection.data_set
        if not selection.parameters:
            raise NotFoundError(format_message("the data set has no parameters that can be drawn"))
        is_in_hapi = data_set.table.is_served_by("hapi") and data_set.remote is None
        notes: list[str] = []
        spectra = [parameter for parameter in selection.parameters if is_spectrum(parameter)]
        if spectra and len(selection.parameters) > 1:
            message = format_message("a panel shows one spectrum, or lines: {names}", ", ".join(selection.names)[:200])
            raise ParamError(message, name="panel", remedy="give each spectrum a panel of its own")
        extent = sample_sets.find_time_extent(self, data_set)
        has_overlap = extent is not None and start < extent.stop and stop > extent.start
        if not has_overlap or extent is None:
            notes.append(EMPTY_SPAN_NOTE)
        first, last = (max(start, extent.start), min(stop, extent.stop)) if has_overlap and extent else (start, start)
        if spectra:
            spectrum = self._read_spectrum(selection, start, stop, (first, last), notes)
            return PanelContent(
                address=panel,
                title=data_set.title,
                url=url,
                spectrum=spectrum,
                notes=notes,
                is_in_hapi=is_in_hapi,
            )
        lines = self._read_lines(selection, stop - start, (first, last), notes)
        if not lines and not notes:
            notes.append(EMPTY_SPAN_NOTE)
        return PanelContent(
            address=panel, title=data_set.title, url=url, lines=lines, notes=notes, is_in_hapi=is_in_hapi
        )

    def _read_bins(
        self, selection: SampleSelection, limits: tuple[int, int], width: int, notes: list[str]
    ) -> Iterator[BinRecords]:
        """Read bins of stored or computed parameters."""
        first, last = limits
        if first >= last:
            return
        if not selection.lines:
            parts = pyramids.read_bins(
                self, selection.data_set, selection.names, start=first, stop=last, bin_microseconds=width
            )
            yield from self._watch_time(parts)
            return
        if self._count_source_values(selection, first, last) <= MAX_COMPUTED_VALUES:
            low = first // width * width
            samples = read_selected_samples(self, selection, low, -(-last // width) * width)
            yield from reductions.reduce_samples(self._watch_time(samples), width, selection.names)
            return
        seconds = f"{width / 1e6:,.6g}"
        notes.append(
            format_message("This span has many samples: lines are computed from means over {seconds} s.", seconds)
        )
        yield self._compute_from_bin_means(selection, limits, width)

    def _count_source_values(self, selection: SampleSelection, first: int, last: int) -> int:
        extent = sample_sets.find_time_extent(self, selection.data_set)
        if extent is None:
            return 0
        share = (last - first + 2 * selection.margin_microseconds) / max(extent.span, 1)
        elements = {parameter.name: parameter.element_count for parameter in selection.data_set.numeric_parameters}
        return int(extent.row_count * min(share, 1.0) * sum(elements[name] for name in selection.source_names))

    def _compute_from_bin_means(self, selection: SampleSelection, limits: tuple[int, int], width: int) -> BinRecords:
        margin = selection.margin_microseconds
        parts = pyramids.read_bins(
            self,
            selection.data_set,
            selection.source_names,
            start=limits[0] - margin,
            stop=limits[1] + margin,
            bin_microseconds=width,
        )
        chunks = list(self._watch_time(parts))
        numbers = np.concatenate([np.empty(0, np.int64), *(chunk["number"] for chunk in chunks)])
        values = {}
        for name in selection.source_names:
            matrices = [np.asarray(chunk[f"m {name}"], np.float64) for chunk in chunks]
            values[name] = np.concatenate(matrices) if matrices else np.empty((0, 1))
        block = SampleBlock(
            instants=numbers * width + width // 2, values=values, max_gap_microseconds=compute_max_gap(width)
        )
        if len(numbers):
            columns = selection.compute_columns(block)
        else:
            columns = {name: np.empty((0, 1)) for name in selection.names}
        fields: list[Any] = [("number", np.int64)]
        for name, matrix in columns.items():
            fields += [(f"{letter} {name}", np.float64, (matrix.shape[1],)) for letter in "mhl"]
        bins = np.empty(len(numbers), fields)
        bins["number"] = numbers
        for name, matrix in columns.items():
            for letter in "mhl":
                bins[f"{letter} {name}"] = matrix
        first_number, last_number = limits[0] // width, -(-limits[1] // width)
        return bins[(numbers >= first_number) & (numbers < last_number)]

    def _read_lines(
        self, selection: SampleSelection, span: int, limits: tuple[int, int], notes: list[str]
    ) -> list[LineTrace]:
        data_set = selection.data_set
        cadence = data_set.estimate_cadence(sample_sets.find_time_extent(self, data_set))
        wanted_width = max(span // LINE_BINS, 1)
        width = reductions.choose_bin_width(wanted_width, cadence) or 1
        bins = _join_bins(self._read_bins(selection, limits, width, notes), MAX_READ_BINS)
        if bins is None:  # many samples in a short part of the span
            width = wanted_width
            bins = _join_bins(self._read_bins(selection, limits, width, notes), 2 * MAX_READ_BINS)
        if bins is None:
            return []
        instants = bins["number"] * width + width // 2
        max_gap = 0
        if data_set.series.cadence:
            max_gap = round(1.5 * max(cadence, width))
        traces = []
        for parameter in selection.parameters:
            has_extremes = f"l {parameter.name}" in (bins.dtype.names or ())
            for element in range(min(parameter.element_count, MAX_LINES)):
                means = np.asarray(bins[f"m {parameter.name}"][:, element], np.float64)
                name = parameter.column.label or parameter.name
                if parameter.element_count > 1:
                    name = f"{name}[{element + 1}]"
                letters = "lh" if has_extremes and width > 1 else "mm"
                lows, highs = (
                    np.asarray(bins[f"{letter} {parameter.name}"][:, element], np.float64) for letter in letters
                )
                trace = LineTrace(
                    name=name,
                    unit=parameter.column.unit or "",
                    instants=instants,
                    means=means,
                    lows=lows,
                    highs=highs,
                    scale_type=parameter.scale_type,
                    max_gap_microseconds=max_gap,
                )
                traces.append(trace)
        if len(traces) > MAX_LINES:
            notes.append(format_message("This panel shows the first {limit} lines of {count}.", MAX_LINES, len(traces)))
        return traces[:MAX_LINES]

    def _read_spectrum(
        self, selection: SampleSelection, start: int, stop: int, limits: tuple[int, int], notes: list[str]
    ) -> SpectrumTrace:
        (parameter,) = selection.parameters
        data_set = selection.data_set
        cadence = data_set.estimate_cadence(sample_sets.find_time_extent(self, data_set))
        wanted_width = max((stop - start) // SPECTRUM_BINS, 1)
        width = reductions.choose_bin_width(wanted_width, cadence) or 0
        numeric_parameters = {other.name: other for other in data_set.numeric_parameters}
        channel_parameter = None
        if parameter.element_count <= MAX_CHANNELS:
            channel_parameter = numeric_parameters.get(find_channel_parameter_name(parameter) or "")
        wanted = selection
        if channel_parameter is not None:
            wanted = replace(selection, parameters=(parameter, channel_parameter))
        exact_bins = None
        if not width:  # each sample is drawn where it was taken, and not at the begin of a bin
            exact_bins = _join_bins(self._read_bins(wanted, limits, 1, notes), MAX_SPECTRUM_BINS)
        if exact_bins is None:
            width = width or wanted_width
            origin = start // width * width
            chunks: Iterable[BinRecords] = self._read_bins(wanted, limits, width, notes)
        else:
            width = max(round(cadence), 1)
            origin = int(exact_bins["number"][0])
            chunks = (exact_bins,)
        bin_count = min(max(-(-(stop - origin) // width), 1), MAX_SPECTRUM_BINS)
        unit = width if exact_bins is None else 1
        spectra = build_spectrum_picture(
            _locate_bins(chunks, unit, origin, width, bin_count),
            bin_count,
            parameter,
            channel_parameter,
            max_rows=4 * SPECTRUM_ROWS,
            use_peaks=False,
        )
        centers = spectra.centers
        axis = None
        if parameter.bins and len(parameter.dimensions) == 1:
            axis = parameter.bins[-1]
        if channel_parameter is None:
            channel_centers = _group_centers(parameter, spectra.group_size)
            centers = np.where(spectra.has_samples[:, None], channel_centers, np.nan)
        picture, limits_of_axis, _ = resample_spectra(
            np.asarray(spectra.values, np.float64),
            centers,
            SPECTRUM_ROWS,
            use_peaks=False,
            scale_type=axis.scale_type if axis is not None else None,
        )
        low, high, is_logarithmic = limits_of_axis or (0.0, 1.0, False)
        return SpectrumTrace(
            name=parameter.column.label or parameter.name,
            unit=parameter.column.unit or "",
            values=picture,
            has_samples=spectra.has_samples,
            axis_name=(axis.label or axis.name) if axis is not None else "",
            axis_unit=(axis.unit or "") if axis is not None else "",
            low=low,
            high=high,
            is_logarithmic=is_logarithmic,
            has_logarithmic_values=parameter.scale_type == "log",
            start=origin - (width // 2 if data_set.series.stamp == "center" else 0),
            bin_microseconds=width,
        )


def _join_bins(parts: Iterator[BinRecords], limit: int) -> BinRecords | None:
    """Join bins; None if there are none, or more than the limit."""
    chunks = []
    count = 0
    for part in parts:
        count += len(part)
        if count > limit:
            return None
        chunks.append(part)
    if chunks:
        return np.concatenate(chunks)
    return None


def _locate_bins(
    chunks: Iterable[BinRecords], unit: int, origin: int, width: int, bin_count: int
) -> Iterator[tuple[npt.NDArray[np.int64], BinRecords]]:
    """Yield bins of `unit` microseconds with their indexes in a picture that begins at `origin`."""
    tolerance = 0 if unit == width else width // 2  # times of samples vary a little
    for bins in chunks:
        indexes = (bins["number"] * unit - origin + tolerance) // width
        is_inside = (indexes >= 0) & (indexes < bin_count)
        yield indexes[is_inside], bins[is_inside]


def _group_centers(parameter: SampleParameter, group_size: int) -> Numbers:
    """Return the centers of groups of channels; their numbers if nothing says what they stand for."""
    centers = list_bin_centers(parameter.bins[-1]) if parameter.bins and len(parameter.dimensions) == 1 else ()
    values = np.asarray(centers, np.float64)
    if len(values) != parameter.element_count:
        values = np.arange(1, parameter.element_count + 1, dtype=np.float64)
    starts = np.arange(0, len(values), group_size)
    return np.add.reduceat(values, starts) / np.diff(starts, append=len(values))
