"""The reference lists all checks as the code has them: rewrite its tables with pytest --update."""

from __future__ import annotations

import json
import re

import pytest
from check_tables import write_check_tables
from tap_server import TapServer

from hven.plugins.lint.validation import CHECK_GROUPS, SEVERITIES
from shared import ROOT

PAGE = ROOT / "src/hven/plugins/lint/docs/lint-checks.md"
BEGIN, END = "<!-- checks: written by tests/plugins/lint/test_docs.py --update -->\n", "<!-- end of checks -->\n"


def test_the_reference_lists_all_checks(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n{write_check_tables(CHECK_GROUPS)}{END}{after}"
    if request.config.getoption("--update"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted, "run pytest tests/plugins/lint/test_docs.py --update"


def test_every_key_of_the_json_is_on_the_page(tap_server: TapServer, judge_server) -> None:
    tap_server.epn.rows[0]["target_class"] = "moon"
    told = judge_server(tap_server, "epn", rows=2).to_json()
    text = PAGE.read_text(encoding="utf-8").partition("## JSON")[2].partition("\n## ")[0]
    records = [told, *told["findings"], *told["looked"], {"group": "", "why": ""}, told["findings"][0]["example"]]
    assert sorted({key for record in records for key in record if f"`{key}`" not in text}) == []
    json.dumps(told)


def test_codes_are_well_made() -> None:
    codes = [check.code for group in CHECK_GROUPS for check in group.checks]
    assert len(codes) == len(set(codes))
    for group in CHECK_GROUPS:
        for check in group.checks:
            assert re.fullmatch(rf"{group.name}\.[a-z0-9]+(-[a-z]+)*", check.code)
            assert check.severity in SEVERITIES
            assert len(check.source) > 5
            assert len(check.remedy) > 5, check.code
            assert not check.summary.endswith(".")
            assert all(re.fullmatch(r"[EWIF]_\w{4}", one) for one in check.taplint_codes), check.code


def test_each_code_is_told_somewhere() -> None:
    """A check that nobody tells of would be a promise without a deed."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/hven/plugins/lint/groups").glob("*.py"))
    for group in CHECK_GROUPS:
        for check in group.checks:
            made = (
                check.code.endswith(".condition")
                or f'"{check.code}"' in source
                or re.search(rf'f"{group.name}\.{{[\w.]+}}(-(missing|shape))?"', source)
            )
            assert made, f"{check.code} is never told"
