"""OAI-PMH 2.0: ``/oai`` tells registries what is published here (Registry Interfaces 1.1), as VOResource and as Dublin Core."""

from __future__ import annotations

import hmac
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape, quoteattr

import anyio.to_thread
import orjson

from hven import services as dali
from hven.formats.votable import legal
from hven.model.errors import NotFound, ParamError
from hven.services import _vosi as vosi
from hven.services._registry import MAIL, PAGE, RI, Records, harvested, pieces
from hven.services.errors import PLAIN
from hven.services.face import Face, Surroundings, route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.model.resource import Registered

SET = "ivo_managed"
LASTS = 86_400  # seconds that a resumption token may be used
LIMIT = 64 * 1024  # bytes of a form
FORM = "application/x-www-form-urlencoded"
# verb -> arguments that it must have, and may have; a token stands alone
VERBS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "Identify": (frozenset(), frozenset()),
    "ListMetadataFormats": (frozenset(), frozenset({"identifier"})),
    "ListSets": (frozenset(), frozenset({"resumptionToken"})),
    "GetRecord": (frozenset({"identifier", "metadataPrefix"}), frozenset()),
    "ListIdentifiers": (frozenset({"metadataPrefix"}), frozenset({"from", "until", "set", "resumptionToken"})),
    "ListRecords": (frozenset({"metadataPrefix"}), frozenset({"from", "until", "set", "resumptionToken"})),
}
DC = "http://www.openarchives.org/OAI/2.0/oai_dc/"
# prefix -> namespace, schema
FORMATS = {
    "ivo_vor": (RI, RI),
    "oai_dc": (DC, "http://www.openarchives.org/OAI/2.0/oai_dc.xsd"),
}
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:schemaLocation="http://www.openarchives.org/OAI/2.0/ http://www.openarchives.org/OAI/2.0/OAI-PMH.xsd">'
)
DAY, SECOND = r"\d{4}-\d\d-\d\d", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
NAME = r"[A-Za-z0-9\-_.!~*'()]+"  # of formats and sets


