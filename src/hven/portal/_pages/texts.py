"""Read the texts of the pages.

English stands in templates and code, other languages in gettext catalogues ``texts/<language>.po``, those of the portal
and those of plug-in packages.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

from hven.model import cache_results, plugins
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

log = logging.getLogger("hven")
FRENCH_GROUP_SEPARATOR = "\u202f"  # as browsers group digits, so that scripts do not change what the server rendered
CATALOGUE_DIRECTORY = Path(__file__).parent.parent / "texts"
DEFAULT_LANGUAGE = "en"
LANGUAGE_COOKIE = "hven_language"


class TextFormatter(Formatter):
    """Formatter of texts in another language than English, where ``2,000`` could be read as two."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        """Format a value; ``{count:,}`` groups digits as in that language."""
        text = super().format_field(value, format_spec)
        if format_spec == ",":
            return text.replace(",", FRENCH_GROUP_SEPARATOR)
        return text


@lru_cache(maxsize=1)
def list_languages() -> tuple[str, ...]:
    """List the languages of the pages, English first."""
    return (DEFAULT_LANGUAGE, *sorted(path.stem for path in CATALOGUE_DIRECTORY.glob("*.po")))


@plugins.cache_until_selection
def load_page_translations(language: str, section: str = "pages") -> Mapping[str, str]:
    """Return the texts in `language` by English text, of the ``pages``, the ``browser``'s scripts and ``faults``.

    Parameters
    ----------
    language
        Code of the language.
    section
        Which texts: ``pages``, ``browser``, ``columns`` or ``faults``.
    """
    translations = dict(_load_message_catalogue(language).get(section, {}))
    if section == "pages":
        for group in ("functions", "panes", "protocols"):
            for record in plugins.load_plugin_records(group).values():
                translations |= record.texts.get(language, {})
    return translations


@plugins.cache_until_selection
def _load_message_catalogue(language: str) -> Mapping[str, Mapping[str, str]]:
    """Read the translations of the catalogues, by context; those of the portal precede those of packages."""
    translations: dict[str, dict[str, str]] = {}
    if language != DEFAULT_LANGUAGE:
        from polib import pofile  # noqa: PLC0415  (only for other languages)

        for path in list_catalogue_files(language):
            for entry in pofile(str(path)).translated_entries():
                translations.setdefault(entry.msgctxt, {}).setdefault(entry.msgid, entry.msgstr)
    return translations


def list_catalogue_files(language: str) -> list[Path]:
    """List the catalogues of a language: that of the portal, then those of the packages in use."""
    directories = [CATALOGUE_DIRECTORY]
    for package in plugins.list_plugin_packages():
        if package.translations:
            where = f"the plug-in package {package.name}"
            try:
                directories.append(plugins.locate_named_folder(package.translations, where))
            except UserError as error:  # `hven check` reports it, too
                log.warning("%s", error)
    return [path for path in (directory / f"{language}.po" for directory in directories) if path.exists()]


def choose_language(request: Request, default_language: str = DEFAULT_LANGUAGE) -> str:
    """Choose the language of an answer.

    The address (``?lang=``), the cookie of an earlier choice, the browser's languages and `default_language` count in
    this order.
    """
    for chosen in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if chosen in list_languages():
            return chosen
    return _parse_accept_language(request.headers.get("accept-language", ""), default_language)


@cache_results(256)
def _parse_accept_language(header: str, default_language: str = DEFAULT_LANGUAGE) -> str:
    """Read Accept-Language (RFC 9110 section 12.5.4); items with an invalid weight are ignored."""
    best_language, weight = default_language, 0.0
    for item in header.split(","):
        name, _, quality = item.strip().partition(";q=")
        try:
            value = float(quality) if quality else 1.0
        except ValueError:
            continue
        short = name.strip().lower().partition("-")[0]
        if short in list_languages() and value > weight:
            best_language, weight = short, value
    return best_language
