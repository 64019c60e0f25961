"""Read and write the texts that curators edit: the home page, news, and the texts of collections."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.descriptor import check_descriptor
from hven.descriptor.written_yaml import CONTROL_CHARACTER_PATTERN
from hven.formats import replace_illegal_characters
from hven.model.errors import DescriptorError, NotFoundError, ParamError, TooLargeError, UserError, format_message
from hven.plugins.curating.descriptor_texts import read_descriptor_texts, replace_descriptor_texts
from hven.plugins.curating.draft_store import DraftStore
from hven.plugins.curating.file_history import read_file
from hven.portal.api.markdown_pages import MAX_FILE_BYTES, NEWS_FILE_PATTERN, NewsAndHelpCache, split_first_heading
from hven.portal.api.pages import can_edit_collection, list_languages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.portal.api.pages import PageContext, PortalBrand

HOME_NAME, NEW_NAME = "home", "new"
MAX_TITLE_CHARACTERS, MAX_DESCRIPTION_CHARACTERS = 500, 100_000  # of texts in a descriptor
NOTE_CACHE = NewsAndHelpCache()


@dataclass(frozen=True, slots=True, kw_only=True)
class EditableTextPart:
    """One part of a text, in one language.

    Attributes
    ----------
    name
        Name in forms.
    file
        The file that has the text.
    key
        Key in a descriptor; empty: the file is the text, in Markdown.
    table_name
        Name of the table that the text is about; empty: the collection.
    text
        The current text.
    """

    name: str
    file: Path
    language: str
    key: tuple[str, ...] = ()
    table_name: str = ""
    text: str = ""

    @property
    def kind(self) -> str:
        """The kind of the text: ``title`` (one line), ``description`` or ``text`` (Markdown)."""
        if self.key:
            return self.key[-1]
        return "text"

    @property
    def digest(self) -> str:
        """The digest of the text."""
        return compute_text_digest(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditableText:
    """A text with all its parts.

    Attributes
    ----------
    subject
        Name in the site's store, with the portal.
    edit_path, view_path
        Paths of the pages where the text is edited and read.
    """

    subject: str
    title: str
    edit_path: str
    view_path: str
    parts: tuple[EditableTextPart, ...]


def compute_text_digest(text: str) -> str:
    """Compute the digest by which changes of a text are detected."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def list_editable_collections(page_context: PageContext) -> list[CollectionSpec]:
    """List the collections of this portal whose texts the user may edit, including those whose rows they cannot see."""
    resources = page_context.published_state.resources
    portal_collections = page_context.brand.collections or resources
    editable_collections = []
    for name, resource in sorted(resources.items()):
        is_editable = can_edit_collection(page_context.principal, page_context.context, resource)
        if name in portal_collections and is_editable:
            editable_collections.append(resource)
    return editable_collections


def build_home_text(page_context: PageContext) -> EditableText:
    """Return the text of the home page."""
    file = page_context.context.site.settings.directory / page_context.brand.text
    subject = _build_draft_subject(page_context.brand, HOME_NAME)
    markdown_parts = _read_markdown_parts(file, page_context)
    return EditableText(subject=subject, title="", edit_path="/edit/home", view_path="/", parts=markdown_parts)


def build_news_text(page_context: PageContext, name: str) -> EditableText:
    """Return a piece of news, an empty one for ``new``, or one that is gone but of which the user has a draft."""
    folder = page_context.context.site.settings.directory / page_context.brand.news
    file = folder / f"{name}.md"
    subject = _build_draft_subject(page_context.brand, f"news/{name}")
    has_valid_name = NEWS_FILE_PATTERN.fullmatch(file.name) is not None
    if name != NEW_NAME and not (has_valid_name and file.is_file()):
        drafts = page_context.context.site.store.get_or_create(DraftStore)
        account = str(page_context.principal.name)
        if not has_valid_name or drafts.find_draft(account, subject) is None:
            raise NotFoundError(
                format_message("there is no news item {name!r} here", name[:80]), remedy="see /news for the list"
            )
    parts = _read_markdown_parts(file, page_context)
    if name == NEW_NAME:
        title = ""
        shows = "/news"
    else:
        title = split_first_heading(parts[0].text)[0] or name
        shows = f"/news/{quote(name)}"
    return EditableText(
        subject=subject, title=title, edit_path=f"/edit/news/{quote(name)}", view_path=shows, parts=parts
    )


