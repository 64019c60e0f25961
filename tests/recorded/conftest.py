"""Recorded answers do not depend on the load of the machine."""

from long_timeouts import long_page_timeouts

__all__ = ["long_page_timeouts"]
