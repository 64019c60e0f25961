"""What is wrong and what helps, in the reader's language: code says it in English with `hven.model.errors.say`, pages translate it as they show it.

Catalogues have messages in the context ``faults``, by the English as the code writes it. A value that was said itself is told in the reader's
language too, any other stays as it is; what has no translation stays English, as a whole.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hven import services as dali
from hven.model.errors import Said, say
from hven.portal._pages.texts import ENGLISH, texts

if TYPE_CHECKING:
    from hven.model.errors import HvenError


class Told:
    """All messages in one language; called with a message, it gives that in the language, or as it is."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._known = texts(language, "faults")

    def __call__(self, message: str) -> str:
        """Translate a message or a remedy."""
        return self._said(say(message)) or message

    def fault(self, error: HvenError) -> dict[str, str]:
        """Return what is wrong and what helps."""
        return {"message": self(error.message), "remedy": self(error.remedy)}

    def error(self, error: BaseException, request_id: str = "") -> str:
        """Phrase an error as `hven.services.message_of` does."""
        return self(dali.message_of(error, request_id))

    def _said(self, said: Said) -> str | None:
        """Translate it with all that was said in it; None: something has no translation."""
        other = self._known.get(said.code)
        if other is None:  # words of ADQL, signs and numbers are no English
            return said if said == said.upper() and not said.values else None
        told = {name: self._said(value) for name, value in said.values.items() if isinstance(value, Said)}
        if None in told.values():
            return None
        return other.format(**{**said.values, **told}) if said.values else other


@lru_cache(maxsize=8)
def faults_in(language: str = ENGLISH) -> Told:
    """Return the messages of a language; in English they stay as they are."""
    return Told(language)


__all__ = ["Told", "faults_in"]
