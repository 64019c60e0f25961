"""The texts that curators edit: the first page, news, collections; who may, in which files they stand, and how they are written there."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.descriptor import check, read_texts, with_texts
from hven.descriptor.written import BINARY_OR_CONTROL
from hven.formats.votable import legal
from hven.model.errors import DescriptorError, NotFound, ParamError, TooLarge, UserError, say
from hven.portal._pages.editors import edits_collection
from hven.portal._pages.markdown import LONGEST, first_heading
from hven.portal._pages.texts import languages
from hven.portal._views.file_history import read
from hven.portal._views.notes import NEWS, Shelf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from hven.model.resource import Resource
    from hven.model.settings import Settings
    from hven.portal._pages import Brand
    from hven.portal._views.page_formats import Asked

HOME, NEW = "home", "new"
TITLE, DESCRIPTION = 500, 100_000  # characters of what stands in a descriptor
SHELF = Shelf()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a text: in one language, at one place.

    Attributes
    ----------
    name
        In forms.
    file
        Where it stands.
    key
        In a descriptor; empty: the file is the text, as Markdown.
    about
        What it is of: a table's name, or nothing.
    text
        As it stands there now.
    """

    name: str
    file: Path
    language: str
    key: tuple[str, ...] = ()
    about: str = ""
    text: str = ""

    @property
    def kind(self) -> str:
        """What it is: ``title`` (one line), ``description``, ``text`` (Markdown)."""
        return self.key[-1] if self.key else "text"

    @property
    def digest(self) -> str:
        """Of the text."""
        return digest(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Editable:
    """A text with all its parts.

    Attributes
    ----------
    subject
        Its name in the state of the site: no two portals' are one.
    path, shows
        Addresses below the pages: where it is edited, and where it is read.
    """

    subject: str
    title: str
    path: str
    shows: str
    parts: tuple[Part, ...]


def digest(text: str) -> str:
    """Name a text as it stands."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def collections(state: Asked) -> list[Resource]:
    """List the collections of this portal whose texts the reader edits: also those of which they see no row."""
    found = state.holdings.resources
    shown = state.brand.collections or found
    return [found[name] for name in sorted(found) if name in shown and edits_collection(state.who, state.around, found[name])]  # fmt: skip


def home(state: Asked) -> Editable:
    """Return the text of the first page."""
    file = state.around.site.settings.directory / state.brand.text
    return Editable(subject=_of(state.brand, HOME), title="", path="/edit/home", shows="/", parts=_markdown(file, state))  # fmt: skip


def news(state: Asked, name: str) -> Editable:
    """Return a piece of news, or an empty one that is ``new``; one that is gone for whoever has a draft of it."""
    folder = state.around.site.settings.directory / state.brand.news
    file = folder / f"{name}.md"
    subject = _of(state.brand, f"news/{name}")
    if name != NEW and (NEWS.fullmatch(file.name) is None or not file.is_file()):
        drafts = state.around.site.store.drafts
        if NEWS.fullmatch(file.name) is None or drafts.get(str(state.who.name), subject) is None:
            raise NotFound(say("there are no news {name!r} here", name[:80]), remedy="/news lists them")
    parts = _markdown(file, state)
    title = "" if name == NEW else first_heading(parts[0].text)[0] or name
    shows = "/news" if name == NEW else f"/news/{quote(name)}"
    return Editable(subject=subject, title=title, path=f"/edit/news/{quote(name)}", shows=shows, parts=parts)  # fmt: skip


def collection(state: Asked, name: str) -> Editable:
    """Return the texts of a collection: titles and descriptions of its descriptor, and its help page."""
    resource = state.holdings.resources[name]
    settings = state.around.site.settings
    data = read(resource.path) or b""
    said = read_texts(data, resource.path.name, settings.language)
    order = (settings.language, *(one for one in languages() if one != settings.language))
    parts = [
        Part(
            name=".".join((*key, language)), file=resource.path, language=language, key=key,
            about=key[1] if len(key) > 1 else "", text=said[key].get(language, ""),
        )
        for key in said for language in order
    ]  # fmt: skip
    parts += _markdown(resource.path.parent / settings.help / "index.md", state, settings.language)
    shows = f"/collections/{quote(name)}"
    return Editable(subject=f"collections/{name}", title=resource.title or name, path=f"/edit{shows}", shows=shows, parts=tuple(parts))  # fmt: skip


def shared(folder_or_file: str, brand: Brand, settings: Settings) -> bool:
    """Return whether a portal's file is also that of the site, or of another portal: then only who operates the site changes it."""
    if not brand.portal:
        return False
    others = {settings.text, settings.news, settings.help}
    for one in settings.portals:
        if one.name != brand.portal:
            others |= {one.text or f"{one.name}.md", one.news or settings.news, one.help or settings.help}
    mine = folder_or_file.strip("/")
    return any(mine == one.strip("/") or f"{mine}/".startswith(f"{one.strip('/')}/") for one in others)


def cleaned(part: Part, text: str) -> str:
    """Return what somebody wrote as it is kept.

    Raises
    ------
    ParamError
        It has signs that no text has.
    TooLarge
        It is longer than a page takes.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if part.kind == "title":
        text = " ".join(text.split())
    if BINARY_OR_CONTROL.search(text) or text != legal(text):
        raise ParamError(say("{name} has a control character", part.name), name=part.name, remedy="write it without")
    if part.kind == "text" and len(text.encode()) > LONGEST:
        raise TooLarge(say("{name} has {size:,} bytes; it may have {most:,}", part.name, len(text.encode()), LONGEST), remedy="write less, or several pages")  # fmt: skip
    most = TITLE if part.kind == "title" else DESCRIPTION
    if part.kind != "text" and len(text) > most:
        raise TooLarge(say("{name} has {size:,} characters; it may have {most:,}", part.name, len(text), most), remedy="write less, or a help page")  # fmt: skip
    return text


def files(text: Editable, wanted: Mapping[str, str], settings: Settings) -> dict[Path, bytes | None]:
    """Make the files that are to be written, of the parts that are to be others.

    Raises
    ------
    DescriptorError
        A descriptor would have faults then: all of them.
    UserError
        A text stands in its file in a way in which it cannot be changed by itself.
    """
    made: dict[Path, bytes | None] = {}
    changed = [part for part in text.parts if part.name in wanted]
    for part in changed:
        if not part.key:
            made[part.file] = f"{wanted[part.name]}\n".encode() if wanted[part.name] else None
    keys: dict[Path, set[tuple[str, ...]]] = {}
    for part in changed:
        if part.key:
            keys.setdefault(part.file, set()).add(part.key)
    for file, some in keys.items():
        said: dict[tuple[str, ...], dict[str, str]] = {}
        for part in text.parts:
            if part.key in some:
                said.setdefault(part.key, {})[part.language] = wanted.get(part.name, part.text)
        made[file] = data = with_texts(read(file) or b"", file.name, said, settings.language)
        faults = [fault for fault in check(file, settings, data=data) if fault.severity == "error"]
        if faults:
            raise DescriptorError(faults)
    return made


def dated(text: Editable, wanted: Mapping[str, str], day: str) -> Editable:
    """Give new news their file: by their day and title.

    Raises
    ------
    UserError
        They have no day, or no title.
    """
    try:
        when = date.fromisoformat(day) if day else datetime.now(UTC).date()
    except ValueError:
        raise ParamError(say("{day!r} is no day", day[:40]), name="DAY", remedy="write it as 2026-11-20") from None
    first = text.parts[0]
    title, _ = first_heading(wanted.get(first.name, ""))
    if not title:
        raise UserError("the news have no title", remedy="the text begins with a line '# Title'")
    words = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:60].rstrip("-") or "news"
    name = f"{when.isoformat()}-{slug}"
    number = 1
    while (first.file.parent / f"{name}.md").exists():
        number += 1
        name = f"{when.isoformat()}-{slug}-{number}"
    parts = tuple(
        Part(name=part.name, language=part.language, file=part.file.with_name(part.file.name.replace(f"{NEW}.", f"{name}.", 1)))
        for part in text.parts
    )  # fmt: skip
    return Editable(subject=text.subject, title=title, path=f"/edit/news/{name}", shows=f"/news/{name}", parts=parts)


def titles(state: Asked) -> list[dict[str, str]]:
    """List the news of this portal."""
    root = state.around.site.settings.directory
    return [
        {"title": note.title, "day": str(note.day or ""), "url": f"{state.base}/edit/news/{quote(note.name)}"}
        for note in SHELF.news(root / state.brand.news, root, state.language)
    ]


def _of(brand: Brand, name: str) -> str:
    return f"{brand.portal}:{name}"


def _markdown(file: Path, state: Asked, language: str = "") -> tuple[Part, ...]:
    """Return a file in all languages of the pages: the one without a language is for all who have none of their own."""
    first = language or state.brand.language
    places: Iterable[tuple[str, Path]] = [(first, file)]
    for one in languages():
        other = file.with_name(f"{file.stem}.{one}{file.suffix}")
        if one != first or other.is_file():
            places = [*places, (one, other)]
    return tuple(
        Part(name=f"text.{number}.{one}" if number else f"text.{one}", file=path, language=one, text=_read(path))
        for number, (one, path) in enumerate(places)
    )


def _read(path: Path) -> str:
    data = read(path, LONGEST + 1) or b""
    if len(data) > LONGEST:
        raise TooLarge(say("{file} has more than {most:,} bytes: no page shows it", path.name, LONGEST), remedy="change the file itself")  # fmt: skip
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        raise UserError(say("{file} is not UTF-8", path.name), remedy="save it as UTF-8") from None
