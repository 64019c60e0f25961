"""Write service descriptors (DataLink 1.1, section 4).

A descriptor is a RESOURCE with the address of a service, its constant parameters, and those that the user fills in.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.formats._xml_text import escape_xml, quote_attribute, write_xml_attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.params import Param
    from hven.model.table import ServiceDescriptor, ServiceParameter, Template

MAX_CACHED_INPUTS = 4000  # texts of parameters that are cached
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
        The service for one row, or for all.
    xml_id
        XML ID, to which ``service_def`` refers.
    name, description
        Name and description for people.
    content_type
        Media type of the answers of the service.
    field_ids
        Parameter -> XML ID of the FIELD whose value is sent.

    Returns
    -------
    resource
        XML.
    """
    field_ids = field_ids or {}
    example_url = None
    if not field_ids:
        example_url = build_example_url(service)
    param_values = {
        "standardID": service.standard_id,
        "resourceIdentifier": service.ivoid,
        "accessURL": _join_template(service.address),
        "contentType": content_type,
        "exampleURL": example_url,
    }
    params = ""
    for key, value in param_values.items():
        if value:
            name_attribute = write_xml_attribute("name", key)
            params += f"<PARAM{name_attribute}{TEXT_TYPE_ATTRIBUTES} value={quote_attribute(value)}/>\n"
    inputs = ""
    for service_parameter in service.inputs:
        field_id = field_ids.get(service_parameter.param.name)
        inputs += _write_cached_input(service_parameter, field_id)
    description_xml = ""
    if description:
        description_xml = f"<DESCRIPTION>{escape_xml(description)}</DESCRIPTION>\n"
    resource_attributes = write_xml_attribute("ID", xml_id) + write_xml_attribute("name", name)
    return (
        f'<RESOURCE type="meta" utype="adhoc:service"{resource_attributes}>\n{description_xml}{params}'
        f'<GROUP name="inputParams">\n{inputs}</GROUP>\n</RESOURCE>\n'
    )


def format_placeholder(number: int) -> str:
    """Return the placeholder for a text of a service that differs from row to row, for `DescriptorTemplate`.

    Parameters
    ----------
    number
        Number of the text; 0 is the description of the service.
    """
    return f"{_PLACEHOLDER_PREFIX}{number}_"


class DescriptorTemplate:
    """The descriptor of a service, written once for many rows.

    Parameters
    ----------
    text
        Descriptor from `write_service_descriptor`, with placeholders.
    """

    def __init__(self, text: str) -> None:
        self._parts = _PLACEHOLDER_PATTERN.split(text)
        self._numbers = [int(number) for number in self._parts[1::2]]
        # placeholders consist of letters that an address may hold, so that they stay unquoted there
        preceding_texts = self._parts[::2]
        self._escape_functions = []
        for preceding_text, number in zip(preceding_texts, self._numbers, strict=False):
            self._escape_functions.append(_choose_escape_function(preceding_text, number))

    def fill_placeholders(self, texts: Sequence[str]) -> str:
        """Fill the placeholders.

        Parameters
        ----------
        texts
            Texts by their numbers.

        Returns
        -------
        resource
            XML.
        """
        parts = self._parts.copy()
        filled_texts = []
        for escape_function, number in zip(self._escape_functions, self._numbers, strict=True):
            filled_texts.append(escape_function(texts[number]))
        parts[1::2] = filled_texts
        return "".join(parts)


def _choose_escape_function(preceding_text: str, number: int) -> Callable[[str], str]:
    """Choose how a text is escaped in a placeholder: in an element, in an attribute, or in an address there."""
    if number == 0:
        return escape_xml
    if preceding_text.endswith("="):  # not a quote: a parameter of an address
        return lambda text: quote_attribute(quote(text, safe=_UNQUOTED_CHARACTERS))[1:-1]
    return lambda text: quote_attribute(text)[1:-1]


def build_example_url(service: ServiceDescriptor) -> str | None:
    """Build an example address from the constant parameters and the examples of the others.

    Return None if there are parameters to fill in and none has an example.

    Parameters
    ----------
    service
        The service, with its templates filled.
    """
    open_parameters = [service_parameter for service_parameter in service.inputs if not service_parameter.value]
    if open_parameters and not any(service_parameter.example for service_parameter in open_parameters):
        return None
    example_values = []
    for service_parameter in service.inputs:
        value = _join_template(service_parameter.value) or _join_template(service_parameter.example)
        if value:
            example_values.append((service_parameter.param.name, value))
    return build_request_url(_join_template(service.address), example_values)


def build_request_url(address: str, parameters: list[tuple[str, str]]) -> str:
    """Build the address of a call; the address of the service may have a query already.

    Parameters
    ----------
    address
        Address of the service.
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
    if field_id is None and not service_parameter.value:  # the same text for a thousand rows
        if len(_input_xml_cache) >= MAX_CACHED_INPUTS:
            _input_xml_cache.clear()
        _input_xml_cache[id(service_parameter)] = service_parameter, text
    return text


def _write_param_attributes_and_description(param: Param) -> tuple[str, str]:
    """Write the attributes and the description of a parameter, which are the same wherever it is used."""
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
    attributes = [write_xml_attribute(name, value) for name, value in attribute_values.items()]
    description_xml = ""
    if param.description:
        description_xml = f"<DESCRIPTION>{escape_xml(param.description)}</DESCRIPTION>"
    param_start = ("".join(attributes), description_xml)
    if len(_param_xml_cache) >= MAX_CACHED_INPUTS:
        _param_xml_cache.clear()
    _param_xml_cache[id(param)] = param, param_start
    return param_start


def _write_input_param(service_parameter: ServiceParameter, field_id: str | None) -> str:
    param = service_parameter.param
    attributes_xml, inner = _write_param_attributes_and_description(param)
    low = _join_template(service_parameter.low)
    high = _join_template(service_parameter.high)
    bounds = ""
    if low:
        bounds = f"<MIN value={quote_attribute(low)}/>"
    if high:
        bounds += f"<MAX value={quote_attribute(high)}/>"
    bounds += "".join(f"<OPTION value={quote_attribute(value)}/>" for value in param.allowed)
    if bounds:
        inner += f"<VALUES>{bounds}</VALUES>"
    value = _join_template(service_parameter.value)
    attributes_xml += f"{write_xml_attribute('ref', field_id)} value={quote_attribute(value)}"
    if inner:
        return f"<PARAM{attributes_xml}>{inner}</PARAM>\n"
    return f"<PARAM{attributes_xml}/>\n"
