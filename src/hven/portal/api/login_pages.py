"""The page to log in: other ways to log in show it with an error, and begin sessions of browsers."""

from __future__ import annotations

from hven.portal._views.login_page import (
    begin_browser_session_and_redirect,
    render_login_page,
    sanitize_return_path,
    send_login_error,
)

__all__ = ["begin_browser_session_and_redirect", "render_login_page", "sanitize_return_path", "send_login_error"]
