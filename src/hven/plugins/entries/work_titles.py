"""Titles of the works that users cite: ADS is asked once for each, in the background, and its answers are kept.

No page waits for ADS. A page that shows works without titles lets a thread ask for them; the next page has them.
"""

from __future__ import annotations

import html
import json
import logging
import re
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import sqlalchemy as sa

from hven.model.errors import HvenError, SourceError
from hven.plugins.entries.settings import get_citation_settings
from hven.plugins.entries.store_tables import cited_works
from hven.site.store import format_current_time
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hven.site import Site
    from hven.site.api.store_tables import StateDatabase

MAX_WORKS_PER_REQUEST = 50
MAX_ANSWER_BYTES = 1 << 20
MAX_TITLE_CHARACTERS = 500
RETRY_HOURS = 1  # after ADS did not answer
UNKNOWN_DAYS = 7  # after which ADS is asked again for a work that it does not know
_TAG_PATTERN = re.compile(r"</?[A-Za-z][^<>]{0,100}>")
log = logging.getLogger("hven.portal")
_running = threading.Lock()  # one request of a process at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTitle:
    """What is known of a cited work.

    Attributes
    ----------
    title, author, year
        Title, first author and year; empty: unknown.
    """

    title: str = ""
    author: str = ""
    year: str = ""

    def to_json(self) -> dict[str, str]:
        """Convert it to JSON values."""
        return asdict(self)


class WorkTitleStore:
    """The titles that a site keeps.

    Parameters
    ----------
    database
        The system state.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def find_titles(self, ids: Collection[str]) -> dict[str, WorkTitle]:
        """Find the titles of works by their bibcodes and DOIs."""
        query = sa.select(cited_works).where(cited_works.c.id.in_(ids), cited_works.c.title != "")
        with self._database.begin_read() as connection:
            return {
                row.id: WorkTitle(title=row.title, author=row.author, year=row.year)
                for row in connection.execute(query)
            }

    def claim_missing_works(self, ids: Iterable[str]) -> list[str]:
        """List the works for which ADS must be asked now; no other process asks for them in the next hour."""
        wanted_ids = list(dict.fromkeys(ids))[:MAX_WORKS_PER_REQUEST]
        next_try = _format_time(timedelta(hours=RETRY_HOURS))
        with self._database.begin_write() as connection:
            query = sa.select(cited_works).where(cited_works.c.id.in_(wanted_ids))
            next_tries = {row.id: row.next_try for row in connection.execute(query)}
            now = format_current_time()
            missing_ids = [work_id for work_id in wanted_ids if next_tries.get(work_id, "") < now]
            _write_rows(connection, [_build_row(work_id, WorkTitle(), next_try) for work_id in missing_ids])
        return missing_ids

    def store_titles(self, ids: Collection[str], titles: Mapping[str, WorkTitle]) -> None:
        """Store the answer of ADS about some works; those without a title are unknown to it."""
        unknown_until = _format_time(timedelta(days=UNKNOWN_DAYS))
        rows = []
        for work_id in ids:
            title = titles.get(work_id)
            rows.append(_build_row(work_id, title or WorkTitle(), unknown_until if title is None else "9999"))
        with self._database.begin_write() as connection:
            _write_rows(connection, rows)


def _build_row(work_id: str, title: WorkTitle, next_try: str) -> dict[str, str]:
    return {"id": work_id, **title.to_json(), "next_try": next_try}


def _write_rows(connection: sa.Connection, rows: Sequence[Mapping[str, str]]) -> None:
    if rows:
        connection.execute(sa.delete(cited_works).where(cited_works.c.id.in_([row["id"] for row in rows])))
        connection.execute(sa.insert(cited_works), rows)


def _format_time(delay: timedelta) -> str:
    moment = datetime.now(UTC) + delay
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def find_work_titles(site: Site, ids: Collection[str]) -> dict[str, WorkTitle]:
    """Find the titles of works that the site knows, and let a thread ask ADS for the others.

    Parameters
    ----------
    site
        The site.
    ids
        Bibcodes and DOIs.
    """
    if not ids:
        return {}
    store = site.store.get_or_create(WorkTitleStore)
    titles = store.find_titles(ids)
    missing_ids = [work_id for work_id in ids if work_id not in titles]
    if missing_ids and get_citation_settings(site.settings).token and _running.acquire(blocking=False):
        threading.Thread(target=_request_titles, args=(site, missing_ids), name="cited works", daemon=True).start()
    return titles


def _request_titles(site: Site, ids: Sequence[str]) -> None:
    """Ask ADS for titles, and store them; an error is logged, and the next page tries again after an hour."""
    try:
        store = site.store.get_or_create(WorkTitleStore)
        missing_ids = store.claim_missing_works(ids)
        if missing_ids:
            store.store_titles(missing_ids, _fetch_titles(site, missing_ids))
    except HvenError as error:
        log.info("the titles of cited works cannot be fetched: %s", error)
    finally:
        _running.release()


def _fetch_titles(site: Site, ids: Sequence[str]) -> dict[str, WorkTitle]:
    citation_settings = get_citation_settings(site.settings)
    quoted_ids = ['"{}"'.format(work_id.replace("\\", "").replace('"', "")) for work_id in ids]
    parameters = {
        "q": f"identifier:({' OR '.join(quoted_ids)})",
        "fl": "identifier,title,first_author,year",
        "rows": str(2 * len(ids)),
    }
    token = site.settings.resolve_secret_address(citation_settings.token or "")
    answer = http_client.send_request_once(
        "GET",
        f"{citation_settings.url}?{urlencode(parameters)}",
        headers={"Authorization": f"Bearer {token}"},
        timeout_seconds=citation_settings.seconds,
        total_timeout_seconds=citation_settings.seconds,
        byte_limit=MAX_ANSWER_BYTES,
        allow_private=site.settings.allow_private,
    )
    if answer.status != 200:
        raise SourceError(f"ADS answered with the status {answer.status}")
    return parse_ads_answer(answer.body, ids)


def parse_ads_answer(body: bytes, ids: Collection[str]) -> dict[str, WorkTitle]:
    """Parse an answer of ADS: bibcode or DOI -> what is known of the work.

    Parameters
    ----------
    body
        JSON.
    ids
        The bibcodes and DOIs of the request.

    Raises
    ------
    SourceError
        It is something else.
    """
    wanted_ids = {work_id.lower(): work_id for work_id in ids}
    titles = {}
    try:
        for document in json.loads(body)["response"]["docs"]:
            title = _clean_text(document.get("title"))
            author, year = _clean_text(document.get("first_author")), _clean_text(document.get("year"))
            for identifier in document.get("identifier") or ():
                work_id = wanted_ids.get(str(identifier).lower().removeprefix("doi:"))
                if work_id is not None and title:
                    titles[work_id] = WorkTitle(title=title, author=author, year=year)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceError("ADS did not answer with the JSON of a search") from error
    return titles


def _clean_text(value: Any) -> str:
    """Return a text of ADS as plain text, which may be a list and have tags of HTML."""
    if isinstance(value, list):
        value = value[0] if value else ""
    text = html.unescape(_TAG_PATTERN.sub("", str(value or "")))
    return " ".join(text.split())[:MAX_TITLE_CHARACTERS]
