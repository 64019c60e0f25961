"""The provider ``sesame``: SIMBAD, asked through Sesame of the CDS, in XML or text. Off unless the site says ``resolver.remote = true``."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree import ElementTree as ET  # documents with a DTD are refused before: no entities

from hven.model.errors import SourceError, say
from hven.query.resolver._contract import Asked, Provider, Resolved, key
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings

LIMIT = 2 * 1024**2  # bytes of an answer: an object with thousands of names
IDS = 500  # other names that are kept
NOTHING = re.compile(
    r"nothing found|not found|zero \(0\) answers|no (?:known|astronomical) object|unknown object", re.IGNORECASE
)
_J = re.compile(r"%J\s+([0-9.]+)\s+([+-]?[0-9.]+)")


def find(asked: Asked) -> Sequence[Resolved]:
    """Ask Sesame for one name.

    Raises
    ------
    UserError, SourceError
        It cannot be reached, or says something that is no answer.
    """
    given = asked.site.settings
    settings = given.resolver
    url = f"{settings.url.rstrip('/')}/-oxpI/S?{quote(asked.name.strip(), safe='')}"
    body = remote.fetch(
        url, limit=LIMIT, seconds=settings.seconds, total=settings.seconds, allow_private=given.allow_private
    )
    return read(body, asked.name)


def read(body: bytes, name: str) -> Sequence[Resolved]:
    """Read an answer: XML (``-ox``) or text (``-o``), told apart by content.

    Raises
    ------
    SourceError
        It is neither.
    """
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return _xml(body, text, name)
    if text.startswith(("#", "%")):
        return _text(text, name)
    raise _garbage("neither XML nor Sesame's text")


def _xml(body: bytes, text: str, name: str) -> Sequence[Resolved]:
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise _garbage("a page, or a document with entities")
    try:
        root = ET.fromstring(body)  # noqa: S314  (see above)
    except ET.ParseError as error:
        raise _garbage(say("XML that breaks off or is wrong ({message})", str(error))) from error
    if root.tag.rpartition("}")[2] != "Sesame":
        raise _garbage(say("an XML document <{tag:.40}>", root.tag.rpartition("}")[2]))
    answers = root.findall(".//Resolver")
    for answer in answers:
        if answer.find("jradeg") is not None or answer.find("jdedeg") is not None:
            motion = _pair(answer.findtext("pm/pmRA"), answer.findtext("pm/pmDE"))
            ids = [" ".join((item.text or "").split()) for item in answer.findall("alias")]
            main = answer.findtext("oname") or name
            place = (_number(answer.findtext("jradeg")), _number(answer.findtext("jdedeg")))
            return [_resolved(name, main, place, motion, ids, answer.findtext("otype"), answer.get("name", ""))]
    said = " ".join((item.text or "") for item in root.iter("INFO"))
    if any(answer.findtext("oname") for answer in answers):
        raise SourceError(say("Sesame knows {name!r:.80}, but gives no position", name))
    if answers and not NOTHING.search(said) and "*" in said:
        raise _garbage(say("an error: {text}", " ".join(said.split())[:120]))
    return []


def _text(text: str, name: str) -> Sequence[Resolved]:
    place = _J.search(text)
    lines = text.splitlines()
    if place is None:
        if NOTHING.search(text) or any(line.startswith("#!") for line in lines):
            return []
        if any(line.startswith("#====Done") for line in lines):
            return []
        raise _garbage("text that breaks off")
    fields: dict[str, list[str]] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word.startswith("%"):
            fields.setdefault(word, []).append(" ".join(rest.split()))
    numbers = (fields.get("%P") or [""])[0].split()
    motion = _pair(numbers[0], numbers[1]) if len(numbers) >= 2 else None
    main = (fields.get("%I.0") or [name])[0]
    source = next(
        (line.partition("=")[2].rstrip(": 0123456789").partition(":")[0] for line in lines if line.startswith("#=")), ""
    )
    kind = (fields.get("%C.0") or [""])[0]
    return [
        _resolved(
            name,
            main,
            (_number(place[1]), _number(place[2])),
            motion,
            fields.get("%I", []),
            kind,
            source.partition("=")[2] or source,
        )
    ]


def _resolved(
    name: str,
    main: str,
    place: tuple[float, float],
    motion: tuple[float, float] | None,
    ids: Sequence[str],
    kind: str | None,
    who: str,
) -> Resolved:
    if not (0 <= place[0] <= 360 and -90 <= place[1] <= 90):
        raise _garbage(say("a position that cannot be: {lon} {lat}", *place))
    main = " ".join(main.split())
    who = who.partition("=")[2] or who
    return Resolved(
        name=main,
        position=(place[0] % 360.0, place[1]),
        epoch=2000.0,  # SIMBAD gives ICRS positions at epoch 2000
        proper_motion=motion,
        ids=tuple(dict.fromkeys(item for item in ids if item and item != main))[:IDS],
        kind=kind.strip() if kind else None,
        confidence=1.0 if key(main) == key(name) else 0.95,
        source=f"Sesame: {who.strip() or 'SIMBAD'}",
    )


def _pair(one: str | None, two: str | None) -> tuple[float, float] | None:
    try:
        found = (float(one or "nan"), float(two or "nan"))
    except ValueError:
        return None
    return found if all(math.isfinite(item) for item in found) else None


def _number(text: str | None) -> float:
    try:
        value = float((text or "").strip())
    except ValueError:
        raise _garbage(say("a coordinate {text!r:.40}", text)) from None
    if not math.isfinite(value):
        raise _garbage(say("a coordinate {text!r:.40}", text))
    return value


def _garbage(what: str) -> SourceError:
    return SourceError(
        say("Sesame answers with {what}", say(what)), remedy="look at resolver.url in hven.toml, or try again later"
    )


def _offered(settings: Settings) -> bool:
    return settings.resolver.remote


def _place(settings: Settings) -> str:
    return say("SIMBAD through Sesame ({url})", settings.resolver.url)


PROVIDER = Provider(
    name="sesame",
    order=50,
    offered=_offered,
    place=_place,
    remedy="let SIMBAD be asked too: resolver.remote = true in hven.toml",
    find=find,
    remote=True,
)
