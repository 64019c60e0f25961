"""The keys ``origins`` and ``quantities`` of tables in descriptors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.descriptor.api.keys import KeyReferenceSection, TableDescriptorKey
from hven.model import plugins
from hven.plugins.quantities.quantity_section_keys import (
    OriginSection,
    QuantitySection,
)

if TYPE_CHECKING:
    from hven.descriptor.api.keys import TableDescriptorKeyValue
    from hven.descriptor.value_schema import FaultCollector
    from hven.descriptor.written_yaml import LocatedYamlMap

BIBCODE_ADDRESS, DOI_ADDRESS = "https://ui.adsabs.harvard.edu/abs/", "https://doi.org/"
MAX_QUANTITIES = 500  # of a table


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityOrigin:
    """Where values come from.

    Attributes
    ----------
    title
        Name of the catalogue or method.
    reference
        The reference in short: a bibcode, a DOI or an address; empty: there is none.
    url
        Address of the reference.
    """

    title: str
    reference: str = ""
    url: str = ""


def _read_origins(key_value: TableDescriptorKeyValue) -> Mapping[str, QuantityOrigin]:
    origins = {}
    for code, fields in key_value.value.items():
        if not str(code).isdecimal():
            message = f"{key_value.key_path}: the code {str(code)!r} is not a whole number"
            key_value.faults.add_error(message, code.place, "write `NUMBER: TITLE`, for example `2: computed`")
        given = {key: str(fields[key]) for key in ("bibcode", "doi", "url") if key in fields}
        addresses = {
            "bibcode": BIBCODE_ADDRESS + quote(given.get("bibcode", "")),
            "doi": DOI_ADDRESS + quote(given.get("doi", "")),
            "url": given.get("url", ""),
        }
        kind = next(iter(given), "")
        origins[str(code)] = QuantityOrigin(
            title=str(fields.get("title", code)), reference=given.get(kind, ""), url=addresses.get(kind, "")
        )
    return origins


def _expand_quantities(table: LocatedYamlMap, key_path: str, faults: FaultCollector) -> LocatedYamlMap:
    """Add the columns of the quantities of a table."""
    # only tables with the key need the module
    expand_quantities = plugins.load_named_object(
        "hven.plugins.quantities.quantity_columns:expand_quantities", "the key `quantities`"
    )
    expanded_table: LocatedYamlMap = expand_quantities(table, key_path, faults)
    return expanded_table


def _read_quantities(key_value: TableDescriptorKeyValue) -> tuple[str, ...]:
    """Return the names of the quantities; their columns and expressions are in other keys of the table."""
    names = tuple(map(str, key_value.value))
    if len(names) > MAX_QUANTITIES:
        message = f"{key_value.key_path}: the table has {len(names)} quantities; at most {MAX_QUANTITIES} are allowed"
        place = next(iter(key_value.value)).place
        key_value.faults.add_error(message, place, "split the table, or store the values in rows")
    return names


EXAMPLE = """\
origins:
  1: {title: Hipparcos, bibcode: 1997A&A...323L..49P}
  2: computed
  3: {title: Gaia, doi: 10.26093/cds/vizier.1355}
  4: {title: our own photometry, url: "https://example.org/photometry"}
quantities:
  V: {unit: mag, ucd: phot.mag;em.opt.V, value: vmag, error: e_vmag, origin: Hipparcos, confidence: high}
  G:
    type: float32
    unit: mag
    ucd: phot.mag;em.opt
    utype: mydb:photometry.g
    description: Magnitude G
    label: G
    display: .2f
    section: Photometry
    value: gmag
    error: e_gmag
    lower: gmag - 3 * e_gmag
    upper: gmag + 3 * e_gmag
    origin: g_origin
    confidence: medium
  V_G: {unit: mag, ucd: phot.color;em.opt.V;em.opt, value: target.V - target.G, error: first order, from: [V, G]}
"""
ORIGINS = TableDescriptorKey(
    value_type=dict[str, OriginSection],
    doc="where the values of quantities come from, by the codes in the columns of origins, for example `2: computed`",
    convert_value=_read_origins,
    previous_key="groups",
    reference_sections=(
        KeyReferenceSection("table origins", "table", keys="origins", shown_in="quantities"),
        KeyReferenceSection("origin", "origin", shown_in="quantities"),
    ),
)
QUANTITIES = TableDescriptorKey(
    value_type=dict[str, QuantitySection],
    doc="values with an error, bounds, an origin or a confidence. Hven makes the columns, their group and their codes",
    convert_value=_read_quantities,
    expand_table=_expand_quantities,
    previous_key="origins",
    reference_sections=(
        KeyReferenceSection("table quantities", "table", keys="quantities", shown_in="quantities"),
        KeyReferenceSection("quantities", "quantity", example=EXAMPLE),
    ),
)
