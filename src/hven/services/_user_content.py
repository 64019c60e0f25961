"""Send files of users from the site's own origin so that nothing in them runs as part of the site."""

from __future__ import annotations

import re

# a document that a browser opens by itself gets an origin of its own: no scripts, no forms, no requests
SANDBOX_HEADERS = {"content-security-policy": "sandbox; default-src 'none'", "x-content-type-options": "nosniff"}
PLAIN_TEXT_MEDIA_TYPE = "text/plain; charset=utf-8"
# The policy of the site's pages allows scripts, styles and modules from 'self': with one of these types, a page could
# load a user's file as such.
_EXECUTABLE_TYPE_PATTERN = re.compile(
    r".*(?:javascript|ecmascript|jscript|livescript).*|text/css|application/(?:wasm|manifest\+json)"
)


def choose_safe_media_type(media_type: str) -> tuple[str, bool]:
    """Return the media type with which a user's file is sent, and whether it differs from the declared one.

    With `nosniff`, browsers execute a script and apply a style by its media type alone, and the sandbox of the answer
    does not protect a page that loads it. Such a file is therefore sent as plain text, to be saved.

    Parameters
    ----------
    media_type
        Media type with which the file was published, or that a job's program declared.
    """
    essence = media_type.partition(";")[0].strip().lower()
    if _EXECUTABLE_TYPE_PATTERN.fullmatch(essence):
        return (PLAIN_TEXT_MEDIA_TYPE, True)
    return (media_type, False)
