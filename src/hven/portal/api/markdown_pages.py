"""Pages of Markdown that people write for a site: news and help, and how pages show them."""

from __future__ import annotations

from hven.portal._pages.markdown import MAX_FILE_BYTES, render_markdown, split_first_heading
from hven.portal._views.notes import NEWS_FILE_PATTERN, NewsAndHelpCache

__all__ = [
    "MAX_FILE_BYTES",
    "NEWS_FILE_PATTERN",
    "NewsAndHelpCache",
    "render_markdown",
    "split_first_heading",
]
