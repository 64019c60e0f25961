"""Its tests: the contract of formats, with a reader."""

import re

from hven.testing.format import FormatContract


class TestBars(FormatContract):
    name = "bars"

    def read_rows(self, data):
        names, *lines = [re.split(r"(?<!\\)\|", line) for line in data.decode().split("\n")[:-1]]
        assert all(len(line) == len(names) for line in lines)
        return [dict(zip(names, line, strict=True)) for line in lines]
