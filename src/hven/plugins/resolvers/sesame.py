"""The provider ``sesame``: asks SIMBAD through Sesame of the CDS, which answers in XML.

It is used only if the site sets ``resolver.remote = true``. Its answers are kept on disk (`simbad_snapshot`).
"""

from __future__ import annotations

import math
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree import ElementTree as ET  # documents with a DTD are refused before, so there are no entities

from hven.model.errors import HvenError, SourceError, StorageError, format_message
from hven.plugins.resolvers.settings import get_resolver_settings
from hven.plugins.resolvers.simbad_snapshot import get_simbad_snapshot
from hven.query.resolver import NameProvider, NameRequest, ResolvedName, normalize_object_name
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ANSWER_BYTES = 2 * 1024**2  # enough for an object with thousands of names
MAX_ALIASES = 500
MAX_WAITING_REQUESTS = 8  # of a process; further names are refused at once, so that SIMBAD can't hold all threads
SECONDS_PER_DAY = 86_400.0
MAX_CACHE_DAYS = 1.0  # in the memory of a process; the disk keeps answers for longer
SIMBAD_LICENCE = "CDS/SIMBAD, https://cds.unistra.fr/legals/"  # the citation that CDS requires at least
NOTHING_FOUND_PATTERN = re.compile(
    r"nothing found|not found|zero \(0\) answers|no (?:known|astronomical) object|unknown object", re.IGNORECASE
)


_waiting_requests = threading.BoundedSemaphore(MAX_WAITING_REQUESTS)


def find_stored_or_query_sesame(request: NameRequest) -> Sequence[ResolvedName]:
    """Find a name among the stored answers, or ask Sesame.

    Raises
    ------
    HvenError
        Sesame cannot be reached, or its answer cannot be parsed. The message says since when.
    """
    resolver_settings = get_resolver_settings(request.site.settings)
    stored = get_simbad_snapshot(request.site).find_object(request.name_key)
    if stored is not None and stored.age <= resolver_settings.keep_days * SECONDS_PER_DAY:
        return [stored]
    return query_sesame_and_store(request)


def query_sesame_and_store(request: NameRequest) -> Sequence[ResolvedName]:
    """Ask Sesame for a name, and store the answer.

    Raises
    ------
    HvenError
        As in `find_stored_or_query_sesame`.
    """
    snapshot = get_simbad_snapshot(request.site)
    if not _waiting_requests.acquire(blocking=False):
        raise http_client.RequestCeilingError(format_message("too many names are waiting for SIMBAD"))
    try:
        resolved_names = parse_sesame_answer(_fetch_answer(request), request.name)
    except http_client.RequestCeilingError:
        raise
    except HvenError as error:
        since = snapshot.record_outage(error.message)
        message = format_message("{message} (it has not answered since {time})", error.message, since)
        raise SourceError(message, remedy=error.remedy) from error
    finally:
        _waiting_requests.release()
    with suppress(StorageError):  # a full disk or a read-only state: the answer is still good
        snapshot.end_outage()
        for resolved in resolved_names:
            snapshot.store_object(resolved, request.name_key)
    return resolved_names


def _fetch_answer(request: NameRequest) -> bytes:
    site_settings = request.site.settings
    resolver_settings = get_resolver_settings(site_settings)
    url = f"{resolver_settings.url.rstrip('/')}/-oxpI/S?{quote(request.name.strip(), safe='')}"
    return http_client.fetch_bytes(
        url,
        byte_limit=MAX_ANSWER_BYTES,
        timeout_seconds=resolver_settings.seconds,
        total_timeout_seconds=resolver_settings.seconds,
        allow_private=site_settings.allow_private,
    )


