"""Select files of a list by patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.sources.remote_stores import is_pattern_match

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources.remote_stores import RemoteFileFacts


def select_files(
    facts_by_path: Mapping[str, RemoteFileFacts], patterns: Sequence[str], ignore_patterns: Sequence[str]
) -> Iterator[tuple[str, RemoteFileFacts]]:
    """Yield the files that patterns match, in the order of their paths.

    Parameters
    ----------
    facts_by_path
        The facts of the files.
    patterns, ignore_patterns
        As for `hven.sources.remote_stores.RemoteStore.list_files`.
    """
    for path, fact in sorted(facts_by_path.items()):
        if is_pattern_match(path, patterns, ignore_patterns):
            yield path, fact
