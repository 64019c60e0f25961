"""Its tests: the contract of sources."""

import datetime as dt

from hven.testing.source import SourceContract


class TestNights(SourceContract):
    kind = "nights"
    has_files = False
    rows = [{"night": night, "noon": dt.datetime(2026, 1, 1 + night, 12)} for night in range(3)]

    def write_source_files(self, directory):
        return {"first": "2026-01-01", "nights": 3}
