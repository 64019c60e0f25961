"""What is wrong and what helps, in the reader's language: code raises errors in English, pages translate them as they show them.

``texts/<language>/*.toml`` has the messages in ``[faults]``, by the English as the code writes it: ``{name}`` is a value, which stays as it is;
``{name_}`` is a text that is told in the reader's language too, so that no message is half translated: what has no translation stays English as a
whole. ``[parts]`` are found inside others only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from hven import services as dali
from hven.portal._pages.texts import ENGLISH, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.errors import HvenError

HOLE = re.compile(r"\{([a-z]\w*)\}")
LONGEST = 2000  # characters of a message; longer ones stay English
DEEPEST = 4  # messages inside messages
MOST, PIECES = 80, 8  # texts that are tried for one message, messages that are joined
LISTS = frozenset({"shown", "told", "examples"})  # values with semicolons of their own
WORD = "word"  # a value of one word
WHOLE = ("message", "have", "why", "reason", "error", "failures", "remedy", "place")  # beginnings of names: no value may stand there
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\"")  # as repr() writes a text: what is inside is no part of the message
_PLACE = re.compile(r"line (\d+), column (\d+): (.*)", re.DOTALL)
_REQUEST = re.compile(r"(.*) \[request ([\w-]+)\]", re.DOTALL)
_PLAIN = re.compile(r"[^\s]*|'[^']*'|\"[^\"]*\"|[^a-z]*")  # a number, a name, a text in quotes, words of ADQL: no English
_ENGLISH = re.compile(r"; |\b(?:the|is|are|has|not|cannot|which|that)\b")  # of a message, not of a value
_JOINTS = ("; ", ", ")


class Template:
    """A message with places for values; it is matched without backtracking, whatever the reader wrote.

    Parameters
    ----------
    english
        As the code raises it, with ``{name}`` for each value.
    other
        The same in another language.
    """

    __slots__ = ("anchor", "fixed", "literals", "names", "other")

    def __init__(self, english: str, other: str) -> None:
        parts = HOLE.split(english)
        self.literals, self.names = parts[::2], parts[1::2]
        self.fixed = sum(map(len, self.literals))
        self.anchor = max(self.literals, key=len)
        self.other = HOLE.split(other)

    def values(self, text: str) -> dict[str, str] | None:
        """Return the values of a message by their names; None: it is another one."""
        first, *between, last = self.literals
        if len(text) < self.fixed or not text.startswith(first) or not text.endswith(last):
            return None
        at, end, found = len(first), len(text) - len(last), []
        for literal in between:
            quoted = _QUOTED.match(text, at, end)
            to = text.find(literal, quoted.end(), end) if quoted is not None else -1
            if to < 0:
                to = text.find(literal, at, end)
            if to < 0:
                return None
            found.append(text[at:to])
            at = to + len(literal)
        if at > end:
            return None
        return dict(zip(self.names, [*found, text[at:end]], strict=True))

    def filled(self, values: Mapping[str, str]) -> str:
        """Write it in the other language."""
        return "".join(values[part] if number % 2 else part for number, part in enumerate(self.other))


class Told:
    """All messages in one language; called with a message, it gives that in the language, or as it is."""

    def __init__(self, language: str) -> None:
        faults, parts = texts(language, "faults"), texts(language, "parts")
        self.language = language
        self._exact = (dict(faults), {**faults, **parts})
        self._templates = (_templates(faults), _templates({**parts, **faults}))
        self._kept = lru_cache(maxsize=1024)(self._said)

    def __call__(self, message: str) -> str:
        """Translate a message, a remedy, or several that were joined; what is not known whole stays English."""
        if not message or not self._exact[0] or len(message) > LONGEST:
            return message
        return self._exact[0].get(message) or self._kept(message) or message

    def fault(self, error: HvenError) -> dict[str, str]:
        """Return what is wrong and what helps."""
        return {"message": self(error.message), "remedy": self(error.remedy)}

    def error(self, error: BaseException, request_id: str = "") -> str:
        """Phrase an error as `hven.services.message_of` does."""
        return self(dali.message_of(error, request_id))

    def _said(self, message: str) -> str | None:
        left = [MOST]
        asked = _REQUEST.fullmatch(message)
        text = asked[1] if asked is not None else message
        placed = _PLACE.fullmatch(text)
        if placed is not None:
            text = placed[3]
        found = (self._joined(text, "; ", 0, left) if "; " in text else None) or self._one(text, 0, left)
        if found is None:
            return None
        if placed is not None:
            found = f"{self._one(f'line {placed[1]}, column {placed[2]}', 1, [1])} : {found}"
        return found if asked is None else f"{found} [{self._exact[1].get('request', 'request')} {asked[2]}]"

    def _one(self, text: str, depth: int, left: list[int]) -> str | None:
        """Translate one message; inside another one (`depth`) also what is a part alone. `left` is how much may still be tried."""
        left[0] -= 1
        inside = depth > 0
        known = self._exact[inside].get(text)
        if known is not None or depth > DEEPEST or left[0] < 0:
            return known
        for template in self._templates[inside]:
            if template.anchor in text and (found := template.values(text)) is not None:
                values = {name: self._value(name, value, depth + 1, left) for name, value in found.items()}
                if None not in values.values():
                    return template.filled({name: value or "" for name, value in values.items()})
        return None

    def _value(self, name: str, text: str, depth: int, left: list[int]) -> str | None:
        """Return what stands in a message; None: it is none of its values."""
        if not name.endswith("_"):
            fits = name in LISTS or (
                _PLAIN.fullmatch(text) if name == WORD else " " not in text or not _ENGLISH.search(_QUOTED.sub("", text))
            )
            return text if fits else None
        several = next((joint for joint in _JOINTS if joint in text), None)
        known = self._joined(text, several, depth, left) if several is not None else None
        known = known or self._one(text, depth, left)
        return text if known is None and not name.startswith(WHOLE) and _PLAIN.fullmatch(text) else known

    def _joined(self, text: str, joint: str, depth: int, left: list[int]) -> str | None:
        """Translate several messages that the code joined: each must be known."""
        pieces = text.split(joint, PIECES)
        found, begin = [], 0
        while begin < len(pieces):
            for end in range(begin + 1, len(pieces) + 1):  # a message may have the joint in itself
                one = self._one(joint.join(pieces[begin:end]), depth, left)
                if one is not None:
                    found.append(one)
                    begin = end
                    break
            else:
                return None
        return (" ; " if joint == "; " else joint).join(found) if len(found) > 1 else None


def _templates(known: Mapping[str, str]) -> list[Template]:
    """Return those with places for values, what says most first."""
    found = [Template(english, other) for english, other in known.items() if HOLE.search(english)]
    return sorted(found, key=lambda one: (-one.fixed, len(one.names)))


@lru_cache(maxsize=8)
def faults_in(language: str = ENGLISH) -> Told:
    """Return the messages of a language; in English they stay as they are."""
    return Told(language)


__all__ = ["Told", "faults_in"]
