"""Read the attributes of CDF files by the ISTP Metadata Guidelines, and of netCDF files that follow them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import DataSetMetadata
from hven.model.units import strip_idl_markup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.formats.media import HeaderCard

SCALE_TYPES = {"linear", "log"}  # values of SCALETYP
SUPPORT_TYPES = {"support_data", "metadata", "ignore_data"}  # values of VAR_TYPE; the other one is "data"
_NO_UNIT_WORDS = {"", "none", "unitless", "dimensionless", "n/a", "na", "null", "1"}


def find_attribute(attributes: Mapping[str, Any], name: str) -> Any:
    """Find an attribute by its name, in any case (``VAR_TYPE``, ``Var_Type``); None if there is none."""
    if name in attributes:
        return attributes[name]
    return next((value for key, value in attributes.items() if key.upper() == name), None)


def read_text_attribute(attributes: Mapping[str, Any], name: str) -> str:
    """Read an attribute as a text."""
    value = find_attribute(attributes, name)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, list | np.ndarray):
        value = " ".join(map(str, np.asarray(value).ravel()))
    if value is None:
        return ""
    return str(value).strip()


def is_support_variable(attributes: Mapping[str, Any]) -> bool:
    """Return whether a variable describes data (VAR_TYPE)."""
    return read_text_attribute(attributes, "VAR_TYPE").lower() in SUPPORT_TYPES


def is_displayed_data_variable(attributes: Mapping[str, Any]) -> bool:
    """Return whether a variable is data that are to be shown, by VAR_TYPE and DISPLAY_TYPE."""
    is_data = read_text_attribute(attributes, "VAR_TYPE").lower() == "data"
    return is_data and read_text_attribute(attributes, "DISPLAY_TYPE").lower() != "no_plot"


def is_metadata_variable(attributes: Mapping[str, Any]) -> bool:
    """Return whether a variable has numbers of components (VAR_TYPE)."""
    return read_text_attribute(attributes, "VAR_TYPE").lower() == "metadata"


def strip_unit_markup(text: str) -> str | None:
    """Return a unit without the markup of IDL; None if the word means that there is none."""
    plain = strip_idl_markup(text, is_unit=True).strip()
    if plain.lower() in _NO_UNIT_WORDS:
        return None
    return plain


def read_axis_label(attributes: Mapping[str, Any], name: str) -> str | None:
    """Read the label of a variable (LABLAXIS); None if there is none, or if it is the name of the variable."""
    label = strip_idl_markup(read_text_attribute(attributes, "LABLAXIS"))
    if label and label.lower() != name.lower():
        return label
    return None


def read_scale_type(attributes: Mapping[str, Any]) -> str | None:
    """Read the scale of a variable in plots (SCALETYP), ``linear`` or ``log``; None if there is none."""
    scale_type = read_text_attribute(attributes, "SCALETYP").lower()
    if scale_type in SCALE_TYPES:
        return scale_type
    return None


def read_valid_range(attributes: Mapping[str, Any]) -> tuple[float | None, float | None] | None:
    """Read the range of valid values (VALIDMIN, VALIDMAX; in netCDF also valid_min, valid_max).

    Return None if neither limit is stated.
    """
    low = _find_number(attributes, "VALIDMIN", "VALID_MIN")
    high = _find_number(attributes, "VALIDMAX", "VALID_MAX")
    if low is None and high is None:
        return None
    return (low, high)


def _find_number(attributes: Mapping[str, Any], *names: str) -> float | None:
    """Return the first of these attributes that is one finite number."""
    for name in names:
        try:
            value = np.asarray(find_attribute(attributes, name), np.float64).ravel()
        except (TypeError, ValueError):
            continue
        if value.size == 1 and np.isfinite(value[0]):
            return float(value[0])
    return None


def describe_data_set(cards: Iterable[HeaderCard]) -> DataSetMetadata:
    """Describe the data set of a file by its global attributes (Logical_source ..)."""
    # of attributes with the same name in another case, the first one counts
    texts = {card.keyword.upper(): " ".join(str(card.value or "").split()) for card in reversed([*cards])}
    if "LOGICAL_SOURCE" not in texts:
        return DataSetMetadata()
    people = re.sub(r"\s*\([^()]*@[^()]*\)", "", texts.get("PI_NAME", ""))
    credit_texts = {"creators": people, "acknowledgement": texts.get("ACKNOWLEDGEMENT", "")}
    return DataSetMetadata(
        name=texts["LOGICAL_SOURCE"] or None,
        title=texts.get("LOGICAL_SOURCE_DESCRIPTION") or texts.get("TITLE") or None,
        description=texts.get("TEXT") or None,
        credits={key: text for key, text in credit_texts.items() if text},
    )
