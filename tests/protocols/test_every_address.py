"""No address answers with a fault of ours, whatever it is asked: addresses and parameters are those of the application itself."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from request_fuzzer import DATES, VALUES, RequestFuzzer, build_site

KEPT = [  # requests that were once a fault of the service
    ("GET", "/collections/odd/main/points", b"seen=0001-01-01"),
    ("GET", "/collections/odd/main/rows", b"_asof=" + b"x" * 100_000),
    ("GET", "/tap/sync", b"LANG=ADQL&QUERY=SELECT+id+FROM+odd.main&ASOF=" + b"x" * 100_000),
    ("HEAD", "/assets/sky/" + "%C3%A9" * 200, b""),
]


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RequestFuzzer]:
    site = build_site(tmp_path_factory.mktemp("odd"))
    made = RequestFuzzer(site)
    yield made
    made.close()
    site.close()


@pytest.mark.parametrize(("method", "path", "query"), KEPT)
def test_what_was_once_a_fault(asker: RequestFuzzer, method: str, path: str, query: bytes) -> None:
    assert asker.ask(method, path, query) == ""


def test_each_address_tells_its_parameters(asker: RequestFuzzer) -> None:
    """Else the others try nothing."""
    assert len(asker.routes) > 100
    for path, known in {
        "/tap/sync": {"QUERY", "LANG", "MAXREC", "UPLOAD", "RESPONSEFORMAT", "ASOF"},
        "/cone/{table}": {"RA", "DEC", "SR"},
        "/collections/{name}/{table}/points": {"_x", "_y", "_c", "_asof"},
        "/tap/async/{job}": {"WAIT", "PHASE", "ACTION"},
    }.items():
        assert known <= asker.names[path]


def test_at_random(asker: RequestFuzzer) -> None:
    """Other requests each time; HVEN_SEED repeats them."""
    seed = int(os.environ.get("HVEN_SEED", random.randrange(1 << 30)))
    assert asker.run_rounds([seed, seed + 1]) == []


@pytest.mark.parametrize("name", ["seen", "mjd", "id"])
def test_dates_at_the_edge(asker: RequestFuzzer, name: str) -> None:
    given = [f"{name}={date}".encode() for date in DATES]
    assert [wrong for query in given if (wrong := asker.ask("GET", "/collections/odd/main/count", query))] == []


def test_every_value_of_a_query_s_parameters(asker: RequestFuzzer) -> None:
    assert len(VALUES) > 90
    assert asker.try_edge_values([route for route in asker.routes if route.path == "/cone/{table}"]) == []
