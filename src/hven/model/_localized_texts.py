"""Texts of curators in several languages.

A text as any other to programs, in the site's own language, which pages tell in the reader's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class LocalizedText(str):
    """A text that is known in several languages; `build_localized_text` makes them.

    As a text it is that of the site's language.

    Attributes
    ----------
    texts
        Language (``en``, ``fr``) -> text; the site's own comes first.
    """

    __slots__ = ("texts",)
    texts: Mapping[str, str]

    def __str__(self) -> str:
        """Return it with all that it knows."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep all languages in other processes, too."""
        return build_localized_text, (dict(self.texts),)


def build_localized_text(texts: Mapping[str, str], language: str = "") -> LocalizedText:
    """Make one text of several languages.

    Parameters
    ----------
    texts
        Language -> text; at least one.
    language
        Language of the text that is used where no reader chooses one: the site's. Default: that of the first text.

    Returns
    -------
    text
        Equal to the text in that language.
    """
    if language in texts:
        default_language = language
    else:
        default_language = next(iter(texts))
    text = LocalizedText(texts[default_language])
    text.texts = {default_language: texts[default_language], **texts}
    return text


def translate_text(language: str, text: str) -> str:
    """Return a text in a language, or as it is where it is not known in it.

    Parameters
    ----------
    language
        ``en``, ``fr``.
    text
        Any text.
    """
    if isinstance(text, LocalizedText):
        return text.texts.get(language, str.__str__(text))
    return text
