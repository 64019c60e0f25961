"""Data sets of other servers that are not copied: their samples are requested when a reader requests them here.

The table of such a data set has one row, with the time span of its samples; readers who see the row may have them.
No response of the other server is kept.

Common
------
names
    Names of parameters.
start, stop
    Microseconds since 1970: from `start` (included) to `stop` (excluded).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.model import plugins
from hven.model.errors import HvenError, UpstreamError, format_message
from hven.model.settings import resolve_secret
from hven.sources import SourceContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.resource import SourceSpec
    from hven.model.table import Column, ParameterBins
    from hven.services.face import ServiceContext
    from hven.site import PublishedTable

    Bins = Mapping[str, tuple[ParameterBins, ...]]
    RemoteDescription = tuple[tuple[Column, ...], Bins, Mapping[str, int], float | None]

REQUEST_LIMITS = {"tries": 1, "seconds": 20.0, "total": 300.0}  # of a request for which a reader waits
MAX_OPEN_WIDTHS = 50  # widths of bins for which a source is kept open
RESOLUTION_OPTIONS = {"hapi": "cadence", "das2": "resolution"}  # option for the seconds between two samples


def find_remote_data_set(context: ServiceContext, published: PublishedTable) -> RemoteDataSet | None:
    """Find the server from which a table's samples are requested; return None if this site has them.

    Parameters
    ----------
    context
        Service context of the site.
    published
        Published table.
    """
    if published.resource is None:
        return None
    for table_spec in published.resource.tables:
        if table_spec.table.qualified_name != published.table.qualified_name:
            continue
        for source_spec in table_spec.sources:
            if source_spec.options.get("reference"):
                return RemoteDataSet(context, source_spec)
        return None
    return None


class RemoteDataSet:
    """A data set of another server.

    Parameters
    ----------
    context
        Service context of the site.
    source_spec
        The source in the descriptor.
    """

    def __init__(self, context: ServiceContext, source_spec: SourceSpec) -> None:
        self._settings = context.site.settings
        self._source_spec = source_spec
        self._open_sources: dict[int, Any] = {}

    def _open_source(self, bin_microseconds: int = 0) -> Any:
        """Open the source: with all samples (0), or the coarsest samples within `bin_microseconds`."""
        open_source = self._open_sources.get(bin_microseconds)
        if open_source is not None:
            return open_source
        if len(self._open_sources) > MAX_OPEN_WIDTHS:
            self._open_sources.clear()
        module = plugins.load_plugin("sources", self._source_spec.kind)
        options = {**self._source_spec.options, **REQUEST_LIMITS, "reference": False}
        if bin_microseconds:
            options[RESOLUTION_OPTIONS[self._source_spec.kind]] = bin_microseconds / 1e6
        context = SourceContext(
            resolve_secret=partial(resolve_secret, self._settings.directory),
            allow_private=self._settings.allow_private,
        )
        open_source = module.open(module.Options.model_validate(options), context)
        self._open_sources[bin_microseconds] = open_source
        return open_source

    def describe(self) -> RemoteDescription:
        """Ask the server for the description of the data set.

        Returns
        -------
        description
            Columns (the time first), bins of array elements, lengths of texts in bytes, and seconds between two
            samples.

        Raises
        ------
        UpstreamError
            The server does not describe it.
        """
        source = self._open_source()
        try:
            columns = tuple(source.list_columns())
            return columns, source.read_parameter_bins(), source.read_text_lengths(), source.cadence_seconds
        except HvenError as error:
            raise self._build_upstream_error(error) from error

    def read_batches(
        self, parameter_names: Sequence[str], start: int, stop: int, bin_microseconds: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Request samples.

        Parameters
        ----------
        bin_microseconds
            Microseconds between two samples that are sufficient; 0: all samples.

        Yields
        ------
        batches
            As in `hven.plugins.series.sample_sets.read_samples`.

        Raises
        ------
        UpstreamError
            The server fails, or sends samples that are not in the order of time.
        """
        types_by_name = {column.name: column.type.arrow for column in self.describe()[0]}
        last_time = -(2**63)
        try:
            source = self._open_source(bin_microseconds)
            source_names = {column.name for column in source.list_columns()}
            if bin_microseconds and not source_names >= set(parameter_names):  # the coarser samples have other names
                source = self._open_source()
            for batch in source.select_span(start, stop).read_batches([source.time_column_name, *parameter_names]):
                times, *columns = batch.columns
                instants = np.asarray(times.cast(pa.timestamp("us")).cast(pa.int64()))
                if len(instants):
                    if instants[0] < last_time or (np.diff(instants) < 0).any():
                        raise UpstreamError(  # noqa: TRY301
                            format_message("{what} sent samples that are not in time order", source.source_name)
                        )
                    last_time = instants[-1]
                arrays = [
                    column.cast(types_by_name[name]) for column, name in zip(columns, parameter_names, strict=True)
                ]
                yield pa.record_batch([pa.array(instants), *arrays], names=["hven_time", *parameter_names])
        except UpstreamError:
            raise
        except (HvenError, pa.ArrowInvalid) as error:
            raise self._build_upstream_error(error) from error

    def _build_upstream_error(self, error: Exception) -> UpstreamError:
        if isinstance(error, HvenError):
            reason = error.message
        else:
            reason = str(error)[:300]
        dataset_id = str(self._source_spec.options["dataset"])
        return UpstreamError(
            format_message("the samples of the data set {name!r} are not available: {reason}", dataset_id, reason)
        )
