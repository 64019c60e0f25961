"""The check list of HAPI: a good server has no findings, each planted fault is found by its own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finding_examples import choose_faults, keep_example
from hapi_server import HapiAnswer, HapiServer, serve

from hven.plugins.lint.validation import LintFinding, validate_service
from hven.plugins.series.lint.hapi_checks import HAPI_CHECKS

EXAMPLES = Path(__file__).with_name("examples.json")
CODES = {check.code for check in HAPI_CHECKS}
Spoil = Callable[[str, dict[str, str], HapiAnswer], object]


def find_faults(world: HapiServer) -> dict[str, LintFinding]:
    """Judge a server; return the first finding of each code."""
    with serve(world) as url:
        report = validate_service(url)
    assert report.is_judged, report.reason
    assert (report.versions["hapi"], report.tap_version) == (world.version, "")
    return {one.code: one for one in reversed(report.findings)}


def list_faults(world: HapiServer) -> set[str]:
    return set(find_faults(world))


def test_a_good_server_has_no_findings() -> None:
    assert list_faults(HapiServer()) == set()
    assert list_faults(HapiServer(version="3.0")) == set()


def spoil_endpoint(where: str, change: Callable[[HapiAnswer], object], **of: str) -> Spoil:
    """Change the good answers of an endpoint, to requests that say this."""

    def spoil(endpoint: str, given: dict[str, str], answer: HapiAnswer) -> None:
        if (
            endpoint == where
            and answer.status == 200
            and all(given.get(name, "") == value for name, value in of.items())
        ):
            change(answer)

    return spoil


def refusals(change: Callable[[HapiAnswer], object]) -> Spoil:
    return lambda _endpoint, _given, answer: change(answer) if answer.status >= 400 else None


def info(change: Callable[[dict[str, Any]], object]) -> Callable[[HapiServer], None]:
    def plant(world: HapiServer) -> None:
        change(world.info)

    return plant


def plant_spoiler(spoil: Spoil) -> Callable[[HapiServer], None]:
    def plant(world: HapiServer) -> None:
        world.alter_answer = spoil

    return plant


def body(change: Callable[[bytes], bytes]) -> Callable[[HapiAnswer], None]:
    def spoil(answer: HapiAnswer) -> None:
        answer.body = change(answer.body)

    return spoil


def parameter(at: int, **said: Any) -> Callable[[HapiServer], None]:
    return info(lambda one: one["parameters"][at].update(said))


def later(world: HapiServer) -> None:
    world.samples[60], world.samples[61] = world.samples[61], world.samples[60]
    world.samples[98], world.samples[97] = world.samples[97], world.samples[98]


FAULTS: list[tuple[str, Callable[[HapiServer], None], set[str]]] = [
    ("no about", plant_spoiler(spoil_endpoint("about", body(lambda _: b"<html>"))), {"hapi.document"}),
    ("an error as 200", plant_spoiler(spoil_endpoint("catalog", lambda one: one.edit(lambda doc: doc["status"].update(code=1500)), depth="")), {"hapi.status"}),
    ("text", plant_spoiler(spoil_endpoint("about", lambda one: setattr(one, "kind", "text/plain"))), {"hapi.media-type"}),
    ("no CORS", plant_spoiler(lambda _e, _g, one: one.headers.clear()), {"hapi.cors"}),
    ("no contact", plant_spoiler(spoil_endpoint("about", lambda one: one.edit(lambda doc: doc.pop("contact")))), {"hapi.about-key"}),
    ("no csv", plant_spoiler(spoil_endpoint("capabilities", lambda one: one.edit(lambda doc: doc.update(outputFormats=["binary"])))), {"hapi.formats"}),
    ("twice", plant_spoiler(spoil_endpoint("catalog", lambda one: one.edit(lambda doc: doc["catalog"].append({"id": "rays"})), depth="")), {"hapi.catalog"}),
    ("deep", plant_spoiler(spoil_endpoint("catalog", lambda one: one.edit(lambda doc: doc["catalog"][0]["info"].update(cadence="PT1S")), depth="all")), {"hapi.depth"}),
    ("backwards", info(lambda one: one.update(stopDate=one["startDate"])), {"hapi.info-key"}),
    ("cadence", info(lambda one: one.update(cadence="4 s")), {"hapi.info-key"}),
    ("no length", info(lambda one: one["parameters"][3].pop("length")), {"hapi.parameter"}),
    ("a number as fill", parameter(4, fill=-1), {"hapi.parameter"}),
    ("a large fill", parameter(4, fill="-2147483649"), {"hapi.parameter"}),
    ("empty units", parameter(1, units=""), {"hapi.parameter"}),
    ("units of the time", parameter(0, units="s"), {"hapi.time"}),
    ("bins", parameter(2, bins=[{"name": "f", "units": "MHz", "centers": [1, 2]}]), {"hapi.bins"}),
    ("bins of nothing", parameter(2, bins=[{"name": "f", "units": None, "centers": "nothing"}]), {"hapi.bins"}),
    ("subset", plant_spoiler(spoil_endpoint("info", lambda one: one.edit(lambda doc: doc["parameters"].reverse()), parameters="count")), {"hapi.subset"}),
    ("short line", plant_spoiler(spoil_endpoint("data", body(lambda text: text.replace(b",99\n", b"\n")), format="", include="")), {"hapi.record"}),
    ("wide text", parameter(3, length=2), {"hapi.record", "hapi.binary"}),
    ("half a line", plant_spoiler(spoil_endpoint("data", body(lambda text: text[:-1]), format="", include="")), {"hapi.record"}),
    ("no Z", plant_spoiler(spoil_endpoint("data", body(lambda text: text.replace(b"00Z,", b"000,")), format="", include="")), {"hapi.time-form", "hapi.header", "hapi.binary", "hapi.json"}),
    ("not in order", later, {"hapi.order"}),
    ("two at one time: no fault", lambda world: setattr(world, "samples", [*world.samples[:-3], *([world.samples[-3]] * 2), *world.samples[-2:]]), set()),
    ("big-endian", plant_spoiler(spoil_endpoint("data", body(lambda text: text[::-1]), format="binary")), {"hapi.binary"}),
    ("half a record", plant_spoiler(spoil_endpoint("data", body(lambda text: text[:-3]), format="binary")), {"hapi.binary"}),
    ("json without data", plant_spoiler(spoil_endpoint("data", lambda one: one.edit(lambda doc: doc.pop("data")), format="json")), {"hapi.json"}),
    ("header", plant_spoiler(spoil_endpoint("data", body(lambda text: text.replace(b'"format": "csv"', b'"form": 1')), format="", include="header")), {"hapi.header"}),
    ("something for nothing", plant_spoiler(lambda e, _g, one: setattr(one, "body", b"2003-10-28T00:00:00.000Z\n") if e == "data" and not one.body else None), {"hapi.nothing"}),
    ("another code", plant_spoiler(refusals(lambda one: one.edit(lambda doc: doc["status"].update(code=1499)))), {"hapi.code"}),
    ("teapot", plant_spoiler(refusals(lambda one: setattr(one, "status", 418))), {"hapi.http-status"}),
    ("all is well", plant_spoiler(refusals(lambda one: setattr(one, "status", 200))), {"hapi.refused"}),
    ("echo", plant_spoiler(lambda _e, given, one: one.edit(lambda doc: doc["status"].update(message=str(given))) if one.status >= 400 else None), {"hapi.echo"}),
    ("only new names", lambda world: setattr(world, "answer", _new_only(world.answer)), {"hapi.old-names"}),
    ("stop is within", lambda world: setattr(world, "alter_answer", _and_the_next(world)), {"hapi.outside"}),
]  # fmt: skip


def _new_only(answer: Callable[..., HapiAnswer]) -> Callable[..., HapiAnswer]:
    return lambda method, endpoint, pairs: answer(method, endpoint, [(name.replace("time.", "no."), value) for name, value in pairs])  # fmt: skip


def _and_the_next(world: HapiServer) -> Spoil:
    def spoil(endpoint: str, given: dict[str, str], answer: HapiAnswer) -> None:
        if (
            endpoint == "data"
            and answer.kind == "text/csv"
            and answer.body.count(b"\n") == 1
            and "include" not in given
        ):
            answer.body *= 2

    return spoil


SHOWING = choose_faults([(codes, plant) for _, plant, codes in FAULTS])


@pytest.mark.parametrize(("plant", "codes"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_planted_fault_is_found(
    plant: Callable[[HapiServer], None], codes: set[str], request: pytest.FixtureRequest
) -> None:
    world = HapiServer()
    plant(world)
    findings = find_faults(world)
    assert set(findings) == codes
    for code in sorted(codes):
        if SHOWING[code] is plant:
            keep_example(findings[code], update=request.config.getoption("--update"), file=EXAMPLES)


def test_every_check_can_fail() -> None:
    assert set().union(*(codes for *_, codes in FAULTS)) == CODES


def test_what_is_no_hapi_server_is_not_judged() -> None:
    world = HapiServer()
    world.alter_answer = spoil_endpoint("capabilities", body(lambda _: b"[]"))
    with serve(world) as url:
        report = validate_service(url)
    assert not report.is_judged
    assert "not a JSON object" in report.reason
