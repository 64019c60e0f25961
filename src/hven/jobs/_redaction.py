"""Redact secrets in messages that people read or receive.

These are the values of secrets, wherever they came from, and passwords and keys in addresses.
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
MIN_SECRET_CHARACTERS = 4  # a shorter secret would be found in every other word
MAX_MESSAGE_CHARACTERS = 2000  # longer messages are cut
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
    """Redact the secrets of a site as they are now.

    Parameters
    ----------
    directory
        Directory of the site, with ``secrets.toml``. Each ``$NAME`` in its settings and descriptors means that the
        variable is a secret.
    environment
        Environment variables; None: those of this process.
    descriptor_files
        Files of the descriptors, if they are known; otherwise all YAML files of the collections are searched.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        *,
        descriptor_files: Iterable[Path] | None = None,
    ) -> None:
        if environment is None:
            environment = os.environ
        if descriptor_files is None:
            descriptor_files = directory.glob("collections/**/*.y*ml")
        variable_names = _find_secret_variable_names(directory, descriptor_files)
        secrets = _read_secrets_file(directory)
        for name, value in environment.items():
            if name in variable_names or _SECRET_NAME_PATTERN.search(name):
                secrets.append(value)
        secret_forms: set[str] = set()
        for secret in secrets:
            secret_forms.update(form for form in _list_secret_variants(secret) if len(form) >= MIN_SECRET_CHARACTERS)
        self._secret_pattern: re.Pattern[str] | None = None
        if secret_forms:
            longest_first = sorted(secret_forms, key=len, reverse=True)
            self._secret_pattern = re.compile("|".join(map(re.escape, longest_first)))

    def redact_text(self, text: str) -> str:
        """Return a text without secrets, of at most 2,000 characters.

        Parameters
        ----------
        text
            Text of any length.
        """
        if self._secret_pattern is not None:
            text = self._secret_pattern.sub(REDACTED_TEXT, text)
        text = _URL_PASSWORD_PATTERN.sub(rf"\1:{REDACTED_TEXT}@", text)
        text = _SECRET_PARAMETER_PATTERN.sub(rf"\1{REDACTED_TEXT}", text)
        text = _SECRET_ASSIGNMENT_PATTERN.sub(rf"\1{REDACTED_TEXT}", text)
        text = _AUTHORIZATION_PATTERN.sub(rf"\1 {REDACTED_TEXT}", text)
        if len(text) <= MAX_MESSAGE_CHARACTERS:
            return text
        return text[: MAX_MESSAGE_CHARACTERS - 1] + "…"

    def redact_data(self, value: Any) -> Any:
        """Return JSON-like data without secrets in its texts.

        Parameters
        ----------
        value
            Texts, and dictionaries and lists of them; other values stay as they are.
        """
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, dict):
            return {key: self.redact_data(member) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_data(member) for member in value]
        return value


def _list_secret_variants(value: str) -> Iterable[str]:
    """Yield the forms in which a secret may appear: whole, its lines, encoded; for an address, its secret parts."""
    candidates = [value, value.strip(), *value.splitlines()]
    if "://" in value:
        try:
            parts = urlsplit(value)
            password = parts.password
        except ValueError:
            parts = None
        else:
            candidates.append(password or "")
        if parts is not None:
            candidates.append(parts.query)
            # the key of a webhook is part of its path
            candidates.append(parts.path if len(parts.path) > 12 else "")
    for candidate in candidates:
        yield candidate
        yield quote(candidate, safe="")
        yield quote(candidate)
        yield quote_plus(candidate)
        yield unquote(candidate)


def _read_secrets_file(directory: Path) -> list[str]:
    try:
        values = tomllib.loads((directory / SECRETS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # without a readable file there are no secrets of it
        return []
    return [value for value in values.values() if isinstance(value, str)]


def _find_secret_variable_names(directory: Path, descriptor_files: Iterable[Path]) -> set[str]:
    """Return the names of variables that are secrets: each ``$NAME`` in settings and descriptors."""
    variable_names: set[str] = set()
    for path in (directory / "hven.toml", *descriptor_files, *directory.glob("jobs/*.y*ml")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        variable_names.update(_VARIABLE_PATTERN.findall(text))
    return variable_names