def parse_sesame_answer(body: bytes, name: str) -> Sequence[ResolvedName]:
    """Parse an answer in XML (``-ox``).

    Raises
    ------
    SourceError
        It is something else.
    """
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("<"):
        raise _build_sesame_error("text that is not XML")
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise _build_sesame_error("an HTML page, or a document with entities")
    try:
        root = ET.fromstring(body)  # noqa: S314  (see above)
    except ET.ParseError as error:
        raise _build_sesame_error(format_message("incomplete or invalid XML ({message})", str(error))) from error
    if root.tag.rpartition("}")[2] != "Sesame":
        raise _build_sesame_error(
            format_message("an XML document with the root element <{tag:.40}>", root.tag.rpartition("}")[2])
        )
    answers = root.findall(".//Resolver")
    for answer in answers:
        if answer.find("jradeg") is not None or answer.find("jdedeg") is not None:
            return [_build_resolved_name(name, answer)]
    info_text = " ".join((item.text or "") for item in root.iter("INFO"))
    if any(answer.findtext("oname") for answer in answers):
        raise SourceError(format_message("Sesame knows {name!r:.80}, but returns no position", name))
    if answers and not NOTHING_FOUND_PATTERN.search(info_text) and "*" in info_text:
        raise _build_sesame_error(format_message("an error: {text}", " ".join(info_text.split())[:120]))
    return []


def _build_resolved_name(name: str, answer: ET.Element) -> ResolvedName:
    longitude = _parse_coordinate(answer.findtext("jradeg"))
    latitude = _parse_coordinate(answer.findtext("jdedeg"))
    if not (0 <= longitude <= 360 and -90 <= latitude <= 90):
        raise _build_sesame_error(format_message("an impossible position: {lon} {lat}", longitude, latitude))
    main_name = " ".join((answer.findtext("oname") or name).split())
    aliases = [" ".join((alias.text or "").split()) for alias in answer.findall("alias")]
    kind = answer.findtext("otype")
    source_name = answer.get("name", "")
    source_name = source_name.partition("=")[2] or source_name
    return ResolvedName(
        name=main_name,
        position=(longitude % 360.0, latitude),
        epoch=2000.0,  # SIMBAD gives ICRS positions at epoch 2000
        proper_motion=_parse_proper_motion(answer.findtext("pm/pmRA"), answer.findtext("pm/pmDE")),
        ids=tuple(dict.fromkeys(alias for alias in aliases if alias and alias != main_name))[:MAX_ALIASES],
        kind=kind.strip() if kind else None,
        confidence=1.0 if normalize_object_name(main_name) == normalize_object_name(name) else 0.95,
        source=f"Sesame: {source_name.strip() or 'SIMBAD'}",
        licence=SIMBAD_LICENCE,
    )


def _parse_proper_motion(longitude_text: str | None, latitude_text: str | None) -> tuple[float, float] | None:
    try:
        motion = (float(longitude_text or "nan"), float(latitude_text or "nan"))
    except ValueError:
        return None
    if all(math.isfinite(item) for item in motion):
        return motion
    return None


def _parse_coordinate(text: str | None) -> float:
    try:
        value = float((text or "").strip())
    except ValueError:
        raise _build_sesame_error(format_message("an invalid coordinate {text!r:.40}", text)) from None
    if not math.isfinite(value):
        raise _build_sesame_error(format_message("an invalid coordinate {text!r:.40}", text))
    return value


def _build_sesame_error(description: str) -> SourceError:
    return SourceError(
        format_message("Sesame returned {what}", format_message(description)),
        remedy="check resolver.url in hven.toml, or try again later",
    )


PROVIDER = NameProvider(
    name="sesame",
    order=50,
    offered=lambda settings: get_resolver_settings(settings).remote,
    place=lambda settings: format_message("SIMBAD through Sesame ({url})", get_resolver_settings(settings).url),
    remedy="set resolver.remote = true in hven.toml to allow requests to SIMBAD",
    find=find_stored_or_query_sesame,
    remote=True,
    max_cache_days=lambda settings: min(get_resolver_settings(settings).keep_days, MAX_CACHE_DAYS),
)
