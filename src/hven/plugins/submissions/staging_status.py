"""What `hven status` says about staged files: who holds how many bytes, since when, and what expires next."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hven.plugins.submissions.submission_store import SubmissionStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.site import Site

STATUS_KEY = "staging"


def collect_status(site: Site) -> list[dict[str, Any]]:
    """List what each account has staged, as JSON values.

    Parameters
    ----------
    site
        The site.
    """
    return [asdict(total) for total in site.store.get_or_create(SubmissionStore).list_staged_totals()]


def format_status_lines(value: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write a line for each account.

    Parameters
    ----------
    value
        What `collect_status` returned.
    """
    for total in value:
        noun = "submission" if total["submissions"] == 1 else "submissions"
        expiry = f"; the first expires on {total['expires'][:10]}" if total["expires"] else ""
        yield (
            f"staged: {total['account']} has {total['bytes']:,} bytes in {total['submissions']} {noun}, "
            f"the oldest from {total['oldest'][:10]}{expiry}"
        )
