"""DOIs by DataCite's REST interface (api.datacite.org/dois): a draft, published, brought up to date; asked again after any failure, nothing is made twice."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import orjson

from hven import __version__
from hven.descriptor.mirroring import origins
from hven.model.errors import Conflict, Forbidden, NotFound, ServiceError, Unauthenticated, UserError
from hven.model.resource import Citation
from hven.model.resource import doi as bare_doi
from hven.services import citing
from hven.services.face import Surroundings
from hven.site.auth import ANONYMOUS
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.services.citing import Cited
    from hven.site import Site
    from hven.site.store import Store

KIND = "application/vnd.api+json"
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
AGAIN = "run the same command again: it goes on with the same DOI, and makes no second one"
EVENTS = {"findable": "publish", "withdrawn": "publish"}  # what DataCite is told, by what is wanted


class DataCite:
    """One repository at DataCite.

    Parameters
    ----------
    settings
        Of the site: ``[doi]``.

    Raises
    ------
    UserError
        Something of ``[doi]`` is missing, or the password would be sent in the open.
    """

    def __init__(self, settings: Settings) -> None:
        said = settings.doi
        lacking = [key for key in ("prefix", "repository", "password") if getattr(said, key) is None]
        if lacking:
            raise UserError(f"hven.toml says no {' and no '.join(lacking)} under [doi]", remedy="write what DataCite gave you, the password as $NAME of a secret; or --to FILE for a library that registers it")  # fmt: skip
        parts = urlsplit(said.endpoint)
        self._local = parts.hostname in LOCAL
        if parts.scheme != "https" and not self._local:
            raise UserError(f"{said.endpoint} is no https address: the password would be sent in the open", remedy='endpoint = "https://.." under [doi]')  # fmt: skip
        self._settings, self._base = settings, said.endpoint.rstrip("/")
        login = f"{said.repository}:{settings.resolved(said.password or '')}"
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}", "Content-Type": KIND, "Accept": KIND,
            "User-Agent": f"Hven/{__version__} ({settings.url})",
        }  # fmt: skip

    def known(self, doi: str) -> dict[str, Any] | None:
        """Return what DataCite has of a DOI.

        Parameters
        ----------
        doi
            Bare.

        Returns
        -------
        attributes
            None: it has none.
        """
        status, body = self._ask("GET", f"/dois/{quote(doi, safe='/')}")
        return None if status == 404 else self._attributes(status, body, "says nothing of the DOI")

    def make(self, doi: str, attributes: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make a DOI.

        Parameters
        ----------
        doi
            Bare.
        attributes
            Its metadata, with `url` and `event`.

        Returns
        -------
        attributes
            As DataCite has them now; None: there is one of that name already.
        """
        status, body = self._ask("POST", "/dois", {**attributes, "doi": doi})
        if status == 422 and "taken" in _faults(body):
            return None
        return self._attributes(status, body, "does not make the DOI")

    def change(self, doi: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Bring a DOI up to date.

        Parameters
        ----------
        doi, attributes
            As of `make`.

        Returns
        -------
        attributes
            As DataCite has them now.
        """
        status, body = self._ask("PUT", f"/dois/{quote(doi, safe='/')}", attributes)
        return self._attributes(status, body, "does not change the DOI")

    def _ask(self, method: str, path: str, attributes: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        content = None if attributes is None else orjson.dumps({"data": {"type": "dois", "attributes": attributes}})
        seconds = self._settings.doi.seconds
        try:
            answer = remote.exchange(
                method, f"{self._base}{path}", content=content, headers=self._headers, seconds=seconds, total=seconds,
                allow_private=self._local or self._settings.allow_private,
            )  # fmt: skip
        except UserError as error:  # also what broke off in the middle: it may have been done
            raise ServiceError(f"DataCite cannot be asked: {error.message}", remedy=AGAIN) from error
        try:
            body = orjson.loads(answer.body) if answer.body.strip() else {}
        except orjson.JSONDecodeError:
            body = None
        return answer.status, body

    def _attributes(self, status: int, body: Any, what: str) -> dict[str, Any]:
        """Return the attributes of an answer.

        Raises
        ------
        Unauthenticated, Forbidden
            The account is not taken, or may not do it.
        UserError
            The metadata are refused.
        ServiceError
            It cannot at the moment, or answers rubbish.
        """
        if status in {200, 201}:
            data = body.get("data") if isinstance(body, dict) else None
            found = data.get("attributes") if isinstance(data, dict) else None
            if not isinstance(found, dict) or not isinstance(found.get("doi"), str):
                raise ServiceError(f"DataCite {what}: its answer is none that this Hven knows", remedy=f"look at endpoint under [doi], {self._base}; then {AGAIN}")  # fmt: skip
            return found
        told = _faults(body) or f"status {status}"
        if status == 401:
            raise Unauthenticated(f"DataCite {what}: the repository or the password is wrong ({told})", remedy="look at [doi] in hven.toml and at the secret")  # fmt: skip
        if status == 403:
            raise Forbidden(f"DataCite {what}: {self._settings.doi.repository} may not ({told})", remedy=f"is {self._settings.doi.prefix} its prefix? is the DOI another repository's?")  # fmt: skip
        if status == 429 or status >= 500:
            raise ServiceError(f"DataCite {what} now: {told}", remedy=f"later, {AGAIN}")
        raise UserError(f"DataCite {what}: {told}", remedy="mend the descriptor: hven doi NAME shows what is sent")


def _faults(body: Any) -> str:
    """Return what an answer says is wrong."""
    found = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(found, list):
        return ""
    told = [": ".join(str(one[key]) for key in ("source", "title", "detail") if one.get(key)) for one in found if isinstance(one, dict)]  # fmt: skip
    return "; ".join(told)[:500]


def proposed(settings: Settings, one: Cited, suffix: str = "") -> str:
    """Return the DOI that something gets: its own if it has one of this prefix, else one made of its name.

    Parameters
    ----------
    settings
        Of the site.
    one
        A collection or a release.
    suffix
        What shall stand behind the prefix; empty: collection and release, in small letters.

    Raises
    ------
    Conflict
        It has one of another prefix, which is not ours to change.
    UserError
        There is no prefix.
    """
    prefix = settings.doi.prefix
    if prefix is None:
        raise UserError("hven.toml says no prefix under [doi]", remedy='prefix = "10.xxxx", as DataCite gave it to you')  # fmt: skip
    if one.doi is not None:
        if not one.doi.lower().startswith(f"{prefix}/"):
            raise Conflict(f"{one.title} has the DOI {one.doi}, which is not of our prefix {prefix}", remedy="whoever registered it keeps it up to date: --to FILE writes what to send them")  # fmt: skip
        return one.doi
    name = f"{one.resource.name}.{one.label}" if one.label else one.resource.name
    made = suffix or f"{settings.doi.suffix}{name}".lower()
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", made):
        raise UserError(f"{made!r:.60} cannot stand in a DOI", remedy="letters, digits and . _ - /")
    return f"{prefix}/{made}"


def told(one: Cited, doi: str) -> dict[str, Any]:
    """Return what DataCite is told.

    Parameters
    ----------
    one
        A collection or a release.
    doi
        Its own.
    """
    return {**citing.datacite(replace(one, doi=doi)), "url": one.address}


def mint(settings: Settings, store: Store, one: Cited, wanted: str, suffix: str = "") -> tuple[Citation, str]:
    """Bring a DOI into a state. Whatever fails can be done again: the DOI is kept before it is asked for, and looked up before it is made.

    Parameters
    ----------
    settings, store
        Of the site.
    one
        What it is of.
    wanted
        ``draft``, ``findable``, or ``withdrawn``.
    suffix
        As of `proposed`.

    Returns
    -------
    citation, done
        As it is kept; and what was done: ``made``, ``changed``, ``as it was``.

    Raises
    ------
    UserError
        It lacks what DataCite asks for, or is refused.
    Conflict
        The DOI is somebody else's, or of something else.
    ServiceError
        DataCite cannot be asked now, or broke off.
    """
    wrong = [message for severity, message in citing.lacking(one) if severity == "error"]
    if wrong:
        raise UserError(f"{one.title}: {'; '.join(wrong)}")
    service = DataCite(settings)
    before = store.citations.find(one.resource.name, one.label)
    doi = before.doi if before is not None and before.doi is not None else proposed(settings, one, suffix)
    named = Citation(collection=one.resource.name, label=one.label, doi=doi, url=one.address)
    kept = store.citations.reserve(named)
    attributes = told(one, doi)
    if wanted == "draft" and kept.state not in {"reserved", "draft"}:
        raise Conflict(f"{doi} is {kept.state}: what was published once is no draft any more", remedy="--publish brings it up to date")  # fmt: skip
    if (kept.state, kept.told) == (wanted, attributes):
        return kept, "as it was"
    there = service.known(doi)
    done = "changed"
    asked = {**attributes, **({"event": EVENTS[wanted]} if wanted in EVENTS and (there or {}).get("state") != "findable" else {})}  # fmt: skip
    if there is None:
        there = service.make(doi, asked)
        done = "made"
        if there is None:  # by somebody else, or by a request of ours whose answer was lost
            there = service.known(doi)
            if there is None:
                raise Conflict(f"{doi} is taken, and not by this repository", remedy="give another: --suffix")
            there, done = service.change(_ours(there, kept), asked), "changed"
    else:
        there = service.change(_ours(there, kept), asked)
    if str(there["doi"]).lower() != doi.lower():
        raise ServiceError(f"DataCite answers for {there['doi']}, and was asked for {doi}", remedy=AGAIN)
    state = str(there.get("state", wanted))
    if wanted != "draft" and state != "findable":
        raise ServiceError(f"{doi} is {state} at DataCite, and not findable", remedy=AGAIN)
    return store.citations.keep(
        replace(
            kept, state=wanted, url=one.address, told=attributes, reason=kept.reason if wanted == "withdrawn" else None
        )
    ), done


def _ours(there: Mapping[str, Any], kept: Citation) -> str:
    """See that a DOI that DataCite has is the one that we mean, and not something else of this repository; return it.

    Raises
    ------
    Conflict
        It leads elsewhere.
    """
    url = there.get("url")
    if kept.state == "reserved" and url and url != kept.url:
        raise Conflict(f"{kept.doi} is there already, and leads to {url}", remedy="give another: --suffix; or --is, if that is the same")  # fmt: skip
    return str(kept.doi)


def recorded(store: Store, one: Cited, text: str) -> Citation:
    """Keep a DOI that somebody else registered: an institute's library.

    Parameters
    ----------
    store
        Of the site.
    one
        What it is of.
    text
        The DOI.

    Returns
    -------
    citation
        As it is kept.

    Raises
    ------
    UserError
        It is none.
    Conflict
        It has another one, or something else has that one.
    """
    doi = bare_doi(text)
    if doi is None:
        raise UserError(f"{text!r:.80} is no DOI", remedy="10.xxxx/..")
    kept = store.citations.reserve(Citation(collection=one.resource.name, label=one.label, doi=doi, url=one.address))
    if (kept.doi or "").lower() != doi.lower():
        raise Conflict(f"{one.title} has the DOI {kept.doi} already")
    return store.citations.keep(replace(kept, state="findable", told=told(one, doi)))


def withdraw(store: Store, one: Cited, reason: str) -> Citation:
    """Keep that something is withdrawn, and why: its page stays as a tombstone, also when its data are taken away.

    Parameters
    ----------
    store
        Of the site.
    one
        What.
    reason
        For people.

    Returns
    -------
    citation
        As it is kept.
    """
    name, label = one.resource.name, one.label
    before = store.citations.find(name, label) or Citation(collection=name, label=label, url=one.address, doi=one.doi)
    if (before.state, before.reason) == ("withdrawn", reason):  # the day stays that of the first time
        return before
    doi = before.doi or one.doi
    # what DataCite has is kept until it has been told
    return store.citations.keep(replace(before, doi=doi, state="withdrawn", reason=reason, told=before.told or (told(one, doi) if doi else citing.datacite(one))))  # fmt: skip


def keep_tombstone(site: Site, name: str) -> Citation | None:
    """Keep how a collection is cited before it is removed, if its descriptor gives it a DOI that nobody told the site of.

    Parameters
    ----------
    site
        In which it is still published.
    name
        Of the collection.

    Returns
    -------
    citation
        What its tombstone will say; None: it has no DOI of its own, not everybody sees it, or the site knows of its DOI already.
    """
    around, now = Surroundings.of(site, ANONYMOUS), site.current()
    try:
        one = citing.cited(around, now, now.catalogue(ANONYMOUS, around.policies), name)
    except NotFound:
        return None
    mirror = origins(one.resource)  # its DOI leads to the site that it reproduces
    if one.doi is None or mirror or site.store.citations.find(name) is not None:
        return None
    try:
        return recorded(site.store, one, one.doi)
    except Conflict:  # a release has the same DOI, and its page goes on telling of it
        return None


def noted(path: Path, doi: str) -> bool:
    """Write a DOI into a descriptor, behind the line that names the collection; all else stays as it is.

    Parameters
    ----------
    path
        Of the descriptor.
    doi
        Bare.

    Returns
    -------
    done
        False: it cannot be written there by a line; nothing was changed.
    """
    try:
        text = path.read_bytes().decode()
        lines = text.splitlines(keepends=True)
        at = [number for number, line in enumerate(lines) if re.match(r"collection\s*:", line)]
        if len(at) != 1 or any(re.match(r"doi\s*:", line) for line in lines):
            return False
        end = "\r\n" if lines[at[0]].endswith("\r\n") else "\n"
        lines[at[0]] = lines[at[0]].rstrip("\r\n") + end
        lines.insert(at[0] + 1, f"doi: {doi}{end}")
        path.write_bytes("".join(lines).encode())
    except (OSError, UnicodeDecodeError):
        return False
    return True


__all__ = ["DataCite", "mint", "noted", "proposed", "recorded", "told", "withdraw"]
