"""Responses that are computed while they are sent, and their compression."""

from __future__ import annotations

from hven.services._content_encoding import choose_encoding
from hven.services._streamed_responses import answer_with_stream

__all__ = ["answer_with_stream", "choose_encoding"]
