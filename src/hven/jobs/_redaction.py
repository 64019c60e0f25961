"""Hiding secrets in words that people are shown or sent: their values by whatever way they came in, passwords and keys in addresses."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from hven.model.settings import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

HIDDEN = "***"
SHORTEST = 4  # characters: what is shorter would be hidden in every other word
LONGEST = 2000  # characters of a message
_NAMED = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_TELLING = re.compile(r"pass|secret|token|credential|dsn|api_?key|private_?key|access_?key|_url$|_uri$", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(?<=://)([^/\s:@'\"]*):([^/\s@'\"]*)@")
_PARAMETER = re.compile(
    r"([?&;][^=&;\s'\"]*(?:pass|secret|token|key|auth|sig|credential)[^=&;\s'\"]*=)[^&;\s'\"]+", re.IGNORECASE
)
_WORD = re.compile(
    r"\b((?:password|passwd|pwd|secret|token|api[_-]?key)\s*[=:]\s*)(?!\*\*\*)[^\s,;'\"]+", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


class Hiding:
    """Knows the secrets of a site as they are now; makes words without them.

    Parameters
    ----------
    directory
        The site's: ``secrets.toml`` is there, and the ``$NAME`` in its descriptors and settings say which variables are secrets.
    descriptors
        Their files, if they are known: else they are looked for among whatever lies beside them.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        *,
        descriptors: Iterable[Path] | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        named = _named(directory, directory.glob("collections/**/*.y*ml") if descriptors is None else descriptors)
        values = [value for name, value in environment.items() if name in named or _TELLING.search(name)]
        values += _filed(directory)
        words = {word for value in values for word in _forms(value)}
        longest = sorted((word for word in words if len(word) >= SHORTEST), key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, longest))) if longest else None

    def text(self, text: str) -> str:
        """Redact a text: without secrets, at most 2,000 characters long."""
        if self._words is not None:
            text = self._words.sub(HIDDEN, text)
        text = _IN_ADDRESS.sub(rf"\1:{HIDDEN}@", text)
        text = _BEARER.sub(rf"\1 {HIDDEN}", _WORD.sub(rf"\1{HIDDEN}", _PARAMETER.sub(rf"\1{HIDDEN}", text)))
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"

    def all(self, value: Any) -> Any:
        """Redact JSON-like data: without secrets in their texts."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.all(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.all(item) for item in value]
        return value


def _forms(value: str) -> Iterable[str]:
    """Return a secret in the forms in which it may turn up: whole, its lines, encoded; of an address the password and the query."""
    found = [value, value.strip(), *value.splitlines()]
    if "://" in value:
        try:
            parts = urlsplit(value)
            password = parts.password
        except ValueError:
            password, parts = None, None
        found += [password] if password else []
        if parts is not None:
            # a webhook's key is part of its path
            found += [parts.query, parts.path if len(parts.path) > 12 else ""]
    for one in found:
        yield from (one, quote(one, safe=""), quote(one), quote_plus(one), unquote(one))


def _filed(directory: Path) -> list[str]:
    try:
        values = tomllib.loads((directory / SECRETS).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # without it there are none; one that cannot be read gave nobody a secret
        return []
    return [value for value in values.values() if isinstance(value, str)]


def _named(directory: Path, descriptors: Iterable[Path]) -> set[str]:
    """Find the names of secrets: ``$NAME`` in settings and descriptors."""
    found: set[str] = set()
    for path in (directory / "hven.toml", *descriptors, *directory.glob("jobs/*.y*ml")):
        try:
            found.update(_NAMED.findall(path.read_text(encoding="utf-8", errors="replace")))
        except OSError:
            continue
    return found
