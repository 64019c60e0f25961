"""Write what watches have found: JSON for programs, mail, Atom (RFC 4287) and VOEvent 2.1."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven import __version__
from hven.formats import escape_xml, quote_attribute, replace_illegal_characters
from hven.model.errors import format_message
from hven.plugins.notifications.mails import create_mail
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.pages import get_message_translator, load_page_translations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from email.message import EmailMessage

    from hven.plugins.watches.watch_store import Watch, WatchMatch
    from hven.site import Site

PAGES_PATH = "/watches"
UNSUBSCRIBE, FEED = "unsubscribe", "events.atom"  # words that links are signed for
ATOM_MEDIA_TYPE = "application/atom+xml"
VOEVENT_MEDIA_TYPE = "application/voevent+xml"
MAX_MAIL_ROWS = 50
COUNT_TEMPLATES = {
    "new": "{count:,} new",
    "changed": "{count:,} changed",
    "gone": "{count:,} no longer found",
}
CHANGE_WORDS = {"new": "new", "changed": "changed", "gone": "no longer found"}  # of one row


def format_timestamp(seconds: float) -> str:
    """Format a time (seconds since 1970) as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class MatchWriter:
    """Write what one watch has found.

    Attributes
    ----------
    site
        The site.
    watch
        The watch.
    base_url
        Address of the site that links begin with.
    """

    site: Site
    watch: Watch
    base_url: str

    @property
    def page_url(self) -> str:
        """Address of the page of the watch."""
        return f"{self.base_url}{PAGES_PATH}/{self.watch.name}"

    def build_signed_url(self, word: str) -> str:
        """Build an address of the watch that needs no log-in."""
        return f"{self.page_url}/{word}?{urlencode({'key': self.watch.sign_word(self.site.store, word)})}"

    def describe_match(self, match: WatchMatch, language: str) -> str:
        """Describe what was found in a few words."""
        translate = get_message_translator(language)
        if not match.counts:
            return translate(format_message("the table has changed, but Hven no longer knows which rows"))
        parts = [
            format_message(template, match.counts[name])
            for name, template in COUNT_TEMPLATES.items()
            if name in match.counts
        ]
        return ", ".join(translate(part) for part in parts)

    def build_json(self, match: WatchMatch) -> dict[str, Any]:
        """Build the document of a match for webhooks, streams and programs."""
        return {
            "type": "watches.match",
            "timestamp": format_timestamp(match.at),
            "data": {
                "id": match.id,
                "watch": self.watch.name,
                "title": self.watch.title,
                "table": self.watch.table_name,
                "since": match.since,
                "until": match.version,
                "counts": match.counts,
                "changes_known": bool(match.counts),
                "rows": list(self._list_row_documents(match)),
                "url": self.page_url,
                "voevent": self.build_voevent_url(match),
            },
        }

    def _list_row_documents(self, match: WatchMatch) -> Iterator[dict[str, Any]]:
        table_url = self._find_table_url()
        for key, change, longitude, latitude in match.rows:
            row_url = f"{table_url}?{urlencode({'_row': key})}" if table_url and change != "gone" else ""
            yield {"key": key, "change": change, "ra": longitude, "dec": latitude, "url": row_url}

    def _translate_change(self, row: Mapping[str, Any]) -> str:
        """Say what happened to a row, in the language of the account."""
        word = CHANGE_WORDS[row["change"]]
        return load_page_translations(self.watch.language).get(word, word)

    def _find_table_url(self) -> str:
        published_table = self.site.get_published_state().tables_by_name.get(self.watch.table_name)
        if published_table is None:
            return ""
        return build_table_address(self.base_url, published_table.table)

    def build_voevent_url(self, match: WatchMatch, query: str = "") -> str:
        """Build the address of a match as VOEvent; with the query of the feed, who reads the feed can open it, too."""
        return f"{self.page_url}/voevents/{match.number}" + (f"?{query}" if query else "")

    # --- mail -------------------------------------------------------------------------------------------------

    def build_mail(self, match: WatchMatch, sender: str, recipient: str) -> EmailMessage:
        """Build the mail of a match, with the headers of one-click unsubscription (RFC 8058).

        Parameters
        ----------
        match
            What was found.
        sender, recipient
            Addresses.
        """
        settings = self.site.settings
        translate = get_message_translator(self.watch.language)
        summary = self.describe_match(match, self.watch.language)
        mail = create_mail(sender, recipient, f"[{settings.title or settings.name}] {self.watch.title}: {summary}")
        mail["Message-ID"] = f"<hven-{match.id}@{sender.rpartition('@')[2]}>"
        unsubscribe_url = self.build_signed_url(UNSUBSCRIBE)
        mail["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        if unsubscribe_url.startswith("https:"):  # RFC 8058, section 3.1
            mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        lines = [f"{self.watch.title} ({self.watch.table_name}): {summary}", ""]
        rows = list(self._list_row_documents(match))
        for row in rows[:MAX_MAIL_ROWS]:
            place = ""
            if row["ra"] is not None:
                place = f"  RA {row['ra']} Dec {row['dec']}"
            lines.append(f"{self._translate_change(row)}  {row['key']}{place}  {row['url']}".rstrip())
        if sum(match.counts.values()) > MAX_MAIL_ROWS:
            lines.append("..")
        lines += [
            "",
            translate(format_message("All that this watch has found: {url}", self.page_url)),
            "",
            "-- ",
            translate(format_message("To stop these mails: {url}", unsubscribe_url)),
        ]
        text = replace_illegal_characters("\n".join(lines))
        mail.set_content(f"{text}\n", charset="utf-8")
        return mail

    # --- XML --------------------------------------------------------------------------------------------------

    @property
    def ivorn(self) -> str:
        """Identifier of the stream of events."""
        schema = self.watch.table_name.partition(".")[0]
        return f"ivo://{self.site.settings.find_collection_authority(schema)}/watches/{self.watch.name}"

    def write_atom_feed(self, matches: Sequence[WatchMatch], feed_url: str) -> str:
        """Write what was found as Atom.

        Parameters
        ----------
        matches
            The newest first.
        feed_url
            Address of the feed.
        """
        settings = self.site.settings
        if matches:
            updated = matches[0].at
        else:
            updated = self.watch.created
        parts = [
            '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n',
            _write_element("id", uuid.uuid5(uuid.NAMESPACE_URL, self.ivorn).urn),
            _write_element("title", self.watch.title),
            _write_element("updated", format_timestamp(updated)),
            f"<author>{_write_element('name', settings.title or settings.name)}</author>\n",
            f'<generator version="{__version__}">Hven</generator>\n',
            _write_link("self", ATOM_MEDIA_TYPE, feed_url),
            _write_link("alternate", "text/html", self.page_url),
        ]
        for match in matches:
            rows = self._list_row_documents(match)
            lines = [f"{self._translate_change(row)} {row['key']} {row['url']}".rstrip() for row in rows]
            parts += [
                "<entry>\n",
                _write_element("id", uuid.uuid5(uuid.NAMESPACE_URL, f"{self.ivorn}#{match.id}").urn),
                _write_element("title", f"{self.watch.title}: {self.describe_match(match, self.watch.language)}"),
                _write_element("updated", format_timestamp(match.at)),
                _write_link("alternate", "text/html", self.page_url),
                _write_link("related", VOEVENT_MEDIA_TYPE, self.build_voevent_url(match, feed_url.partition("?")[2])),
                _write_element("content", "\n".join(lines), ' type="text"'),
                "</entry>\n",
            ]
        return "".join([*parts, "</feed>\n"])

    def write_voevent(self, match: WatchMatch) -> str:
        """Write a match as VOEvent 2.1. It has a place (WhereWhen) if exactly one row with a position was found."""
        settings = self.site.settings
        fields = [
            f"<Field name={quote_attribute(name)} dataType={quote_attribute(data_type)}{attributes}/>"
            for name, data_type, attributes in (
                ("key", "string", ' ucd="meta.id"'),
                ("change", "string", ' ucd="meta.code"'),
                ("ra", "float", ' ucd="pos.eq.ra" unit="deg"'),
                ("dec", "float", ' ucd="pos.eq.dec" unit="deg"'),
            )
        ]
        rows = [f"<TR>{''.join(f'<TD>{escape_xml(_to_text(value))}</TD>' for value in row)}</TR>" for row in match.rows]
        table = f'<Table name="rows">{"".join(fields)}<Data>{"".join(rows)}</Data></Table>' if rows else ""
        counts = "".join(
            f'<Param name={quote_attribute(name)} value="{count}" dataType="int" ucd="meta.number"/>'
            for name, count in match.counts.items()
        )
        date = format_timestamp(match.at).rstrip("Z")  # VOEvent's dates are UTC without a zone
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<voe:VOEvent xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.1" version="2.1" role="observation"'
            f" ivorn={quote_attribute(f'{self.ivorn}#{match.id}')}>"
            f"<Who><AuthorIVORN>{escape_xml(self.ivorn.partition('/watches/')[0])}</AuthorIVORN><Date>{date}</Date>"
            f"<Author><title>{escape_xml(settings.title or settings.name)}</title></Author></Who>"
            f'<What><Param name="table" value={quote_attribute(self.watch.table_name)} ucd="meta.table"/>'
            f"{counts}{table}</What>{_write_place(match)}"
            f"<Description>{escape_xml(self.watch.title)}: {escape_xml(self.describe_match(match, 'en'))}</Description>"
            f"<Reference uri={quote_attribute(self.page_url)}/></voe:VOEvent>\n"
        )


def _write_place(match: WatchMatch) -> str:
    places = [row[2:] for row in match.rows if row[2] is not None]
    if len(places) != 1 or len(match.rows) != 1:
        return ""
    ((longitude, latitude),) = places
    return (
        '<WhereWhen><ObsDataLocation><ObservatoryLocation/><ObservationLocation><AstroCoordSystem id="UTC-ICRS-TOPO"/>'
        '<AstroCoords coord_system_id="UTC-ICRS-TOPO"><Position2D unit="deg"><Name1>RA</Name1><Name2>Dec</Name2>'
        f"<Value2><C1>{longitude}</C1><C2>{latitude}</C2></Value2><Error2Radius>0</Error2Radius></Position2D>"
        "</AstroCoords></ObservationLocation></ObsDataLocation></WhereWhen>"
    )


def _to_text(value: object) -> str:
    if value is None:
        return ""
    return str(value)


def _write_element(name: str, text: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{escape_xml(text)}</{name}>\n"


def _write_link(rel: str, media_type: str, address: str) -> str:
    return f'<link rel="{rel}" type={quote_attribute(media_type)} href={quote_attribute(address)}/>\n'
