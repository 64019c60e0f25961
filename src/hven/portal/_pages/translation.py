"""Translate messages and remedies of errors to the reader's language.

Code writes messages in English with `hven.model.errors.format_message`; pages translate them.

Catalogues have messages in the context ``faults``, by their English template. A value that is itself a message is
translated, too; other values stay as they are. A message with a part that has no translation stays English.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven import services
from hven.model import plugins
from hven.model.errors import TranslatableMessage, format_message
from hven.model.table import translate_text
from hven.portal._pages.texts import DEFAULT_LANGUAGE, TextFormatter, load_page_translations

if TYPE_CHECKING:
    from hven.model.errors import HvenError


class MessageTranslator:
    """Translator of messages to one language; a message without a translation stays as it is."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._translations = load_page_translations(language, "faults")

    def __call__(self, message: str) -> str:
        """Translate a message or a remedy."""
        return self._translate(format_message(message)) or message

    def translate_message_and_remedy(self, error: HvenError) -> dict[str, str]:
        """Return the translated message and remedy of an error.

        Parameters
        ----------
        error
            The error.
        """
        return {"message": self(error.message), "remedy": self(error.remedy)}

    def translate_error(self, error: BaseException, request_id: str = "") -> str:
        """Translate the text that `hven.services.log_error_and_write_message` writes for an error.

        Parameters
        ----------
        error
            The error.
        request_id
            Identifier of the request, which messages of internal errors name.

        Returns
        -------
        message
            The message in the language of the translator.
        """
        return self(services.log_error_and_write_message(error, request_id))

    def _translate(self, message: TranslatableMessage) -> str | None:
        """Translate a message and the messages among its values; None if one of them has no translation."""
        translation = self._translations.get(message.template)
        if translation is None:  # words of ADQL, signs and numbers need no translation
            if message == message.upper() and not message.values:
                return message
            return None
        translated_values = {}
        for name, value in message.values.items():
            if isinstance(value, TranslatableMessage):
                translated_values[name] = self._translate(value)
            elif value is not None:  # perhaps a text of curators
                translated_values[name] = translate_text(self.language, value)
        if None in translated_values.values():
            return None
        if message.values:
            return TextFormatter().format(translation, **{**message.values, **translated_values})
        return translation


@plugins.cache_until_selection
def get_message_translator(language: str = DEFAULT_LANGUAGE) -> MessageTranslator:
    """Return the translator to a language; the one to English returns messages unchanged.

    Parameters
    ----------
    language
        Code of the language.
    """
    return MessageTranslator(language)
