"""Write answers as Sesame of the CDS does: XML, text, and the script that Aladin Lite loads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from hven.formats import escape_xml, quote_attribute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.query.resolver import ResolvedName

NOTHING_FOUND = "*** Nothing found ***"
XML_HEAD = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<Sesame xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:noNamespaceSchemaLocation="http://vizier.u-strasbg.fr/xml/sesame_4.xsd">\n'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SesameAnswer:
    """The answer to one name.

    Attributes
    ----------
    name
        The name that was asked for.
    resolved
        The object; None: the name is unknown.
    message
        What to know about the answer.
    """

    name: str
    resolved: ResolvedName | None
    message: str = ""


def write_sesame_xml(answers: Sequence[SesameAnswer], *, has_targets: bool, has_aliases: bool) -> bytes:
    """Write answers as XML.

    Parameters
    ----------
    answers
        The answers.
    has_targets
        Whether each name has an element ``Target``, as in version 4 of the format; version 2 has none.
    has_aliases
        Whether the answer lists all names of the objects.
    """
    lines = [XML_HEAD]
    for answer in answers:
        element = f'<Target option="S"><name>{escape_xml(answer.name)}</name>\n'
        lines.append(element if has_targets else f"<name>{escape_xml(answer.name)}</name>\n")
        lines.append(_write_resolver_element(answer, has_aliases=has_aliases))
        if has_targets:
            lines.append("</Target>\n")
    lines.append("</Sesame>\n")
    return "".join(lines).encode("utf-8", "replace")


def write_sesame_error(message: str) -> bytes:
    """Write an error as XML.

    Parameters
    ----------
    message
        Message for the client.
    """
    return f"{XML_HEAD}<ERROR>{escape_xml(message)}</ERROR>\n</Sesame>\n".encode("utf-8", "replace")


def _write_resolver_element(answer: SesameAnswer, *, has_aliases: bool) -> str:
    resolved = answer.resolved
    if resolved is None or resolved.position is None:
        info = escape_xml(answer.message or NOTHING_FOUND)
        return f'<Resolver name="S=Hven"><INFO>{info}</INFO></Resolver>\n'
    lon, lat = resolved.position
    elements = [f"<Resolver name={quote_attribute('S=' + resolved.source)}>"]
    if answer.message:
        elements.append(f"<INFO>{escape_xml(answer.message)}</INFO>")
    if resolved.kind:
        elements.append(f"<otype>{escape_xml(resolved.kind)}</otype>")
    elements.append(f"<jpos>{format_sexagesimal(lon, lat)}</jpos>")
    elements.append(f"<jradeg>{lon:.8f}</jradeg><jdedeg>{lat:+.8f}</jdedeg>")
    if resolved.proper_motion is not None:
        motion = resolved.proper_motion
        angle = math.degrees(math.atan2(*motion)) % 360
        elements.append(
            f"<pm><v>{math.hypot(*motion):.3f}</v><pa>{angle:.1f}</pa>"
            f"<pmRA>{motion[0]:g}</pmRA><pmDE>{motion[1]:g}</pmDE></pm>"
        )
    elements.append(f"<oname>{escape_xml(resolved.name)}</oname>")
    if has_aliases:
        elements += [f"<alias>{escape_xml(alias)}</alias>" for alias in resolved.ids]
    elements.append("</Resolver>\n")
    return "\n".join(elements)


def write_sesame_text(answers: Sequence[SesameAnswer], *, has_aliases: bool) -> bytes:
    """Write answers as text, with a letter for each fact.

    Parameters
    ----------
    answers
        The answers.
    has_aliases
        Whether the answer lists all names of the objects.
    """
    lines = []
    for answer in answers:
        resolved = answer.resolved
        lines.append(f"# {_replace_whitespace_runs(answer.name)}\t#Q")
        if resolved is None or resolved.position is None:
            lines.append(f"#!S=Hven: {_replace_whitespace_runs(answer.message or NOTHING_FOUND)}")
            continue
        lon, lat = resolved.position
        lines.append(f"#=S={_replace_whitespace_runs(resolved.source)}:    1")
        if answer.message:
            lines.append(f"#. {_replace_whitespace_runs(answer.message)}")
        if resolved.kind:
            lines.append(f"%C.0 {_replace_whitespace_runs(resolved.kind)}")
        lines.append(f"%J {lon:.8f} {lat:+.8f} = {format_sexagesimal(lon, lat)}")
        if resolved.proper_motion is not None:
            lines.append("%P {:g} {:g}".format(*resolved.proper_motion))
        lines.append(f"%I.0 {_replace_whitespace_runs(resolved.name)}")
        if has_aliases:
            lines += [f"%I {_replace_whitespace_runs(alias)}" for alias in resolved.ids]
    lines.append(f"#====Done ({datetime.now(UTC):%Y-%b-%d,%H:%M:%S}z)====\n")
    return "\n".join(lines).encode("utf-8", "replace")


def write_sesame_script(answer: SesameAnswer, callback: str) -> bytes:
    """Write an answer as a call of a function (JSONP).

    Parameters
    ----------
    answer
        The answer.
    callback
        Name of the function, which the caller has checked.
    """
    resolver: dict[str, Any] = {"INFO": answer.message or NOTHING_FOUND}
    resolved = answer.resolved
    if resolved is not None and resolved.position is not None:
        lon, lat = resolved.position
        resolver = {
            "name": f"S={resolved.source}",
            "otype": resolved.kind or "",
            "jpos": format_sexagesimal(lon, lat),
            "jradeg": f"{lon:.8f}",
            "jdedeg": f"{lat:+.8f}",
            "oname": resolved.name,
            "alias": list(resolved.ids),
        }
    target = {"option": "S", "name": answer.name, "Resolver": resolver}
    # a browser would end the script at </script>
    text = orjson.dumps({"Target": target}).replace(b"<", b"\\u003c")
    return b"%s(%s );" % (callback.encode("ascii"), text)


def format_sexagesimal(lon: float, lat: float) -> str:
    """Format a position as hours and degrees with two decimals of seconds: ``00:42:44.33 +41:16:07.50``.

    Parameters
    ----------
    lon, lat
        Degrees.
    """
    hours = round(lon / 15 * 360_000) % (24 * 360_000)
    degrees = round(abs(lat) * 360_000)
    sign = "-" if lat < 0 else "+"
    return f"{_format_sexagesimal_value(hours)} {sign}{_format_sexagesimal_value(degrees)}"


def _format_sexagesimal_value(hundredths: int) -> str:
    minutes, hundredths = divmod(hundredths, 6000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"


def _replace_whitespace_runs(text: str) -> str:
    return " ".join(text.split())