def build_collection_text(page_context: PageContext, name: str) -> EditableText:
    """Return the texts of a collection: the titles and descriptions of its descriptor, and its help page."""
    resource = page_context.published_state.resources[name]
    settings = page_context.context.site.settings
    data = read_file(resource.path) or b""
    descriptor_texts = read_descriptor_texts(data, resource.path.name, settings.language)
    other_languages = [language for language in list_languages() if language != settings.language]
    parts = []
    for key, texts_by_language in descriptor_texts.items():
        for language in (settings.language, *other_languages):
            part = EditableTextPart(
                name=".".join((*key, language)),
                file=resource.path,
                language=language,
                key=key,
                table_name=key[1] if len(key) > 1 else "",
                text=texts_by_language.get(language, ""),
            )
            parts.append(part)
    parts += _read_markdown_parts(resource.path.parent / settings.help / "index.md", page_context, settings.language)
    shows = f"/collections/{quote(name)}"
    return EditableText(
        subject=f"collections/{name}",
        title=resource.title or name,
        edit_path=f"/edit{shows}",
        view_path=shows,
        parts=tuple(parts),
    )


def is_shared_file(folder_or_file: str, brand: PortalBrand, settings: Settings) -> bool:
    """Return whether a file of a portal is also that of the site or of another portal.

    Only operators of the site change such a file.
    """
    if not brand.portal:
        return False
    other_files = {settings.text, settings.news, settings.help}
    for other_portal in settings.portals:
        if other_portal.name != brand.portal:
            other_files |= {
                other_portal.text or f"{other_portal.name}.md",
                other_portal.news or settings.news,
                other_portal.help or settings.help,
            }
    own_path = folder_or_file.strip("/")
    for other_file in other_files:
        other_path = other_file.strip("/")
        if own_path == other_path or f"{own_path}/".startswith(f"{other_path}/"):
            return True
    return False


