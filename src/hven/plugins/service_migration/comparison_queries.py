"""Generate queries whose answers show whether two services have the same rows."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven.adql import quote_adql_name
from hven.model import plugins
from hven.model.errors import HvenError
from hven.plugins.drafts.column_guesses import to_adql_identifier
from hven.plugins.log_replay.request_logs import LoggedRequest
from hven.plugins.migration.column_conversion import list_position_columns
from hven.plugins.service_migration.collection_drafts import choose_column_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.plugins.service_migration.service_survey import ServiceSurvey, SurveyedTable
    from hven.sources import SourceContext

SAMPLE_ROWS = 200  # of each table; the values in conditions come from them
MAX_ANSWER_ROWS = 20_000
MAX_GROUPS_OF_SAMPLE = 20  # of a column by which a table with more rows than an answer is grouped
MAX_SELECTED_COLUMNS = 30
MAX_ROUNDS = 100_000  # attempts to draw queries that are different
MAX_TEXT_CHARACTERS = 200
NUMBER_TYPES = ("int", "float", "uint")
SYNC_PATH = "/sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedRequests:
    """Requests to both services.

    Attributes
    ----------
    requests
        The requests, with the number 1 each.
    new_targets
        Targets of the new service where they differ.
    """

    requests: list[tuple[LoggedRequest, int]]
    new_targets: dict[str, str]


def draw_distinct_requests(
    drawers: Sequence[Iterator[tuple[str, str]]], count: int, first_targets: Mapping[str, str]
) -> GeneratedRequests:
    """Draw different requests, one of each table in turn.

    Parameters
    ----------
    drawers
        Of each table: targets of the old and the new service, without end.
    count
        Number of requests; fewer if there are no more different ones.
    first_targets
        Requests that come first.
    """
    targets = dict(first_targets)
    for old_target, new_target in itertools.islice(
        itertools.chain.from_iterable(zip(*drawers, strict=True)), MAX_ROUNDS
    ):
        if len(targets) >= count:
            break
        targets.setdefault(old_target, new_target)
    chosen = list(targets.items())[:count]
    return GeneratedRequests(
        requests=[(LoggedRequest(target=target, status=None), 1) for target, _ in chosen],
        new_targets={target: new_target for target, new_target in chosen if target != new_target},
    )


class QueryGenerator:
    """Draws queries over the tables of a service.

    Parameters
    ----------
    survey
        The service.
    collections
        Schema of the service -> name of the collection.
    context
        Opens tables, from which rows are sampled.
    seed
        The same seed draws the same queries.
    """

    def __init__(
        self, survey: ServiceSurvey, collections: Mapping[str, str], context: SourceContext, *, seed: int = 1
    ) -> None:
        self._survey = survey
        self._collections = collections
        self._context = context
        self._random = random.Random(seed)  # noqa: S311  (nothing secret)

    def draw_requests(self, count: int) -> GeneratedRequests:
        """Generate different queries: the service's own examples first.

        Parameters
        ----------
        count
            Number of queries; fewer if there are no more different ones.
        """
        examples = [_build_target(example["query"]) for example in self._survey.examples]
        drawers = [self._draw_targets(table) for table in self._survey.readable_tables if self._is_migrated(table)]
        return draw_distinct_requests(drawers, count, dict(zip(examples, examples, strict=True)))

    def _is_migrated(self, table: SurveyedTable) -> bool:
        return table.source.get("kind") == "tap" and (table.schema or "main") in self._collections

    def _draw_targets(self, table: SurveyedTable) -> Iterator[tuple[str, str]]:
        """Draw queries of a table without end, as pairs of targets of the old and the new service."""
        new_name = f"{self._collections[table.schema or 'main']}.{to_adql_identifier(table.local_name, 'table')}"
        samples = self._read_samples(table)
        columns = {name: attributes for name, attributes in table.columns.items() if choose_column_name(name) == name}
        row_limit = min(MAX_ANSWER_ROWS, self._survey.row_limit or MAX_ANSWER_ROWS)
        writer = _QueryWriter(
            columns,
            samples,
            self._random,
            key=str(table.source.get("key", "")),
            may_overflow=table.row_count is None or table.row_count > row_limit,
        )
        for query in writer.draw_queries():
            old_query, new_query = query.replace("{table}", table.name), query.replace("{table}", new_name)
            yield _build_target(old_query), _build_target(new_query)

    def _read_samples(self, table: SurveyedTable) -> dict[str, list[Any]]:
        """Read values of some rows. Without them, queries have no conditions on values."""
        kind: Any = plugins.load_plugin("sources", "tap")
        try:
            source = kind.open(kind.Options(url=self._survey.url, table=table.name), self._context)
            batches = list(source.read_batches(list(table.columns), SAMPLE_ROWS))
        except HvenError:
            return {}
        samples: dict[str, list[Any]] = {}
        for batch in batches:
            for name, values in zip(batch.schema.names, batch.columns, strict=True):
                samples.setdefault(name, []).extend(value for value in values.to_pylist() if value is not None)
        return samples


class _QueryWriter:
    """Writes queries over one table, whose name is ``{table}``.

    Answers that are cut at a limit of rows have any of the rows. So of a table that `may_overflow` whole rows are
    requested by the key only, and other conditions by numbers of rows, minima and maxima.
    """

    def __init__(
        self,
        columns: Mapping[str, Mapping[str, Any]],
        samples: Mapping[str, Sequence[Any]],
        generator: random.Random,
        *,
        key: str,
        may_overflow: bool,
    ) -> None:
        if samples.get(key) and key in columns:
            self._key = key
        else:
            self._key = ""
        self._may_overflow = may_overflow
        self._columns = columns
        self._samples = samples
        self._random = generator
        self._numbers = [name for name in columns if is_number(columns[name]) and samples.get(name)]
        self._texts = [name for name in columns if columns[name]["type"] == "string" and samples.get(name)]

    def draw_queries(self) -> Iterator[str]:
        """Draw queries: first one for each column, then conditions on values."""
        yield "SELECT COUNT(*) AS n FROM {table}"
        for name in self._columns:
            quoted = quote_adql_name(name)
            if name in self._numbers:
                yield f"SELECT COUNT({quoted}) AS n, MIN({quoted}) AS low, MAX({quoted}) AS high FROM {{table}}"
            else:
                yield f"SELECT COUNT({quoted}) AS n FROM {{table}}"
        drawers = [self._draw_range, self._draw_text, self._draw_null, self._draw_group, self._draw_circle]
        if self._key:
            drawers.append(self._draw_row)
        while True:
            yield self._random.choice(drawers)()

    def _draw_range(self) -> str:
        if not self._numbers:
            return self._draw_null()
        name = self._random.choice(self._numbers)
        low, high = sorted(self._random.choice(self._samples[name]) for _ in range(2))
        quoted = quote_adql_name(name)
        return f"SELECT {self._draw_columns(name)} FROM {{table}} WHERE {quoted} BETWEEN {low!r} AND {high!r}"

    def _draw_row(self) -> str:
        value = self._random.choice(self._samples[self._key])
        if isinstance(value, str) and not value.isprintable():
            return self._draw_null()
        literal = repr(value)
        if isinstance(value, str):
            literal = _quote_text(value)
        names = ", ".join(map(quote_adql_name, list(self._columns)[:MAX_SELECTED_COLUMNS]))
        return f"SELECT {names} FROM {{table}} WHERE {quote_adql_name(self._key)} = {literal}"

    def _draw_text(self) -> str:
        if not self._texts:
            return self._draw_range()
        name = self._random.choice(self._texts)
        value = str(self._random.choice(self._samples[name]))
        if not value or len(value) > MAX_TEXT_CHARACTERS or not value.isprintable():
            return self._draw_null()
        condition = f"{quote_adql_name(name)} = {_quote_text(value)}"
        return f"SELECT {self._draw_columns(name)} FROM {{table}} WHERE {condition}"

    def _draw_null(self) -> str:
        if not self._columns:  # each has a name that ADQL does not allow
            return "SELECT COUNT(*) AS n FROM {table}"
        name = quote_adql_name(self._random.choice(list(self._columns)))
        return f"SELECT COUNT(*) AS n FROM {{table}} WHERE {name} IS NULL"

    def _draw_group(self) -> str:
        group_counts = {name: len(set(self._samples[name])) for name in self._texts}
        repeated = [name for name, count in group_counts.items() if count <= len(self._samples[name]) / 2]
        if self._may_overflow:
            repeated = [name for name in repeated if group_counts[name] <= MAX_GROUPS_OF_SAMPLE]
        if not repeated:
            return self._draw_range()
        name = quote_adql_name(self._random.choice(repeated))
        return f"SELECT {name}, COUNT(*) AS n FROM {{table}} GROUP BY {name}"

    def _draw_circle(self) -> str:
        position = list_position_columns(self._columns)
        if not position or not set(position) <= set(self._numbers):
            return self._draw_range()
        ra, dec = (self._random.choice(self._samples[name]) for name in position)
        if not (math.isfinite(ra) and -90 <= dec <= 90):
            return self._draw_null()
        radius = round(self._random.uniform(0.01, 30.0), 3)
        point = f"POINT({', '.join(map(quote_adql_name, position))})"
        return (
            f"SELECT {self._draw_columns(*position)} FROM {{table}} WHERE "
            f"1 = CONTAINS({point}, CIRCLE({float(ra)!r}, {float(dec)!r}, {radius}))"
        )

    def _draw_columns(self, *names: str) -> str:
        """Draw what a query selects: columns, or what an answer without the rows can tell."""
        if self._may_overflow:
            if not self._numbers:
                return "COUNT(*) AS n"
            name = quote_adql_name(self._random.choice(self._numbers))
            return f"COUNT(*) AS n, MIN({name}) AS low, MAX({name}) AS high"
        others = [name for name in self._columns if name not in names]
        count = min(len(others), MAX_SELECTED_COLUMNS, self._random.randint(1, 6))
        return ", ".join(map(quote_adql_name, [*names, *self._random.sample(others, count)]))


def _quote_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def is_number(attributes: Mapping[str, Any]) -> bool:
    """Return whether values of a column can be compared with numbers in the same way by all programs.

    Parameters
    ----------
    attributes
        Attributes of the column.
    """
    text = str(attributes["type"])
    # a condition on a float32 compares a rounded literal, which programs do in different ways
    return text.startswith(NUMBER_TYPES) and "[" not in text and text != "float32"


def _build_target(query: str) -> str:
    fields = {"REQUEST": "doQuery", "LANG": "ADQL", "FORMAT": "votable", "MAXREC": MAX_ANSWER_ROWS, "QUERY": query}
    return f"{SYNC_PATH}?{urlencode(fields)}"
