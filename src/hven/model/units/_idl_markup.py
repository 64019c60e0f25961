"""Markup of IDL in units and labels, as CDF files and CDAWeb have it: ``cm!E-3!N``."""

from __future__ import annotations

import re

_MICRO_PATTERN = re.compile(r"![47]l!(?:[3XN]|\d{1,2})")  # the Greek letter of the vector fonts
_SUPERSCRIPT_PATTERN = re.compile(r"!(?:E|U)(.*?)!N(?=[A-Za-z0-9(])")
_MARKUP_PATTERN = re.compile(r"!(?:[A-DEILNRSUWX]|\d{1,2})")


def strip_idl_markup(text: str, *, is_unit: bool = False) -> str:
    """Strip the markup of IDL's vector fonts off a text.

    Parameters
    ----------
    text
        ``s!E-1!Ncm!E-2!N``, ``B!DX!N``.
    is_unit
        What follows a superscript is another factor: ``s-1 cm-2``; in other texts nothing stands between.

    Returns
    -------
    text
        Unchanged if it has no such markup.
    """
    if "!" not in text:
        return text
    plain = _MICRO_PATTERN.sub("u", text.replace("!!", "\0"))
    if is_unit:
        plain = _SUPERSCRIPT_PATTERN.sub(r"\1 ", plain)
    plain = _MARKUP_PATTERN.sub("", plain.replace("!C", " "))
    return " ".join(plain.replace("\0", "!").split())
