"""The key ``series`` of tables in descriptors."""

from __future__ import annotations

from hven.descriptor.api.keys import TableDescriptorKey
from hven.descriptor.value_schema import OneOrMore
from hven.plugins.series.descriptor.series_examples import SERIES_SECTIONS
from hven.plugins.series.descriptor.series_keys import TimeSeriesSection
from hven.plugins.series.descriptor.series_loading import (
    build_granule_options,
    check_table_series,
    find_series_conflicts,
    list_sample_time_columns,
    read_table_series,
)
from hven.plugins.series.descriptor.series_proposals import propose_series

SERIES = TableDescriptorKey(
    value_type=OneOrMore[TimeSeriesSection],  # type: ignore[misc]  # a type as a value
    doc="HAPI and das2 data sets. The samples are the rows of the table, or are in one file for each row",
    convert_value=read_table_series,
    previous_key="links",
    check_table=check_table_series,
    list_indexed_columns=list_sample_time_columns,
    build_source_options=build_granule_options,
    find_conflicts=find_series_conflicts,
    propose=propose_series,
    reference_sections=SERIES_SECTIONS,
)