class Refused(ParamError):
    """A request that OAI-PMH has a code for."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, name="verb")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """A list that is told in parts: what was asked, and how far it is."""

    verb: str
    prefix: str
    since: str | None = None
    until: str | None = None
    after: int = 0  # number of the last record that was told
    cursor: int = 0


class _Repository:
    """Answers one request after the other; what it knows stands in the system state."""

    def __init__(self, around: Surroundings, records: Records) -> None:
        self._around, self._records = around, records
        self._registry = around.site.store.registry
        self._url = f"{around.site.settings.url}/oai"

    def answer(self, given: Sequence[tuple[str, str]]) -> str:
        """Return the document that answers some arguments.

        Raises
        ------
        NotFound
            The site cannot be harvested: nobody could be asked about it.
        """
        settings = self._around.site.settings
        if not MAIL.fullmatch(settings.contact_email or ""):
            raise NotFound("this site is no publishing registry: it does not say whom to write to", remedy="contact_email in hven.toml")  # fmt: skip
        moment = vosi.iso(datetime.now(UTC))
        self._records.bring()
        said = dict(given)
        try:
            verb = _checked(given)
            inside = [f"<{verb}>", *getattr(self, f"_{verb}")(said), f"</{verb}>"]
        except Refused as error:
            inside = [f'<error code="{error.code}">{escape(legal(error.message))}</error>']
            said = {} if error.code in {"badVerb", "badArgument"} else said
        words = "".join(f" {name}={quoteattr(legal(value))}" for name, value in said.items())
        head = f"{HEAD}<responseDate>{moment}</responseDate><request{words}>{escape(self._url)}</request>"
        return "".join([head, *inside, "</OAI-PMH>\n"])

    def _Identify(self, _: Mapping[str, str]) -> Iterator[str]:  # noqa: N802  (verbs of the protocol, as those below)
        settings = self._around.site.settings
        own = self._registry.one(settings.registry.ids.get("registry") or f"ivo://{settings.authority}/registry")
        yield f"<repositoryName>{escape(legal(settings.title or settings.name))}</repositoryName><baseURL>{escape(self._url)}</baseURL>"
        yield f"<protocolVersion>2.0</protocolVersion><adminEmail>{escape(settings.contact_email or '')}</adminEmail>"
        yield f"<earliestDatestamp>{self._registry.earliest() or vosi.iso(datetime.now(UTC))}</earliestDatestamp>"
        yield "<deletedRecord>transient</deletedRecord><granularity>YYYY-MM-DDThh:mm:ssZ</granularity>"
        if own is not None:
            yield from ("<description>", *_metadata(own, "ivo_vor"), "</description>")

    def _ListMetadataFormats(self, said: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        if "identifier" in said:
            self._one(said["identifier"])
        for prefix, (space, schema) in FORMATS.items():
            yield f"<metadataFormat><metadataPrefix>{prefix}</metadataPrefix><schema>{schema}</schema><metadataNamespace>{space}</metadataNamespace></metadataFormat>"

    def _ListSets(self, said: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        if "resumptionToken" in said:  # the list is whole at once
            raise Refused("badResumptionToken", "ListSets gives no resumption tokens")
        yield f"<set><setSpec>{SET}</setSpec><setName>What is published here</setName></set>"

    def _GetRecord(self, said: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        found = self._one(said["identifier"])
        yield from _record(found, _prefix(said))

    def _ListIdentifiers(self, said: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        return self._listed(said, lambda one, _: (_header(one),), heads=True)

    def _ListRecords(self, said: Mapping[str, str]) -> Iterator[str]:  # noqa: N802
        return self._listed(said, _record, heads=False)

    def _listed(
        self, said: Mapping[str, str], write: Callable[[Registered, str], Iterable[str]], *, heads: bool
    ) -> Iterator[str]:
        asked = self._resumed(said) if "resumptionToken" in said else _asked(said)
        without = {"body", "dublin"} if heads else {"dublin" if asked.prefix == "ivo_vor" else "body"}
        found = self._registry.page(asked.after, PAGE + 1, asked.since, asked.until, without=without)
        if not found and not asked.cursor:
            raise Refused("noRecordsMatch", "no record changed between these moments")
        shown = found[:PAGE]
        for one in shown:
            yield from write(one, asked.prefix)
        if len(found) > PAGE or asked.cursor:
            size = self._registry.count(asked.since, asked.until)
            more = until = ""
            if len(found) > PAGE:
                over = int(time.time()) + LASTS
                until = f' expirationDate="{vosi.iso(datetime.fromtimestamp(over, UTC))}"'
                more = self._token(asked, shown[-1].number, asked.cursor + len(shown), over)
            yield f'<resumptionToken{until} completeListSize="{max(size, 1)}" cursor="{asked.cursor}">{more}</resumptionToken>'

    def _token(self, asked: _List, after: int, cursor: int, over: int) -> str:
        body = _packed(orjson.dumps([asked.verb, asked.prefix, asked.since, asked.until, after, cursor, over]))
        return f"{body}.{self._signature(body)}"

    def _signature(self, body: str) -> str:
        return _packed(hmac.new(self._registry.key(), body.encode(), sha256).digest()[:18])

    def _resumed(self, said: Mapping[str, str]) -> _List:
        body, _, signature = said["resumptionToken"].partition(".")
        if not hmac.compare_digest(self._signature(body).encode(), signature.encode("utf-8", "replace")):
            raise Refused("badResumptionToken", "the resumption token is none of this registry's; begin the list again")
        verb, prefix, since, until, after, cursor, over = orjson.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if verb != said["verb"]:
            raise Refused("badResumptionToken", f"the resumption token is of {verb}, not of {said['verb']}")
        if over < time.time():
            raise Refused("badResumptionToken", "the resumption token has expired; begin the list again")
        return _List(verb=verb, prefix=prefix, since=since, until=until, after=after, cursor=cursor)

    def _one(self, ivoid: str) -> Registered:
        found = self._registry.one(ivoid)
        if found is None:
            raise Refused("idDoesNotExist", f"there is no record {ivoid[:200]}")
        return found


def _checked(given: Sequence[tuple[str, str]]) -> str:
    """Check which arguments a verb has, and return it."""
    verbs = [value for name, value in given if name == "verb"]
    if len(verbs) != 1 or verbs[0] not in VERBS:
        why = "is missing" if not verbs else "stands there twice" if len(verbs) > 1 else f"{verbs[0][:40]!r} is none"
        raise Refused("badVerb", f"verb {why}; known: {', '.join(VERBS)}")
    verb, names = verbs[0], [name for name, _ in given if name != "verb"]
    must, may = VERBS[verb]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Refused("badArgument", f"{', '.join(twice)[:80]} stands there twice")
    if unknown := sorted(set(names) - must - may):
        raise Refused("badArgument", f"{verb} knows no {', '.join(unknown)[:80]}; it takes {', '.join(sorted(must | may)) or 'none'}")  # fmt: skip
    if "resumptionToken" in names:
        if len(names) > 1:
            raise Refused("badArgument", "a resumption token stands alone")
    elif lacking := sorted(must - set(names)):
        raise Refused("badArgument", f"{verb} needs {', '.join(lacking)}")
    return verb


def _prefix(said: Mapping[str, str]) -> str:
    prefix = said["metadataPrefix"]
    if not re.fullmatch(NAME, prefix):
        raise Refused("badArgument", f"metadataPrefix={prefix[:40]!r} is no name of a format")
    if prefix not in FORMATS:
        raise Refused("cannotDisseminateFormat", f"there is no format {prefix[:40]}; known: {', '.join(FORMATS)}")
    return prefix


def _asked(said: Mapping[str, str]) -> _List:
    prefix, since, until = _prefix(said), said.get("from"), said.get("until")
    for name, value in (("from", since), ("until", until)):
        if value is not None and not _is_moment(value):
            raise Refused("badArgument", f"{name}={value[:40]!r} is no moment: 2026-11-24, or 2026-11-24T01:02:03Z")
    if since and until:
        if len(since) != len(until):
            raise Refused("badArgument", "from and until must both be days, or both be moments")
        if since > until:
            raise Refused("badArgument", "from is later than until")
    if (chosen := said.get("set")) is not None:
        if not re.fullmatch(rf"{NAME}(:{NAME})*", chosen):
            raise Refused("badArgument", f"set={chosen[:40]!r} is no name of a set")
        if chosen != SET:
            raise Refused("noRecordsMatch", f"there is no set {chosen[:40]}; known: {SET}")
    return _List(verb=said["verb"], prefix=prefix, since=_moment(since, "00:00:00"), until=_moment(until, "23:59:59"))


def _moment(text: str | None, of_day: str) -> str | None:
    return f"{text}T{of_day}Z" if text is not None and "T" not in text else text


def _is_moment(text: str) -> bool:
    if not re.fullmatch(f"{DAY}|{SECOND}", text, re.ASCII):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _packed(body: bytes) -> str:
    return urlsafe_b64encode(body).decode().rstrip("=")


def _header(one: Registered) -> str:
    gone = ' status="deleted"' if one.deleted else ""
    return f"<header{gone}><identifier>{escape(one.ivoid)}</identifier><datestamp>{one.changed}</datestamp><setSpec>{SET}</setSpec></header>"


def _record(one: Registered, prefix: str) -> Iterable[str]:
    if one.deleted:
        return "<record>", _header(one), "</record>\n"
    return "<record>", _header(one), "<metadata>", *_metadata(one, prefix), "</metadata></record>\n"


def _metadata(one: Registered, prefix: str) -> tuple[str, str, str]:
    if prefix == "ivo_vor":
        return pieces(one)
    space, schema = FORMATS[prefix]
    where = f'xsi:schemaLocation="{space} {schema}"'
    return (
        f'<oai_dc:dc xmlns:oai_dc="{DC}" xmlns:dc="http://purl.org/dc/elements/1.1/" {where}>', one.dublin, "</oai_dc:dc>"
    )  # fmt: skip


def routes(around: Surroundings) -> Sequence[BaseRoute]:
    """Route ``/oai``, and what VOSI has of it."""
    site = around.site
    records = Records(around)
    one = anyio.CapacityLimiter(2)
    site.after_changes(lambda _: records.soon())

    async def told(request: Request) -> Response:
        text = request.url.query
        if request.method == "POST":
            if request.headers.get("content-type", FORM).partition(";")[0].strip().lower() != FORM:
                raise ParamError("a body of this type is not understood", name="verb", remedy=f"send {FORM}")
            text = f"{text}&{(await dali.body(request, LIMIT)).decode('utf-8', 'replace')}"
        given = parse_qsl(text.strip("&"), keep_blank_values=True)
        body = await anyio.to_thread.run_sync(_Repository(around, records).answer, given, limiter=one)
        headers = {"content-type": "text/xml; charset=utf-8", "cache-control": "no-cache", "vary": "accept-encoding"}
        return dali.whole(request, body.encode(), headers)

    async def capabilities(request: Request) -> Response:
        body = vosi.capabilities(harvested(site.settings.url))
        return dali.tagged(request, dali.caching(dali.etag(body), public=True), vosi.MEDIA_TYPE, body)

    async def availability(request: Request) -> Response:
        body = vosi.availability(up=True, since=around.started)
        return dali.whole(request, body, {"content-type": vosi.MEDIA_TYPE, "cache-control": "no-store"})

    return [
        route("/oai", told, PLAIN, ["GET", "POST"]),
        route("/oai/capabilities", capabilities),
        route("/oai/availability", availability),
    ]


FACE = Face(
    name="oai",
    title="Publishing registry (OAI-PMH)",
    description="Records of all that is published here, for the registries of the Virtual Observatory.",
    applies=lambda _: True,
    routes=routes,
)
