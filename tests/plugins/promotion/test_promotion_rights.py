"""What counts as wider rights of a promoted table: another policy or embargo, unless it is clearly narrower."""

from __future__ import annotations

from pathlib import Path

import pytest
from promotion_sites import SitePair, create_sites, promote_collection

from hven.model.errors import ConflictError
from hven.model.table import RowAccessPolicy
from hven.plugins.promotion.metadata_differences import is_narrower_policy
from hven.plugins.promotion.promotion import PromotionOptions
from hven.plugins.promotion.promotion_reports import PromotionReport

DESCRIPTOR = """\
collection: stars
title: Stars {version}
tables:
  main:
    primary: id
    access: {{{{rows: "POLICY"}}}}
    columns:
      id: {{type: int32}}
      version: {{type: int32}}
      obs_release_date: {{type: timestamp}}
    embargo: {{{{from: obs_release_date, months: MONTHS, column: released}}}}
    source: {{kind: csv, files: main.csv}}
"""


@pytest.fixture
def sites(tmp_path: Path) -> SitePair:
    return create_sites(tmp_path)


def publish_stars(pair: SitePair, policy: str, months: int) -> None:
    """Publish a table with a policy and an embargo on the test site."""
    text = DESCRIPTOR.replace("POLICY", policy).replace("MONTHS", str(months)).replace("{{", "{").replace("}}", "}")
    directory = pair.dev / "collections/stars"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "stars.yaml").write_text(text.replace("{{", "{").replace("}}", "}").replace("{version}", "1"))
    (directory / "main.csv").write_text("id,version,obs_release_date\n1,1,2020-01-01T00:00:00\n")
    with pair.open_dev() as site:
        from hven.ingest.api.runs import ingest_collection

        ingest_collection(site, "stars")


def promote(pair: SitePair, *widened_tables: str) -> PromotionReport:
    with pair.open_dev() as dev, pair.open_gold() as gold:
        return promote_collection(dev, gold, "stars", PromotionOptions(widened_tables=frozenset(widened_tables)))


@pytest.mark.parametrize(
    ("new", "old", "is_narrower"),
    [
        ("released <= now AND version = 1", "released <= now", True),
        ("version = 1 AND released <= now", "released <= now", True),
        ("version = 1 AND (released <= now AND id > 3)", "released <= now", True),
        ("released <= now", "released <= now OR version = 1", True),
        ("released <= now OR version = 1", "released <= now", False),
        ("released <= now", "released <= now AND version = 1", False),
        ("released <= now AND version = 1 OR id = 1", "released <= now", False),
        ("released < now", "released <= now", False),
        (None, "released <= now", False),
        ("released <= now", None, True),
    ],
)
def test_policies(new: str | None, old: str | None, is_narrower: bool) -> None:
    assert is_narrower_policy(RowAccessPolicy(rows=new), RowAccessPolicy(rows=old)) is is_narrower


def test_other_parts_of_policies() -> None:
    policy = RowAccessPolicy(rows="a = 1", files="b = 1", take="c = 1")
    assert is_narrower_policy(policy, None)
    assert not is_narrower_policy(None, policy)
    assert is_narrower_policy(RowAccessPolicy(rows="a = 1", files="b = 1", take="c = 1 AND d = 1"), policy)
    assert not is_narrower_policy(RowAccessPolicy(rows="a = 1", files="b = 1"), policy)
    assert not is_narrower_policy(RowAccessPolicy(rows="a = 1", files="b = 1", take="c = 1", path="p"), policy)


def test_each_wider_table_needs_its_name_and_both_policies_are_told(sites: SitePair) -> None:
    publish_stars(sites, "released <= now", 24)
    promote(sites)
    publish_stars(sites, "released <= now AND version = 1", 24)
    assert promote(sites).run is not None, "a narrower policy needs no word"
    publish_stars(sites, "version = 1", 24)
    with pytest.raises(
        ConflictError, match=r"rows: released <= now AND version = 1 -> public, rows: version = 1"
    ) as caught:
        promote(sites, "stars.other")
    assert "--widen stars.main" in str(caught.value)
    assert promote(sites, "stars.main").run is not None


def test_another_embargo_needs_a_word(sites: SitePair) -> None:
    publish_stars(sites, "released <= now", 24)
    promote(sites)
    publish_stars(sites, "released <= now", 0)
    with pytest.raises(ConflictError, match=r"embargo: 24 months .* embargo: 0 months"):
        promote(sites)
    assert promote(sites, "stars.main").run is not None
