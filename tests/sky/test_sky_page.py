"""`hven.sky` as its how-to shows it, and its names."""

from __future__ import annotations

import inspect
import re

import pytest

from hven import sky
from plugin_needs import has_package_objects, require_functions
from shared import ROOT

PAGE = (ROOT / "docs/howto/regions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


SHORT = {  # what people write who have one of something
    "sky.from_texts('Circle ICRS 10 20 1').regions": 1,
    "sky.Regions.from_circles([10, 20], 20, 1)": 2,
}
WRONG = {
    "sky.Regions.from_circles(10, 95, 1)": "a latitude is beyond 90 degrees: 95",
    "sky.Regions.from_lists([[(0, 0), (10, 10), (10, 0)]])": "regions must be a list of rows",
    "sky.Regions.from_lists([(0, 0), (10, 10), (10, 0)])": "regions must be a list of rows",
    "sky.write_moc(sky.Moc.parse('3/1'), 'fit')": "'fit' is not a format of MOC files; use fits, json or ascii",
}
NAMES = {"sky": sky}


@pytest.mark.parametrize("text", SHORT)
def test_one_of_something_need_not_be_a_column(text: str):
    found = eval(text, NAMES)
    assert len(found) == SHORT[text]
    assert not hasattr(found, "is_valid") or found.is_valid().all()


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said(text: str):
    with pytest.raises(ValueError, match=WRONG[text]):
        eval(text, NAMES)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_page_runs(number: int, capsys: pytest.CaptureFixture[str]):
    if "sky.chain_codes" in BLOCKS[number]:
        require_functions("chain_contour")
    exec(compile(BLOCKS[number], f"regions.md, block {number + 1}", "exec"), {})
    told = capsys.readouterr().out
    if number == 0:
        assert "[16  0] ['exact' ''] [ContourFault(row=1, name='open'" in told
        assert "bytes" in told
    else:
        assert "is not between -90 and 90 degrees" in told


def test_names_are_few_and_say_what_they_are():
    assert len(sky.__all__) <= 25
    assert all(inspect.getdoc(getattr(sky, name)) for name in sky.__all__)
    functions = [getattr(sky, name) for name in sky.__all__ if inspect.isfunction(getattr(sky, name))]
    assert len(functions) >= (12 if has_package_objects("sky_names") else 8)
    for one in functions:
        for section in ("Parameters\n-", "Returns\n-"):
            assert section in (inspect.getdoc(one) or ""), one
