"""Files that somebody else wrote, sent from the site's own origin: nothing of them runs as if it were the site's."""

from __future__ import annotations

import re

# a document that is opened by itself is in an origin of its own: no scripts, no forms, nothing is fetched
SANDBOX_HEADERS = {"content-security-policy": "sandbox; default-src 'none'", "x-content-type-options": "nosniff"}
PLAIN_TEXT_MEDIA_TYPE = "text/plain; charset=utf-8"
# types by which a page of this site could load a file as its script, style or module, for all that its policy allows is
# 'self'
_EXECUTABLE_TYPE_PATTERN = re.compile(
    r".*(?:javascript|ecmascript|jscript|livescript).*|text/css|application/(?:wasm|manifest\+json)"
)


def choose_safe_media_type(media_type: str) -> tuple[str, bool]:
    """Return the media type with which a user's file is sent, and whether it was changed.

    Browsers execute a script, and apply a style, by its media type alone (`nosniff`); the sandbox of the answer does
    not hold for a page that loads it. So such a file is sent as plain text, to be saved.

    Parameters
    ----------
    media_type
        As it was published, or as a job's program says it.
    """
    essence = media_type.partition(";")[0].strip().lower()
    if _EXECUTABLE_TYPE_PATTERN.fullmatch(essence):
        return (PLAIN_TEXT_MEDIA_TYPE, True)
    return (media_type, False)


__all__ = ["PLAIN_TEXT_MEDIA_TYPE", "SANDBOX_HEADERS", "choose_safe_media_type"]
