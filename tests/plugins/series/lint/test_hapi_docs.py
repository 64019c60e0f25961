"""The page of the checks of HAPI lists them as the code has them: rewrite its table with pytest --update."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from check_tables import write_check_tables

from hven.plugins.lint.validation import SEVERITIES, list_check_groups
from hven.plugins.series.lint.hapi_checks import GROUP
from shared import ROOT

PAGE = ROOT / "src/hven/plugins/series/docs/hapi-lint-checks.md"
EXAMPLES = Path(__file__).with_name("examples.json")
BEGIN = "<!-- checks: written by tests/plugins/series/lint/test_hapi_docs.py --update -->\n"
END = "<!-- end of checks -->\n"


def test_the_reference_lists_all_checks(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n{write_check_tables([GROUP], EXAMPLES, '##')}{END}{after}"
    if request.config.getoption("--update"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted, "run pytest tests/plugins/series/lint --update"


def test_codes_are_well_made() -> None:
    codes = [check.code for group in list_check_groups() for check in group.checks]
    assert len(codes) == len(set(codes))
    for check in GROUP.checks:
        assert re.fullmatch(rf"{GROUP.name}\.[a-z0-9]+(-[a-z]+)*", check.code)
        assert check.severity in SEVERITIES
        assert len(check.source) > 5
        assert len(check.remedy) > 5, check.code
        assert not check.summary.endswith(".")


def test_each_code_is_told_somewhere() -> None:
    source = (ROOT / "src/hven/plugins/series/lint/hapi_checks.py").read_text(encoding="utf-8")
    for check in GROUP.checks:
        assert f'"{check.code}"' in source, f"{check.code} is never told"
