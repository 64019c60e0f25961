"""What is wrong and what helps, in the reader's language.

Code says it in English with `hven.model.errors.format_message`, pages translate it as they show it.

Catalogues have messages in the context ``faults``, by the English as the code writes it. A value that was said itself
is told in the reader's language too, any other stays as it is; what has no translation stays English, as a whole.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hven import services
from hven.model.errors import TranslatableMessage, format_message
from hven.portal._pages.texts import DEFAULT_LANGUAGE, load_texts

if TYPE_CHECKING:
    from hven.model.errors import HvenError


class MessageTranslator:
    """All messages in one language; called with a message, it gives that in the language, or as it is."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._translations = load_texts(language, "faults")

    def __call__(self, message: str) -> str:
        """Translate a message or a remedy."""
        return self._translate(format_message(message)) or message

    def translate_fault(self, error: HvenError) -> dict[str, str]:
        """Return what is wrong and what helps."""
        return {"message": self(error.message), "remedy": self(error.remedy)}

    def translate_error(self, error: BaseException, request_id: str = "") -> str:
        """Phrase an error as `hven.services.write_error_message` does."""
        return self(services.write_error_message(error, request_id))

    def _translate(self, message: TranslatableMessage) -> str | None:
        """Translate it with all that was said in it; None: something has no translation."""
        translation = self._translations.get(message.template)
        if translation is None:  # words of ADQL, signs and numbers are no English
            if message == message.upper() and not message.values:
                return message
            return None
        translated_values = {
            name: self._translate(value)
            for name, value in message.values.items()
            if isinstance(value, TranslatableMessage)
        }
        if None in translated_values.values():
            return None
        if message.values:
            return translation.format(**{**message.values, **translated_values})
        return translation


@lru_cache(maxsize=8)
def get_message_translator(language: str = DEFAULT_LANGUAGE) -> MessageTranslator:
    """Return the messages of a language; in English they stay as they are."""
    return MessageTranslator(language)


__all__ = ["MessageTranslator", "get_message_translator"]
