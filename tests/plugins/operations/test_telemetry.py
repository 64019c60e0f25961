"""Metrics have names as Prometheus wants them; the alert rules use these metrics, and promtool accepts both."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from asgi_client import Client

from hven.app._server.application import create_and_start_application
from hven.model.settings import load_settings
from hven.plugins.operations.alert_rules import format_alert_rules, list_alert_rules
from hven.site import Site
from process_runner import run_hven
from requirements import require_program
from star_descriptors import write_stars_descriptor

BASE_UNITS = ("_seconds", "_bytes", "_ratio", "_total", "_info")
# metrics of the first scrape only, which has no errors, damages and failures
RARE_METRICS = {"hven_query_errors_total", "hven_collection_verified_timestamp_seconds", "hven_collection_failures"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("telemetry")
    run_hven("init", place / "site")
    (place / "stars.csv").write_text("name,ra,dec\nVega,279.235,38.784\n")
    write_stars_descriptor(place / "site", place / "stars.csv")
    run_hven("ingest", "stars", "--site", place / "site")
    with (place / "site/hven.toml").open("a") as file:
        file.write("[health]\nopen = true\n")
    return place / "site"


@pytest.fixture(scope="module")
def metrics(directory: Path) -> str:
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        client.ask("GET", "/help")
        client.get("/tap/sync", LANG="ADQL", QUERY="SELECT name FROM stars.main", REQUEST="doQuery")
        return client.ask("GET", "/metrics").text


def list_types(metrics: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", metrics, re.MULTILINE))


def test_names_end_in_units(metrics: str) -> None:
    types = list_types(metrics)
    assert len(types) > 15
    for name, kind in types.items():
        assert name.startswith("hven_")
        assert (kind == "counter") is name.endswith("_total"), name
        assert "_time_seconds" not in name.replace("start_time_seconds", ""), name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)\b", name), name
        assert kind != "histogram" or name.endswith(BASE_UNITS), name


def test_rules_use_metrics_that_there_are(directory: Path, metrics: str) -> None:
    rules = list_alert_rules(load_settings(directory), "hven")
    used = {name for rule in rules for name in re.findall(r"hven_\w+", rule.expression)}
    assert used - list_types(metrics).keys() <= RARE_METRICS
    source = (Path(__file__).parents[3] / "src/hven/jobs/metrics.py").read_text()
    assert [name for name in used & RARE_METRICS if f'"{name.removeprefix("hven_")}"' not in source] == []
    groups = yaml.safe_load(run_hven("alerts", "--site", directory, "--job", 'a"b').stdout)["groups"]
    assert [rule["alert"] for rule in groups[0]["rules"]] == [rule.name for rule in rules]
    assert groups[0]["rules"][0]["expr"] == 'up{job="a\\"b"} == 0'


def test_sites_that_verify_nothing_need_no_rule_for_it(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text('name = "x"\n[health]\nverify_days = 0\n')
    names = [rule.name for rule in list_alert_rules(load_settings(tmp_path), "hven")]
    assert "HvenFilesNotVerified" not in names
    assert len(names) + 1 == len(list_alert_rules(load_settings(directory), "hven"))


def run_promtool(*words: object, stdin: str = "") -> str:
    program = require_program("promtool")
    done = subprocess.run([program, *map(str, words)], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.outside
def test_promtool_accepts_the_metrics(metrics: str) -> None:
    assert run_promtool("check", "metrics", stdin=metrics) == ""


@pytest.mark.outside
def test_promtool_accepts_and_tests_the_rules(directory: Path, tmp_path: Path) -> None:
    rules = list_alert_rules(load_settings(directory), "hven")
    (tmp_path / "rules.yaml").write_text(format_alert_rules(rules))
    assert f"SUCCESS: {len(rules)} rules found" in run_promtool("check", "rules", tmp_path / "rules.yaml")
    labels = 'job="hven", instance="a"'
    series = {
        f"up{{{labels}}}": "0x60",
        f'hven_check{{{labels}, check="engines"}}': "0x60",
        f'hven_check{{{labels}, check="disk"}}': "0.5x60",
        f'hven_check{{{labels}, check="store"}}': "1x60",
        f'hven_collection_damaged{{{labels}, collection="stars"}}': "0x9 1x50",
        f'hven_collection_state{{{labels}, collection="stars", state="stale"}}': "1x60",
        f'hven_collection_state{{{labels}, collection="moons", state="fresh"}}': "1x60",
        f'hven_collection_failures{{{labels}, collection="stars"}}': "3x60",
        f'hven_collection_failures{{{labels}, collection="moons"}}': "2x60",
        f'hven_requests_total{{{labels}, face="tap", status="5xx"}}': "0+2x60",
        f'hven_requests_total{{{labels}, face="tap", status="2xx"}}': "0+90x60",
        f'hven_query_errors_total{{{labels}, kind="Overloaded"}}': "0+60x60",
        f'hven_query_errors_total{{{labels}, kind="ParseError"}}': "0+60x60",
        f'hven_disk_free_bytes{{{labels}, directory="/data"}}': "60000000-100000x200",
        f'hven_disk_free_bytes{{{labels}, directory="/large"}}': "9000000000000-100000x200",
        f'hven_collection_verified_timestamp_seconds{{{labels}, collection="stars"}}': "-9999999x90",
    }
    expected = {
        "HvenDown": [{}],
        "HvenCheckFailed": [{"check": "engines"}],
        "HvenCheckWarning": [{"check": "disk"}],
        "HvenRowsDamaged": [{"collection": "stars"}],
        "HvenCollectionStale": [{"collection": "stars", "state": "stale"}],
        "HvenCollectionFails": [{"collection": "stars"}],
        "HvenServerErrors": [{}],
        "HvenQueriesFail": [{"kind": "Overloaded"}],
        "HvenDiskFills": [{"directory": "/data"}],
        "HvenDiskFull": [{"directory": "/data"}],
        "HvenFilesNotVerified": [{"collection": "stars"}],
    }
    assert set(expected) == {rule.name for rule in rules}
    summed = {"HvenServerErrors", "HvenQueriesFail"}  # over the labels of the job
    severities = {rule.name: rule.severity for rule in rules}
    texts = yaml.safe_load(format_alert_rules(rules))["groups"][0]["rules"]
    annotations = {rule["alert"]: rule["annotations"] for rule in texts}

    def fill(name: str, labels: dict[str, str]) -> dict[str, str]:
        filled = json.dumps(annotations[name]).replace("{{ $value }}", "3")
        for label, value in labels.items():
            filled = filled.replace(f"{{{{ $labels.{label} }}}}", value)
        return dict(json.loads(filled))

    times = {"HvenFilesNotVerified": "70m", "HvenDiskFills": "140m"}
    tests = [
        {
            "eval_time": times.get(name, "30m"),
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": {"instance": "a", "severity": severities[name]}
                    | ({} if name in summed else {"job": "hven"})
                    | labels,
                    "exp_annotations": fill(name, labels),
                }
                for labels in alerts
            ],
        }
        for name, alerts in expected.items()
    ]
    quiet = [{"eval_time": "1m", "alertname": name, "exp_alerts": []} for name in ("HvenDown", "HvenRowsDamaged")]
    suite = {
        "rule_files": [str(tmp_path / "rules.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [*tests, *quiet],
            }
        ],
    }
    (tmp_path / "tests.yaml").write_text(json.dumps(suite))
    assert "SUCCESS" in run_promtool("test", "rules", tmp_path / "tests.yaml")
