"""`hven.sky` as its how-to shows it, and its names."""

from __future__ import annotations

import inspect
import re

import pytest

from hven import sky
from shared import ROOT

PAGE = (ROOT / "docs/howto/regions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_page_runs(number: int, capsys: pytest.CaptureFixture[str]):
    exec(compile(BLOCKS[number], f"regions.md, block {number + 1}", "exec"), {})
    told = capsys.readouterr().out
    if number == 0:
        assert "[16  0] ['exact' ''] [Fault(row=1, name='open'" in told
        assert "bytes" in told
    else:
        assert "is not between -90 and 90 degrees" in told


def test_names_are_few_and_say_what_they_are():
    assert len(sky.__all__) <= 25
    assert all(inspect.getdoc(getattr(sky, name)) for name in sky.__all__)
    functions = [getattr(sky, name) for name in sky.__all__ if inspect.isfunction(getattr(sky, name))]
    assert len(functions) >= 12
    for one in functions:
        for section in ("Parameters\n-", "Returns\n-"):
            assert section in (inspect.getdoc(one) or ""), one
