"""One query over tables of two engines gives what one engine gives over the same tables; what is copied is narrowed first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hven import query
from hven.model.errors import HvenError, StorageError, TooLargeError
from hven.model.settings import QueryLimits, Settings
from hven.model.table import Table, build_columns_from_arrow
from hven.plugins.federated_queries.federated_plan import FederatedPlan
from hven.query import _planning
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import build_table_from_arrow, publish_rows
from plugin_needs import build_settings
from postgres_cluster import run_server
from second_engine import OTHER_NAME, register_other_engine

NUMBERS = np.random.default_rng(4)
STARS, LOGS, GRANULES = 5000, 2000, 700


def build_tables() -> dict[str, pa.Table]:
    stars = pa.table(
        {
            "star": np.arange(STARS),
            "ra": NUMBERS.uniform(0, 360, STARS),
            "dec": np.degrees(np.arcsin(NUMBERS.uniform(-1, 1, STARS))),
            "mag": NUMBERS.normal(12, 2, STARS),
        }
    )
    logs = pa.table(
        {
            "entry": np.arange(LOGS),
            "star": pa.array(NUMBERS.integers(0, STARS, LOGS), mask=NUMBERS.random(LOGS) < 0.02),
            "night": [f"n{number % 40:02d}" for number in range(LOGS)],
        }
    )
    granules = pa.table(
        {
            "granule": [f"g{number}" for number in range(GRANULES)],
            "entry": NUMBERS.integers(0, LOGS, GRANULES),
            "bulk": pa.array(NUMBERS.integers(0, 9, GRANULES), pa.int32()),
        }
    )
    return {"sky.stars": stars, "obs.logs": logs, "data.granules": granules}


TABLES = build_tables()


def site_of(directory: Path, homes: dict[str, str], postgres: str | None = None, **limits: Any) -> Site:
    brought = {}
    if postgres is not None:
        namespace = f"x{len(homes)}{min(homes, default='')[:3]}"
        brought["postgres"] = build_settings("postgres", url=postgres, namespace=namespace)
    site = Site(
        Settings(
            directory=directory,
            limits=QueryLimits(**limits),
            brought=brought,
        )
    )
    for name, rows in TABLES.items():
        described = build_table_from_arrow(name, rows)
        keyed = tuple(
            column.copy_with(indexed=column.name in {"star", "entry"})
            for column in (described.columns if described else build_columns_from_arrow(rows.schema))
        )
        publish_rows(site, described.copy_with(columns=keyed), rows, engine_name=homes.get(name, "duckdb"))
    site.refresh_published_state()
    return site


@pytest.fixture(scope="module")
def other_engine() -> Iterator[Any]:
    with register_other_engine() as module:
        yield module


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, other_engine: Any) -> Iterator[Site]:
    with site_of(tmp_path_factory.mktemp("alone"), {}) as site:
        yield site


HOMES = [
    *(
        dict.fromkeys(names, OTHER_NAME)
        for names in (["obs.logs"], ["sky.stars"], ["data.granules"], ["sky.stars", "data.granules"])
    ),
    *(
        pytest.param(dict.fromkeys(names, "postgres"), marks=pytest.mark.outside)
        for names in (["obs.logs"], ["sky.stars"], ["sky.stars", "data.granules"])
    ),
]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_server() as address:
        yield f"postgresql://{address}"


@pytest.fixture(
    scope="module",
    params=HOMES,
    ids=lambda homes: "+".join((*(name.partition(".")[2] for name in homes), *set(homes.values()))),
)
def mixed_site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, other_engine: Any
) -> Iterator[Site]:
    postgres = request.getfixturevalue("database") if "postgres" in request.param.values() else None
    with site_of(tmp_path_factory.mktemp("mixed"), request.param, postgres) as site:
        yield site


def rows(site: Site, text: str, **how: Any) -> list[tuple[Any, ...]]:
    with query.run_query(text, site=site, **how) as result:
        table = result.read_table()
        assert len(set(table.column_names)) == len(table.column_names)
        values = (
            [round(value, 9) if isinstance(value, float) else value for value in row.values()]
            for row in table.to_pylist()
        )
        return sorted((tuple(row) for row in values), key=repr)


CONE = "1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE(120, 10, 20))"
JOIN = "sky.stars AS s JOIN obs.logs AS l ON s.star = l.star"
ALL = f"{JOIN} JOIN data.granules AS g ON g.entry = l.entry"
QUERIES = [
    f"SELECT s.star, s.mag, l.night, g.granule FROM {ALL} WHERE {CONE}",
    f"SELECT s.star, g.bulk FROM {ALL} WHERE {CONE} AND g.bulk > 4 AND l.night <> 'n07'",
    f"SELECT COUNT(*) AS n FROM {ALL}",
    f"SELECT l.night, COUNT(*) AS n, AVG(s.mag) AS m FROM {JOIN} WHERE s.mag < 11 GROUP BY l.night HAVING COUNT(*) > 2",
    "SELECT s.star, l.entry FROM sky.stars AS s LEFT JOIN obs.logs AS l ON s.star = l.star AND l.night = 'n05' WHERE s.star < 300",
    "SELECT s.star, l.entry FROM sky.stars AS s LEFT JOIN obs.logs AS l ON s.star = l.star WHERE s.star < 300 AND l.entry IS NULL",
    "SELECT s.star, l.entry FROM sky.stars AS s LEFT JOIN obs.logs AS l ON s.star = l.star WHERE l.night = 'n05'",
    "SELECT l.entry, s.mag FROM sky.stars AS s RIGHT JOIN obs.logs AS l ON s.star = l.star AND s.mag > 12 WHERE l.entry < 200",
    "SELECT s.star, l.entry FROM sky.stars AS s FULL JOIN obs.logs AS l ON s.star = l.star AND s.mag > 15 WHERE COALESCE(s.star, 1) < 50",
    "SELECT star, night, granule FROM sky.stars JOIN obs.logs USING (star) NATURAL JOIN data.granules WHERE star < 500",
    f"SELECT s.star FROM sky.stars AS s WHERE {CONE} AND s.star IN (SELECT l.star FROM obs.logs AS l WHERE l.night = 'n03')",
    f"SELECT s.star FROM sky.stars AS s WHERE {CONE} AND s.star NOT IN (SELECT l.star FROM obs.logs AS l WHERE l.star IS NOT NULL)",
    f"SELECT s.star FROM sky.stars AS s WHERE {CONE} AND EXISTS (SELECT 1 FROM obs.logs AS l WHERE l.star = s.star AND s.mag > 11)",
    "SELECT s.star, (SELECT COUNT(*) FROM obs.logs AS l WHERE l.star = s.star) AS n FROM sky.stars AS s WHERE s.star < 60",
    "SELECT star FROM sky.stars WHERE star < 50 UNION SELECT entry FROM obs.logs WHERE night = 'n01' UNION ALL SELECT entry FROM data.granules WHERE bulk = 3",
    "WITH few AS (SELECT star, mag FROM sky.stars WHERE mag < 8) SELECT f.star, l.night FROM few AS f JOIN obs.logs AS l ON f.star = l.star",
    "SELECT d.star, d.n, s.mag FROM (SELECT star, COUNT(*) AS n FROM obs.logs GROUP BY star) AS d JOIN sky.stars AS s ON d.star = s.star WHERE d.n > 2",
    "SELECT a.entry, b.entry AS other FROM obs.logs AS a JOIN obs.logs AS b ON a.star = b.star AND a.entry < b.entry JOIN sky.stars AS s ON s.star = a.star",
    "SELECT TOP 5 s.star, l.entry FROM sky.stars AS s JOIN obs.logs AS l ON s.star = l.star ORDER BY s.mag, l.entry",
    f"SELECT s.star FROM sky.stars AS s, obs.logs AS l WHERE s.star = l.star AND {CONE} AND (l.night = 'n01' OR s.mag < 12)",
    f"SELECT COUNT(*) AS n FROM sky.stars AS s, data.granules AS g WHERE {CONE} AND g.bulk = 1 AND s.mag < 9",
    "SELECT s.star, l.entry FROM sky.stars AS s JOIN obs.logs AS l ON s.star = l.star WHERE s.star = -1",
    "SELECT l.entry FROM (sky.stars AS s LEFT JOIN obs.logs AS l ON s.star = l.star) JOIN data.granules AS g ON g.entry = l.entry WHERE s.mag < 10",
    "SELECT s.star, g.granule FROM sky.stars AS s LEFT JOIN (obs.logs AS l JOIN data.granules AS g ON g.entry = l.entry AND g.bulk > 5) ON l.star = s.star WHERE g.bulk < 8",
]  # fmt: skip


@pytest.mark.parametrize("text", QUERIES)
def test_the_answer_is_that_of_one_engine(alone: Site, mixed_site: Site, text: str) -> None:
    expected = rows(alone, text)
    assert rows(mixed_site, text) == expected


@pytest.mark.parametrize("text", QUERIES[:4])
def test_rows_that_a_policy_hides_are_not_copied(alone: Site, mixed_site: Site, text: str) -> None:
    policies = build_odd_rows_hidden_policies("star")
    expected = rows(alone, text, policies=policies)
    assert rows(mixed_site, text, policies=policies) == expected
    # what a reader is told is the plan without the policy; what is copied is in the plan that runs
    assert query.explain_query(text, ANONYMOUS_PRINCIPAL, site=mixed_site, policies=policies).startswith(
        "rows that you are not allowed to see"
    )
    request = _planning.create_query_request(text, ANONYMOUS_PRINCIPAL, mixed_site, policies)
    told = _planning.plan_query(request).prepared.plan.explain()
    filtered = "after the filter of the rows that the reader may see" in told
    assert filtered == any(f": {name} (" in told for name in ("sky.stars", "obs.logs"))


def test_a_plan_is_used_again_with_other_values(alone: Site, mixed_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"SELECT s.star, l.night, g.granule FROM {ALL} WHERE 1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE({{}}, {{}}, 15)) AND g.bulk > {{}}"
    first = rows(mixed_site, text.format(40, 0, 2))
    monkeypatch.setattr(FederatedPlan, "__init__", None)  # nothing is planned any more
    assert rows(mixed_site, text.format(200, 30, 1)) == rows(alone, text.format(200, 30, 1)) != first


def test_uploads_join_tables_of_both_engines(alone: Site, mixed_site: Site) -> None:
    mine = pa.table({"id": pa.array([5, 80, 1200, 3], pa.int64())})
    described = Table(schema="TAP_UPLOAD", name="mine", columns=tuple(build_columns_from_arrow(mine.schema)))
    text = "SELECT m.id, s.mag, l.night FROM TAP_UPLOAD.mine AS m JOIN sky.stars AS s ON s.star = m.id LEFT JOIN obs.logs AS l ON l.star = s.star JOIN data.granules AS g ON g.entry = l.entry"
    uploads = {"TAP_UPLOAD.mine": (described, mine)}
    assert rows(mixed_site, text, uploads=uploads) == rows(alone, text, uploads=uploads)


def test_keys_of_few_rows_narrow_what_is_copied(tmp_path: Path, other_engine: Any) -> None:
    text = f"SELECT s.star, l.night FROM {JOIN} WHERE {CONE}"
    with site_of(tmp_path, {"obs.logs": OTHER_NAME}, copy_rows=400) as site, site_of(tmp_path / "x", {}) as whole:
        assert rows(site, text) == rows(whole, text)
        told = query.explain_query(text, site=site)
        assert "duckdb computes the answer" in told
        assert "copied to duckdb from other: obs.logs (star, night)" in told
        assert "keys sky.stars.star" in told
        with pytest.raises(
            TooLargeError, match=r"more than 400 rows or .* of obs\.logs would have to be copied from other to duckdb"
        ):
            rows(site, f"SELECT s.star, l.night FROM {JOIN}")


def test_more_keys_than_allowed_are_not_sent(tmp_path: Path, other_engine: Any) -> None:
    text = f"SELECT s.star, l.night FROM {JOIN} WHERE {CONE}"
    with site_of(tmp_path, {"obs.logs": OTHER_NAME}, copy_keys=10) as site, site_of(tmp_path / "x", {}) as whole:
        assert rows(site, text) == rows(whole, text)


def test_bytes_are_limited_too(tmp_path: Path, other_engine: Any) -> None:
    with (
        site_of(tmp_path, {"obs.logs": OTHER_NAME}, copy_bytes=1000) as site,
        pytest.raises(TooLargeError, match="1,000 bytes"),
    ):
        rows(site, f"SELECT s.star, l.night FROM {JOIN}")


def test_an_engine_that_is_away_stops_its_own_tables_only(
    tmp_path: Path, other_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hven.site._engine_registry.REOPEN_DELAY_SECONDS", 600.0)
    with site_of(tmp_path, {"obs.logs": OTHER_NAME}):
        pass
    other_engine.away = True
    try:
        with Site(Settings(directory=tmp_path)) as site:
            assert len(rows(site, "SELECT star FROM sky.stars")) == STARS
            with pytest.raises(StorageError, match="does not respond"):
                rows(site, "SELECT entry FROM obs.logs")
            with pytest.raises(HvenError, match="does not respond"):
                rows(site, QUERIES[0])
            opened = other_engine.opened
            with pytest.raises(StorageError, match="does not respond"):
                rows(site, "SELECT night FROM obs.logs")
            assert other_engine.opened == opened, "it is not tried again at once"
    finally:
        other_engine.away = False


def test_a_mixed_query_can_be_stopped(mixed_site: Site) -> None:
    result = query.run_query(QUERIES[0], site=mixed_site)
    execution = result.begin_execution()
    execution.cancel()
    with pytest.raises(HvenError):
        list(result.iterate_batches())


def test_a_time_limit_is_that_of_the_whole(mixed_site: Site) -> None:
    with pytest.raises(HvenError, match="time limit of"):
        rows(mixed_site, QUERIES[0], timeout_seconds=1e-9)
