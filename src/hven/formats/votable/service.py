"""Service descriptors: a RESOURCE that says where a service is asked, what is always sent to it, and what people fill in (DataLink 1.1, section 4)."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.formats.votable.xml import attribute, escape, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.params import Param
    from hven.model.table import Input, Service, Template

WRITTEN = 4000  # texts of parameters that are kept
_written: dict[int, tuple[Input, str]] = {}
_heads: dict[int, tuple[Param, tuple[str, str]]] = {}
_SAFE = "/:,"
_GAP = f"hven{secrets.token_hex(8)}_"
_GAPS = re.compile(rf"{_GAP}(\d+)_")
TEXT = ' datatype="char" arraysize="*"'


def resource(
    service: Service,
    *,
    ident: str = "",
    name: str = "",
    description: str = "",
    kind: str = "",
    refs: Mapping[str, str] | None = None,
) -> str:
    """Write the descriptor of a service whose templates are filled.

    Parameters
    ----------
    service
        As it is for a row, or for all.
    ident
        XML ID, that ``service_def`` names.
    name, description
        For people.
    kind
        Media type of what it gives.
    refs
        Parameter -> XML ID of the FIELD whose value is sent.

    Returns
    -------
    resource
        XML.
    """
    refs = refs or {}
    said = {
        "standardID": service.standard,
        "resourceIdentifier": service.registered,
        "accessURL": _text(service.address),
        "contentType": kind,
        "exampleURL": None if refs else example(service),
    }
    params = "".join(
        f"<PARAM{attribute('name', key)}{TEXT} value={quoted(value)}/>\n" for key, value in said.items() if value
    )
    inputs = "".join(_input(one, refs.get(one.param.name)) for one in service.inputs)
    told = f"<DESCRIPTION>{escape(description)}</DESCRIPTION>\n" if description else ""
    return (
        f'<RESOURCE type="meta" utype="adhoc:service"{attribute("ID", ident)}{attribute("name", name)}>\n{told}{params}'
        f'<GROUP name="inputParams">\n{inputs}</GROUP>\n</RESOURCE>\n'
    )


def gap(number: int) -> str:
    """Write what stands in a service's texts for one that differs from row to row, for `Frame`.

    Parameters
    ----------
    number
        Of the text; 0 is the description of the service.
    """
    return f"{_GAP}{number}_"


class Frame:
    """The descriptor of a service that is written once for many rows.

    Parameters
    ----------
    text
        As `resource` wrote it, with gaps.
    """

    def __init__(self, text: str) -> None:
        self._parts = _GAPS.split(text)
        self._numbers = [int(number) for number in self._parts[1::2]]
        # an address has values in its own letters, which are those of gaps, too
        self._ways = [_way(before, number) for before, number in zip(self._parts[::2], self._numbers, strict=False)]

    def filled(self, texts: Sequence[str]) -> str:
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
        parts[1::2] = [way(texts[number]) for way, number in zip(self._ways, self._numbers, strict=True)]
        return "".join(parts)


def _way(before: str, number: int) -> Callable[[str], str]:
    """Return what writes a text in a gap: in an element, in an attribute, or there in an address."""
    if number == 0:
        return escape
    if before.endswith("="):  # not a quote: a parameter of an address
        return lambda text: quoted(quote(text, safe=_SAFE))[1:-1]
    return lambda text: quoted(text)[1:-1]


def example(service: Service) -> str | None:
    """Make an address that works: all that is always sent, and the examples of what people fill in; None: nobody gave one.

    Parameters
    ----------
    service
        Filled.
    """
    given = [(one.param.name, _text(one.value) or _text(one.example)) for one in service.inputs]
    asked = [one for one in service.inputs if not one.value]
    if asked and not any(one.example for one in asked):
        return None
    return called(_text(service.address), [pair for pair in given if pair[1]])


def called(address: str, given: list[tuple[str, str]]) -> str:
    """Write the address of a call: it may have a query already.

    Parameters
    ----------
    address
        Of the service.
    given
        Parameters and their values.
    """
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe=_SAFE)}" for name, value in given)
    sign = "" if not query or address.endswith(("?", "&")) else "&" if "?" in address else "?"
    return f"{address}{sign}{query}"


def _text(template: Template) -> str:
    return "".join(map(str, template))


def _input(one: Input, ref: str | None) -> str:
    known = _written.get(id(one))
    if known is not None and known[0] is one and ref is None:
        return known[1]
    text = _parameter(one, ref)
    if ref is None and not one.value:  # a thousand rows have the same ones
        if len(_written) >= WRITTEN:
            _written.clear()
        _written[id(one)] = one, text
    return text


def _headed(param: Param) -> tuple[str, str]:
    """Write what is the same wherever a parameter is asked for: its attributes, and its description."""
    known = _heads.get(id(param))
    if known is not None and known[0] is param:
        return known[1]
    kind = param.type
    named = {"name": param.name, "datatype": kind.datatype, "arraysize": kind.arraysize, "unit": param.unit, "ucd": param.ucd, "utype": param.utype, "xtype": kind.xtype}  # fmt: skip
    about = "".join(attribute(name, value) for name, value in named.items())
    made = about, f"<DESCRIPTION>{escape(param.description)}</DESCRIPTION>" if param.description else ""
    if len(_heads) >= WRITTEN:
        _heads.clear()
    _heads[id(param)] = param, made
    return made


def _parameter(one: Input, ref: str | None) -> str:
    param = one.param
    about, inner = _headed(param)
    low, high = _text(one.low), _text(one.high)
    bounds = f"<MIN value={quoted(low)}/>" if low else ""
    bounds += f"<MAX value={quoted(high)}/>" if high else ""
    bounds += "".join(f"<OPTION value={quoted(value)}/>" for value in param.allowed)
    inner += f"<VALUES>{bounds}</VALUES>" if bounds else ""
    about += f"{attribute('ref', ref)} value={quoted(_text(one.value))}"
    return f"<PARAM{about}>{inner}</PARAM>\n" if inner else f"<PARAM{about}/>\n"