def normalize_and_check_text(part: EditableTextPart, text: str) -> str:
    """Return a text in the form in which it is stored.

    Raises
    ------
    ParamError
        The text has control characters.
    TooLargeError
        The text is too long.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if part.kind == "title":
        text = " ".join(text.split())
    if CONTROL_CHARACTER_PATTERN.search(text) or text != replace_illegal_characters(text):
        message = format_message("{name} contains a control character", part.name)
        raise ParamError(message, name=part.name, remedy="remove the character")
    byte_count = len(text.encode())
    if part.kind == "text" and byte_count > MAX_FILE_BYTES:
        message = format_message(
            "{name} is {size:,} bytes long; at most {most:,} bytes are allowed", part.name, byte_count, MAX_FILE_BYTES
        )
        raise TooLargeError(message, remedy="shorten the text, or split it into several pages")
    max_characters = MAX_TITLE_CHARACTERS if part.kind == "title" else MAX_DESCRIPTION_CHARACTERS
    if part.kind != "text" and len(text) > max_characters:
        message = format_message(
            "{name} is {size:,} characters long; at most {most:,} characters are allowed",
            part.name,
            len(text),
            max_characters,
        )
        raise TooLargeError(message, remedy="shorten the text, or write a help page instead")
    return text


def build_changed_files(
    text: EditableText, new_texts: Mapping[str, str], settings: Settings
) -> dict[Path, bytes | None]:
    """Build the contents of the files that new texts change.

    Raises
    ------
    DescriptorError
        A descriptor would have faults; the error has all of them.
    UserError
        A text cannot be replaced by itself, because of the way in which its file is written.
    """
    file_contents: dict[Path, bytes | None] = {}
    changed_parts = [part for part in text.parts if part.name in new_texts]
    for part in changed_parts:
        if not part.key:
            if new_texts[part.name]:
                file_contents[part.file] = f"{new_texts[part.name]}\n".encode()
            else:
                file_contents[part.file] = None
    keys: dict[Path, set[tuple[str, ...]]] = {}
    for part in changed_parts:
        if part.key:
            keys.setdefault(part.file, set()).add(part.key)
    for file, changed_keys in keys.items():
        texts_by_key: dict[tuple[str, ...], dict[str, str]] = {}
        for part in text.parts:
            if part.key in changed_keys:
                texts_by_key.setdefault(part.key, {})[part.language] = new_texts.get(part.name, part.text)
        old_data = read_file(file) or b""
        data = replace_descriptor_texts(old_data, file.name, texts_by_key, settings.language)
        file_contents[file] = data
        faults = [fault for fault in check_descriptor(file, settings, data=data) if fault.severity == "error"]
        if faults:
            raise DescriptorError(faults)
    return file_contents


def assign_news_file(text: EditableText, new_texts: Mapping[str, str], day: str) -> EditableText:
    """Assign new news to a file, named by day and title.

    Raises
    ------
    UserError
        The news have an invalid day, or no title.
    """
    try:
        if day:
            news_date = date.fromisoformat(day)
        else:
            news_date = datetime.now(UTC).date()
    except ValueError:
        message = format_message("{day!r} is not a date", day[:40])
        raise ParamError(message, name="DAY", remedy="write a date such as 2026-11-20") from None
    first_part = text.parts[0]
    title, _ = split_first_heading(new_texts.get(first_part.name, ""))
    if not title:
        raise UserError("the news item has no title", remedy="begin the text with a line such as '# Title'")
    words = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:60].rstrip("-") or "news"
    name = f"{news_date.isoformat()}-{slug}"
    number = 1
    while (first_part.file.parent / f"{name}.md").exists():
        number += 1
        name = f"{news_date.isoformat()}-{slug}-{number}"
    parts = []
    for part in text.parts:
        file_name = part.file.name.replace(f"{NEW_NAME}.", f"{name}.", 1)
        parts.append(EditableTextPart(name=part.name, language=part.language, file=part.file.with_name(file_name)))
    return EditableText(
        subject=text.subject,
        title=title,
        edit_path=f"/edit/news/{name}",
        view_path=f"/news/{name}",
        parts=tuple(parts),
    )


def build_news_links(page_context: PageContext) -> list[dict[str, object]]:
    """List the news of this portal."""
    root = page_context.context.site.settings.directory
    notes = NOTE_CACHE.list_news(root / page_context.brand.news, root, page_context.language)
    edit_address = f"{page_context.base}/edit/news"
    return [
        {"title": note.title, "day": str(note.day or ""), "url": f"{edit_address}/{quote(note.name)}"} for note in notes
    ]


def _build_draft_subject(brand: PortalBrand, name: str) -> str:
    return f"{brand.portal}:{name}"


def _read_markdown_parts(file: Path, page_context: PageContext, language: str = "") -> tuple[EditableTextPart, ...]:
    """Return a Markdown file in all languages of the pages; the file without a language is the fallback."""
    first_language = language or page_context.brand.language
    language_files = [(first_language, file)]
    for other_language in list_languages():
        translated_file = file.with_name(f"{file.stem}.{other_language}{file.suffix}")
        if other_language != first_language or translated_file.is_file():
            language_files.append((other_language, translated_file))
    parts = []
    for number, (part_language, path) in enumerate(language_files):
        part = EditableTextPart(
            name=f"text.{number}.{part_language}" if number else f"text.{part_language}",
            file=path,
            language=part_language,
            text=_read_text_file(path),
        )
        parts.append(part)
    return tuple(parts)


def _read_text_file(path: Path) -> str:
    data = read_file(path, MAX_FILE_BYTES + 1) or b""
    if len(data) > MAX_FILE_BYTES:
        message = format_message("{file} is larger than {most:,} bytes, so no page shows it", path.name, MAX_FILE_BYTES)
        raise TooLargeError(message, remedy="edit the file directly")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        raise UserError(format_message("{file} is not UTF-8", path.name), remedy="save it as UTF-8") from None
