"""The key ``endpoints`` of tables in descriptors."""

from __future__ import annotations

from hven.descriptor.api.keys import TableDescriptorKey
from hven.plugins.heritage.endpoint_checks import find_endpoint_faults
from hven.plugins.heritage.endpoint_examples import ENDPOINT_SECTIONS
from hven.plugins.heritage.endpoint_keys import EndpointSection
from hven.plugins.heritage.endpoint_loading import find_endpoint_path_conflicts, read_endpoints

ENDPOINTS = TableDescriptorKey(
    value_type=dict[str, EndpointSection],
    doc=(
        "addresses that the table had on another server. Hven serves them too, so existing scripts and programs still "
        "work. Choose a name for each address, and describe its parameters"
    ),
    convert_value=read_endpoints,
    previous_key="series",
    service="endpoints",
    find_faults=find_endpoint_faults,
    find_conflicts=find_endpoint_path_conflicts,
    reference_sections=ENDPOINT_SECTIONS,
)
