"""Data sets of servers elsewhere that are not copied.

Their samples are asked for there when a reader asks for them here.

The table of such a data set has one row, from when to when there are samples; who may see it may have them. Nothing of
what comes is kept.

Common
------
names
    Of parameters.
start, stop
    Microseconds since 1970: from the first one on, before the second.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

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

REQUEST_LIMITS = {"tries": 1, "seconds": 20.0, "total": 300.0}  # of a request, while a reader waits
MAX_OPEN_WIDTHS = 50  # that a data set is held open for
RESOLUTION_OPTIONS = {"hapi": "cadence", "das2": "resolution"}  # what asks for fewer samples: seconds between two


def find_remote_data_set(context: ServiceContext, published: PublishedTable) -> RemoteDataSet | None:
    """Find the server that a table's samples are asked of; None: they are here.

    Parameters
    ----------
    context
        The site.
    published
        The table.
    """
    for spec in published.resource.tables if published.resource is not None else ():
        if spec.table.qualified_name == published.table.qualified_name:
            return next(
                (
                    RemoteDataSet(context, source_spec)
                    for source_spec in spec.sources
                    if source_spec.options.get("reference")
                ),
                None,
            )
    return None


class RemoteDescription(NamedTuple):
    """What a server says: columns, the time first; what their elements stand for; bytes of texts.

    Seconds between two samples.
    """

    columns: tuple[Column, ...]
    bins: Mapping[str, tuple[ParameterBins, ...]]
    lengths: Mapping[str, int]
    cadence: float | None


class RemoteDataSet:
    """A data set elsewhere.

    Parameters
    ----------
    context
        The site.
    source_spec
        The source, as the descriptor has it.
    """

    def __init__(self, context: ServiceContext, source_spec: SourceSpec) -> None:
        self._settings = context.site.settings
        self._source_spec = source_spec
        self._open_sources: dict[int, Any] = {}

    def _open_source(self, bin_microseconds: int = 0) -> Any:
        """Open it: as it is, or the coarsest of what the server has in so many microseconds."""
        if bin_microseconds not in self._open_sources:
            if len(self._open_sources) > MAX_OPEN_WIDTHS:
                self._open_sources.clear()
            module = plugins.load_plugin("sources", self._source_spec.kind)
            if bin_microseconds:
                resolution_option = {RESOLUTION_OPTIONS[self._source_spec.kind]: bin_microseconds / 1e6}
            else:
                resolution_option = {}
            options = module.Options.model_validate(
                {**self._source_spec.options, **REQUEST_LIMITS, **resolution_option, "reference": False}
            )
            context = SourceContext(
                resolve_secret=partial(resolve_secret, self._settings.directory),
                allow_private=self._settings.allow_private,
            )
            self._open_sources[bin_microseconds] = source = module.open(options, context)
            return source
        return self._open_sources.get(bin_microseconds) or self._open_source(bin_microseconds)

    def describe(self) -> RemoteDescription:
        """Ask what it is.

        Raises
        ------
        UpstreamError
            The server does not say.
        """
        source = self._open_source()
        try:
            return RemoteDescription(
                tuple(source.list_columns()), source.read_bins(), source.read_text_lengths(), source.cadence_seconds
            )
        except HvenError as error:
            raise self._build_upstream_error(error) from error

    def read_batches(
        self, names: Sequence[str], start: int, stop: int, bin_microseconds: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Ask for samples.

        Parameters
        ----------
        bin_microseconds
            Microseconds that may lie between two; 0: all of them.

        Yields
        ------
        batches
            As of `hven.services.series.read_samples`.

        Raises
        ------
        UpstreamError
            They do not come as they should.
        """
        kinds = {column.name: column.type.arrow for column in self.describe().columns}
        last = -(2**63)
        try:
            source = self._open_source(bin_microseconds)
            source_names = {column.name for column in source.list_columns()}
            if bin_microseconds and not source_names >= set(names):  # coarse ones under other names
                source = self._open_source()
            for batch in source.select_span(start, stop).read_batches([source.time_column_name, *names]):
                moments = np.asarray(batch.column(0).cast(pa.timestamp("us")).cast(pa.int64()))
                if len(moments) and (moments[0] < last or (np.diff(moments) < 0).any()):
                    raise UpstreamError(  # noqa: TRY301
                        format_message("{what} sends samples that are not in the order of time", source.source_name)
                    )
                if len(moments):
                    last = moments[-1]
                cells = [cell.cast(kinds[name]) for cell, name in zip(batch.columns[1:], names, strict=True)]
                yield pa.record_batch([pa.array(moments), *cells], names=["hven_time", *names])
        except UpstreamError:
            raise
        except (HvenError, pa.ArrowInvalid) as error:
            raise self._build_upstream_error(error) from error

    def _build_upstream_error(self, error: Exception) -> UpstreamError:
        if isinstance(error, HvenError):
            words = error.message
        else:
            words = str(error)[:300]
        return UpstreamError(
            format_message(
                "the samples of {name} cannot be had: {reason}", str(self._source_spec.options["dataset"]), words
            )
        )


__all__ = ["RemoteDataSet", "find_remote_data_set"]
