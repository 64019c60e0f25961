"""Generate requests to SITools2 whose answers show whether both services have the same records."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven.model.errors import HvenError
from hven.plugins.service_migration.comparison_queries import GeneratedRequests, draw_distinct_requests, is_number
from hven.plugins.service_migration.sitools_survey import PAGE_ROWS, find_sitools_root, list_objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.plugins.service_migration.remote_documents import RemoteDocumentReader
    from hven.plugins.service_migration.service_survey import ServiceSurvey, SurveyedTable

MAX_VALUE_CHARACTERS = 100
_VALUE_PATTERN = re.compile(r"[^|*\x00-\x1f]+")  # a filter divides its values by bars, and knows the asterisk


def draw_sitools_requests(
    survey: ServiceSurvey, documents: RemoteDocumentReader, count: int, seed: int
) -> GeneratedRequests:
    """Generate different requests for the data sets: their records, and how many fulfil conditions.

    Parameters
    ----------
    survey
        The service.
    documents
        Fetches records, from which the values in conditions come.
    count
        Number of requests; fewer if there are no more different ones.
    seed
        The same seed draws the same requests.
    """
    generator = random.Random(seed)  # noqa: S311  (nothing secret)
    root = find_sitools_root(survey.url)
    drawers = [_draw_targets(table, root, documents, generator) for table in survey.readable_tables]
    return draw_distinct_requests(drawers, count, {})


def _draw_targets(
    table: SurveyedTable, root: str, documents: RemoteDocumentReader, generator: random.Random
) -> Iterator[tuple[str, str]]:
    """Draw requests for a data set without end; both services have the same targets."""
    for target in _draw_paths(table, root, documents, generator):
        yield target, target


def _draw_paths(
    table: SurveyedTable, root: str, documents: RemoteDocumentReader, generator: random.Random
) -> Iterator[str]:
    yield _build_target(table, "count")
    records = _read_records(f"{root}{_build_target(table, 'records', start='0', limit=str(PAGE_ROWS))}", documents)
    if table.row_count is not None and table.row_count <= PAGE_ROWS:  # the order of longer lists is not defined
        yield _build_target(table, "records", start="0", limit=str(PAGE_ROWS))
    samples = {name: [record[name] for record in records if record.get(name) is not None] for name in table.columns}
    numbers = [name for name in table.columns if is_number(table.columns[name]) and _are_numbers(samples[name])]
    texts = [
        name
        for name in table.columns
        if table.columns[name]["type"] == "string" and all(map(_is_plain_text, samples[name])) and samples[name]
    ]
    keys = [name for name in table.primary if len(table.primary) == 1 and name in numbers]
    while True:
        if keys and generator.random() < 0.5:
            value = generator.choice(samples[keys[0]])
            condition = f"NUMERIC_BETWEEN|{keys[0]}|{value}|{value}"
            yield _build_target(table, "records", start="0", limit=str(PAGE_ROWS), **{"p[0]": condition})
        elif numbers and (not texts or generator.random() < 0.7):
            name = generator.choice(numbers)
            low, high = sorted(generator.choice(samples[name]) for _ in range(2))
            yield _build_target(table, "count", **{"p[0]": f"NUMERIC_BETWEEN|{name}|{low}|{high}"})
        elif texts:
            name = generator.choice(texts)
            condition = f"LISTBOXMULTIPLE|{name}|{generator.choice(samples[name])}"
            yield _build_target(table, "count", **{"p[0]": condition})
        else:
            yield _build_target(table, "count")


def _read_records(url: str, documents: RemoteDocumentReader) -> list[Mapping[str, Any]]:
    """Read the first records; without them, requests have no conditions."""
    try:
        return list_objects(documents.fetch(url).parse_json(), "data")
    except HvenError:
        return []


def _build_target(table: SurveyedTable, subpath: str, **parameters: str) -> str:
    return f"{table.name.rstrip('/')}/{subpath}?{urlencode({'media': 'json', **parameters})}"


def _are_numbers(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _is_plain_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_VALUE_CHARACTERS and bool(_VALUE_PATTERN.fullmatch(value))
