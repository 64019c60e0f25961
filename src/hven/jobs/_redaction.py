"""Hiding secrets in words that people are shown or sent.

Their values by whatever way they came in, passwords and keys in addresses.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from hven.model.settings import SECRETS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

REDACTED_TEXT = "***"
MIN_SECRET_CHARACTERS = 4  # characters: what is shorter would be hidden in every other word
MAX_MESSAGE_CHARACTERS = 2000  # characters of a message
_VARIABLE_PATTERN = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_SECRET_NAME_PATTERN = re.compile(
    r"pass|secret|token|credential|dsn|api_?key|private_?key|access_?key|_url$|_uri$", re.IGNORECASE
)
_URL_PASSWORD_PATTERN = re.compile(r"(?<=://)([^/\s:@'\"]*):([^/\s@'\"]*)@")
_SECRET_PARAMETER_PATTERN = re.compile(
    r"([?&;][^=&;\s'\"]*(?:pass|secret|token|key|auth|sig|credential)[^=&;\s'\"]*=)[^&;\s'\"]+", re.IGNORECASE
)
_SECRET_ASSIGNMENT_PATTERN = re.compile(
    r"\b((?:password|passwd|pwd|secret|token|api[_-]?key)\s*[=:]\s*)(?!\*\*\*)[^\s,;'\"]+", re.IGNORECASE
)
_AUTHORIZATION_PATTERN = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


class SecretRedactor:
    """Knows the secrets of a site as they are now; makes words without them.

    Parameters
    ----------
    directory
        The site's: ``secrets.toml`` is there, and the ``$NAME`` in its descriptors and settings say which variables are
        secrets.
    descriptor_files
        Their files, if they are known: else they are looked for among whatever lies beside them.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        *,
        descriptor_files: Iterable[Path] | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        variable_names = _find_variable_names(
            directory, directory.glob("collections/**/*.y*ml") if descriptor_files is None else descriptor_files
        )
        values = [
            value for name, value in environment.items() if name in variable_names or _SECRET_NAME_PATTERN.search(name)
        ]
        values += _read_secrets_file(directory)
        secret_forms = {word for value in values for word in _list_secret_forms(value)}
        longest = sorted((word for word in secret_forms if len(word) >= MIN_SECRET_CHARACTERS), key=len, reverse=True)
        self._secret_pattern = re.compile("|".join(map(re.escape, longest))) if longest else None

    def redact_text(self, text: str) -> str:
        """Redact a text: without secrets, at most 2,000 characters long."""
        if self._secret_pattern is not None:
            text = self._secret_pattern.sub(REDACTED_TEXT, text)
        text = _URL_PASSWORD_PATTERN.sub(rf"\1:{REDACTED_TEXT}@", text)
        text = _AUTHORIZATION_PATTERN.sub(
            rf"\1 {REDACTED_TEXT}",
            _SECRET_ASSIGNMENT_PATTERN.sub(
                rf"\1{REDACTED_TEXT}", _SECRET_PARAMETER_PATTERN.sub(rf"\1{REDACTED_TEXT}", text)
            ),
        )
        if len(text) <= MAX_MESSAGE_CHARACTERS:
            return text
        return text[: MAX_MESSAGE_CHARACTERS - 1] + "…"

    def redact_data(self, value: Any) -> Any:
        """Redact JSON-like data: without secrets in their texts."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, dict):
            return {key: self.redact_data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_data(item) for item in value]
        return value


def _list_secret_forms(value: str) -> Iterable[str]:
    """Return a secret in the forms in which it may turn up: whole, its lines, encoded.

    Of an address the password and the query.
    """
    candidates = [value, value.strip(), *value.splitlines()]
    if "://" in value:
        try:
            parts = urlsplit(value)
            password = parts.password
        except ValueError:
            password, parts = None, None
        candidates += [password] if password else []
        if parts is not None:
            # a webhook's key is part of its path
            candidates += [parts.query, parts.path if len(parts.path) > 12 else ""]
    for candidate in candidates:
        yield from (candidate, quote(candidate, safe=""), quote(candidate), quote_plus(candidate), unquote(candidate))


def _read_secrets_file(directory: Path) -> list[str]:
    try:
        values = tomllib.loads((directory / SECRETS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # without it there are none; one that cannot be read gave nobody a secret
        return []
    return [value for value in values.values() if isinstance(value, str)]


def _find_variable_names(directory: Path, descriptor_files: Iterable[Path]) -> set[str]:
    """Find the names of secrets: ``$NAME`` in settings and descriptors."""
    variable_names: set[str] = set()
    for path in (directory / "hven.toml", *descriptor_files, *directory.glob("jobs/*.y*ml")):
        try:
            variable_names.update(_VARIABLE_PATTERN.findall(path.read_text(encoding="utf-8", errors="replace")))
        except OSError:
            continue
    return variable_names
