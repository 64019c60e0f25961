"""A service to inject faults into, and a validation that reaches it without a network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tap_server import TapServer
from valid_service import build_valid_service

from hven.plugins.lint.validation import LintReport, LintRequestLimits, validate_service
from hven.sources import http_client


@pytest.fixture
def tap_server() -> TapServer:
    return build_valid_service()


@pytest.fixture
def judge_server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LintReport]:
    """Validate a server without a network."""

    def judge(world: TapServer, *only: str, rows: int = 1000) -> LintReport:
        def exchange(
            method: str, url: str, *, form_fields=(), byte_limit=1 << 25, **_: object
        ) -> http_client.HttpAnswer:
            parts = urlsplit(url)
            given = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **dict(form_fields)}
            if not parts.path.startswith("/tap/"):
                return http_client.HttpAnswer(
                    status=404, headers={"content-type": "text/html"}, body=b"<html>not here</html>", url=url
                )
            status, headers, body = world.answer(method, parts.path.removeprefix("/tap/"), given)
            return http_client.HttpAnswer(
                status=status,
                headers={name.lower(): value for name, value in headers.items()},
                body=body.encode(),
                url=url,
            )

        monkeypatch.setattr(http_client, "send_request_once", exchange)
        found = validate_service(
            world.base, selected_codes=only, limits=LintRequestLimits(row_limit=rows, pause_seconds=0.0)
        )
        if world.database is not None:
            world.database.close()
        return found

    return judge
