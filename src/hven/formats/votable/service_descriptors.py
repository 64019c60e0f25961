"""Service descriptors: a RESOURCE that says where a service is asked, what is always sent to it, and what people fill in (DataLink 1.1, section 4)."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.formats.votable.xml import escape_text, quote_attribute_value, write_attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.params import Param
    from hven.model.table import ServiceDescriptor, ServiceParameter, Template

MAX_CACHED_INPUTS = 4000  # texts of parameters that are kept
_input_xml_cache: dict[int, tuple[ServiceParameter, str]] = {}
_param_xml_cache: dict[int, tuple[Param, tuple[str, str]]] = {}
_UNQUOTED_CHARACTERS = "/:,"
_PLACEHOLDER_PREFIX = f"hven{secrets.token_hex(8)}_"
_PLACEHOLDER_PATTERN = re.compile(rf"{_PLACEHOLDER_PREFIX}(\d+)_")
TEXT_TYPE_ATTRIBUTES = ' datatype="char" arraysize="*"'


def write_service_descriptor(
    service: ServiceDescriptor,
    *,
    xml_id: str = "",
    name: str = "",
    description: str = "",
    content_type: str = "",
    field_ids: Mapping[str, str] | None = None,
) -> str:
    """Write the descriptor of a service whose templates are filled.

    Parameters
    ----------
    service
        As it is for a row, or for all.
    xml_id
        XML ID, that ``service_def`` names.
    name, description
        For people.
    content_type
        Media type of what it gives.
    field_ids
        Parameter -> XML ID of the FIELD whose value is sent.

    Returns
    -------
    resource
        XML.
    """
    field_ids = field_ids or {}
    param_values = {
        "standardID": service.standard_id,
        "resourceIdentifier": service.ivoid,
        "accessURL": _join_template(service.address),
        "contentType": content_type,
        "exampleURL": None if field_ids else build_example_url(service),
    }
    params = "".join(
        f"<PARAM{write_attribute('name', key)}{TEXT_TYPE_ATTRIBUTES} value={quote_attribute_value(value)}/>\n"
        for key, value in param_values.items()
        if value
    )
    inputs = "".join(
        _write_cached_input(service_parameter, field_ids.get(service_parameter.param.name))
        for service_parameter in service.inputs
    )
    if description:
        description_xml = f"<DESCRIPTION>{escape_text(description)}</DESCRIPTION>\n"
    else:
        description_xml = ""
    return (
        f'<RESOURCE type="meta" utype="adhoc:service"{write_attribute("ID", xml_id)}{write_attribute("name", name)}>\n{description_xml}{params}'
        f'<GROUP name="inputParams">\n{inputs}</GROUP>\n</RESOURCE>\n'
    )


def format_placeholder(number: int) -> str:
    """Write what stands in a service's texts for one that differs from row to row, for `DescriptorTemplate`.

    Parameters
    ----------
    number
        Of the text; 0 is the description of the service.
    """
    return f"{_PLACEHOLDER_PREFIX}{number}_"


class DescriptorTemplate:
    """The descriptor of a service that is written once for many rows.

    Parameters
    ----------
    text
        As `write_service_descriptor` wrote it, with gaps.
    """

    def __init__(self, text: str) -> None:
        self._parts = _PLACEHOLDER_PATTERN.split(text)
        self._numbers = [int(number) for number in self._parts[1::2]]
        # an address has values in its own letters, which are those of gaps, too
        self._escape_functions = [
            _choose_escape_function(before, number)
            for before, number in zip(self._parts[::2], self._numbers, strict=False)
        ]

    def fill_placeholders(self, texts: Sequence[str]) -> str:
        """Fill the gaps.

        Parameters
        ----------
        texts
            By their numbers.

        Returns
        -------
        resource
            XML.
        """
        parts = self._parts.copy()
        parts[1::2] = [way(texts[number]) for way, number in zip(self._escape_functions, self._numbers, strict=True)]
        return "".join(parts)


def _choose_escape_function(preceding_text: str, number: int) -> Callable[[str], str]:
    """Return what writes a text in a gap: in an element, in an attribute, or there in an address."""
    if number == 0:
        return escape_text
    if preceding_text.endswith("="):  # not a quote: a parameter of an address
        return lambda text: quote_attribute_value(quote(text, safe=_UNQUOTED_CHARACTERS))[1:-1]
    return lambda text: quote_attribute_value(text)[1:-1]


def build_example_url(service: ServiceDescriptor) -> str | None:
    """Make an address that works: all that is always sent, and the examples of what people fill in; None.

    Nobody gave one.

    Parameters
    ----------
    service
        Filled.
    """
    example_values = [
        (
            service_parameter.param.name,
            _join_template(service_parameter.value) or _join_template(service_parameter.example),
        )
        for service_parameter in service.inputs
    ]
    open_parameters = [service_parameter for service_parameter in service.inputs if not service_parameter.value]
    if open_parameters and not any(service_parameter.example for service_parameter in open_parameters):
        return None
    return build_request_url(_join_template(service.address), [pair for pair in example_values if pair[1]])


def build_request_url(address: str, parameters: list[tuple[str, str]]) -> str:
    """Write the address of a call: it may have a query already.

    Parameters
    ----------
    address
        Of the service.
    parameters
        Parameters and their values.
    """
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe=_UNQUOTED_CHARACTERS)}" for name, value in parameters)
    if not query or address.endswith(("?", "&")):
        sign = ""
    elif "?" in address:
        sign = "&"
    else:
        sign = "?"
    return f"{address}{sign}{query}"


def _join_template(template: Template) -> str:
    return "".join(map(str, template))


def _write_cached_input(service_parameter: ServiceParameter, field_id: str | None) -> str:
    cached_entry = _input_xml_cache.get(id(service_parameter))
    if cached_entry is not None and cached_entry[0] is service_parameter and field_id is None:
        return cached_entry[1]
    text = _write_input_param(service_parameter, field_id)
    if field_id is None and not service_parameter.value:  # a thousand rows have the same ones
        if len(_input_xml_cache) >= MAX_CACHED_INPUTS:
            _input_xml_cache.clear()
        _input_xml_cache[id(service_parameter)] = service_parameter, text
    return text


def _write_param_start(param: Param) -> tuple[str, str]:
    """Write what is the same wherever a parameter is asked for: its attributes, and its description."""
    cached_entry = _param_xml_cache.get(id(param))
    if cached_entry is not None and cached_entry[0] is param:
        return cached_entry[1]
    kind = param.type
    attribute_values = {
        "name": param.name,
        "datatype": kind.datatype,
        "arraysize": kind.arraysize,
        "unit": param.unit,
        "ucd": param.ucd,
        "utype": param.utype,
        "xtype": kind.xtype,
    }
    attributes_xml = "".join(write_attribute(name, value) for name, value in attribute_values.items())
    param_start = (
        attributes_xml,
        f"<DESCRIPTION>{escape_text(param.description)}</DESCRIPTION>" if param.description else "",
    )
    if len(_param_xml_cache) >= MAX_CACHED_INPUTS:
        _param_xml_cache.clear()
    _param_xml_cache[id(param)] = param, param_start
    return param_start


def _write_input_param(service_parameter: ServiceParameter, field_id: str | None) -> str:
    param = service_parameter.param
    attributes_xml, inner = _write_param_start(param)
    low = _join_template(service_parameter.low)
    high = _join_template(service_parameter.high)
    if low:
        bounds = f"<MIN value={quote_attribute_value(low)}/>"
    else:
        bounds = ""
    bounds += f"<MAX value={quote_attribute_value(high)}/>" if high else ""
    bounds += "".join(f"<OPTION value={quote_attribute_value(value)}/>" for value in param.allowed)
    inner += f"<VALUES>{bounds}</VALUES>" if bounds else ""
    attributes_xml += (
        f"{write_attribute('ref', field_id)} value={quote_attribute_value(_join_template(service_parameter.value))}"
    )
    if inner:
        return f"<PARAM{attributes_xml}>{inner}</PARAM>\n"
    return f"<PARAM{attributes_xml}/>\n"
