"""Write entity tags that prove by themselves that an answer has not changed, so that nothing is planned.

A tag is the digest of everything on which the answer to a request depends: the version of the published data, what the
user may see, the address and the requested format. It is sent only with answers that are the same each time. If a
client sends it back and the digest is still the same, the answer is, too, in any process. Behind the digest, the tag
says whether shared caches may keep the answer, and which tables were read, for the counts of usage.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from hven import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site import PublishedState

DIGEST_CHARACTERS = 24
TABLE_CODE_CHARACTERS = 6
MAX_TAGGED_TABLES = 8  # tables of an answer whose names a tag has; those of an answer with more are not counted
MAX_CHECKED_TAGS = 16  # of a request
MAX_KEPT_VERSIONS = 4  # of the published data; blind referees see another one
_TAG_PATTERN = re.compile(rf'(?:W/)?"([0-9a-f]{{{DIGEST_CHARACTERS}}})-([pr](?:[0-9a-f]{{{TABLE_CODE_CHARACTERS}}})*)"')
PUBLIC_MARK, RESTRICTED_MARK = "p", "r"


class UnchangedAnswer(NamedTuple):
    """What a tag says about an answer that the client already has.

    Attributes
    ----------
    tag
        The tag.
    is_public
        Whether everybody gets this answer.
    tables
        Tables that were read.
    """

    tag: str
    is_public: bool
    tables: tuple[Table, ...]


class _TableCodes(NamedTuple):
    """Short codes for the tables of a published state, which say nothing to those who do not know the state."""

    codes_by_name: Mapping[str, str]
    names_by_code: Mapping[str, str]


class TaggedRequest:
    """A request, and everything on which its answer depends.

    Parameters
    ----------
    request
        A request with the method GET or HEAD.
    published_state
        The state before the query is planned: if it changes meanwhile, the tag is out of date, and the answer is not.
    facts
        What else the answer depends on: the settings, the user's access, the portal and the parameters.

    Attributes
    ----------
    client_tags
        Entity tags of answers that the client already has; empty if it has none.
    """

    def __init__(self, request: Request, published_state: PublishedState, facts: Sequence[str]) -> None:
        scope = request.scope
        accept = host = b""
        self.client_tags = ""
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = value
            elif name == b"host":
                host = value
            elif name == b"if-none-match":
                self.client_tags = value.decode("latin-1")
        self._published_state = published_state
        texts = (*facts, published_state.version, scope["scheme"], scope["path"])
        encoded_facts = "\0".join(texts).encode("utf-8", "surrogatepass")
        self._digest = hashlib.sha256(b"\0".join((encoded_facts, accept, host)))

    def find_unchanged_answer(self) -> UnchangedAnswer | None:
        """Return what the client already has, if that is still the answer; None: the answer must be computed."""
        for number, match in enumerate(_TAG_PATTERN.finditer(self.client_tags)):
            if number >= MAX_CHECKED_TAGS:
                break
            notes = match[2]
            if match[1] == self._compute_digest(notes):
                tables = _list_coded_tables(notes[1:], self._published_state)
                return UnchangedAnswer(f'W/"{match[1]}-{notes}"', notes[0] == PUBLIC_MARK, tables)
        return None

    def build_tag(self, tables: Sequence[Table], *, is_public: bool) -> str:
        """Build the tag of an answer that is the same each time.

        Parameters
        ----------
        tables
            Tables that were read.
        is_public
            Whether everybody gets this answer.
        """
        notes = PUBLIC_MARK if is_public else RESTRICTED_MARK
        if len(tables) <= MAX_TAGGED_TABLES:
            version = self._published_state.version
            table_codes = _table_codes_by_version.get(version) or _create_table_codes(self._published_state)
            for table in tables:
                notes += table_codes.codes_by_name.get(table.qualified_name, "")
        return f'W/"{self._compute_digest(notes)}-{notes}"'

    def _compute_digest(self, notes: str) -> str:
        digest = self._digest.copy()
        digest.update(notes.encode())
        return digest.hexdigest()[:DIGEST_CHARACTERS]


def describe_tagged_settings(settings: Settings) -> str:
    """Describe the software and the settings on which answers depend.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    limits = settings.limits
    names = (settings.name, settings.title, settings.site_url, settings.root_path, settings.contact_email)
    authorities = (settings.authority, [(portal.name, portal.authority) for portal in settings.portals])
    return repr((__version__, names, authorities, limits.maxrec_default, limits.maxrec_hard))


_table_codes_by_version: dict[str, _TableCodes] = {}


def _create_table_codes(published_state: PublishedState) -> _TableCodes:
    version = published_state.version
    codes_by_name = {
        name: hashlib.sha256(f"{version}\0{name}".encode()).hexdigest()[:TABLE_CODE_CHARACTERS]
        for name in published_state.tables_by_name
    }
    if len(_table_codes_by_version) >= MAX_KEPT_VERSIONS:
        _table_codes_by_version.clear()
    table_codes = _TableCodes(codes_by_name, {code: name for name, code in codes_by_name.items()})
    _table_codes_by_version[version] = table_codes
    return table_codes


def _list_coded_tables(codes_text: str, published_state: PublishedState) -> tuple[Table, ...]:
    """Return the tables whose codes a tag has."""
    table_codes = _table_codes_by_version.get(published_state.version) or _create_table_codes(published_state)
    tables = []
    for start in range(0, len(codes_text), TABLE_CODE_CHARACTERS):
        name = table_codes.names_by_code.get(codes_text[start : start + TABLE_CODE_CHARACTERS])
        if name is not None:
            tables.append(published_state.tables_by_name[name].table)
    return tuple(tables)
