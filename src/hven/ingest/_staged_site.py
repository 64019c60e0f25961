"""The site as it will be after this ingest is published.

It answers the queries of tables that are made from others, and of the descriptor's tests.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import replace
from datetime import date, time
from typing import TYPE_CHECKING

from hven import descriptor, query
from hven.ingest._report import DescriptorTestResult
from hven.model import SingletonRegistry, literal
from hven.model.errors import Fault, HvenError, NotFoundError, TextPlace, suggest_spelling
from hven.site import AccessPolicyBinder, build_published_state, list_example_queries
from hven.site.auth import OWNER_PRINCIPAL
from hven.site.descriptor_watch import DescriptorState, find_descriptor_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import ExitStack

    import pyarrow as pa

    from hven.adql.syntax_tree import Query
    from hven.model.resource import CollectionSpec, QueryTest
    from hven.model.table import Table
    from hven.query import QueryResult
    from hven.site import PublishedState, Site
    from hven.site.store import SnapshotRecord

UNLIMITED_ROWS = 2**62  # an ingest has no MAXREC
QUERY_TIMEOUT_SECONDS = 24 * 3600.0
EXAMPLE_ROWS = 10  # rows that are read of an example


class QueryAnswer:
    """Batches with metadata of their columns, which the source kind ``query`` reads."""

    def __init__(self, result: QueryResult) -> None:
        self._result = result
        self.columns = result.columns

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._result.iterate_batches()


class StagedSite(SingletonRegistry):
    """The part of a site that `query.run_query` needs, with staged snapshots."""

    def __init__(self, site: Site, resource: CollectionSpec) -> None:
        super().__init__()
        self.engines = site.engines
        self.counters = site.counters
        self._obscore_view_builder = site.obscore_view_builder
        limits = replace(
            site.settings.limits,
            maxrec_default=UNLIMITED_ROWS,
            maxrec_hard=UNLIMITED_ROWS,
            seconds=QUERY_TIMEOUT_SECONDS,
        )
        self.settings = replace(site.settings, limits=limits)
        resources = {**site.get_published_state().resources, resource.name: resource}
        self._descriptor_states = {
            name: DescriptorState(name=name, stamp=(), files=(), resource=other_resource)
            for name, other_resource in resources.items()
        }
        published_records = site.store.read_published_records()[1]
        self._published = {
            name: record for name, record in published_records.items() if record.collection != resource.name
        }
        self._staged: dict[str, SnapshotRecord] = {}
        self._published_state: PublishedState | None = None

    def add_staged_record(self, record: SnapshotRecord) -> None:
        """Add a staged table.

        Parameters
        ----------
        record
            Its snapshot.
        """
        self._staged[record.table.qualified_name] = record
        self._published_state = None

    def remove_staged_records(self, records: Iterable[SnapshotRecord]) -> None:
        """Remove staged tables.

        Parameters
        ----------
        records
            Their snapshots.
        """
        for record in records:
            self._staged.pop(record.table.qualified_name, None)
        self._published_state = None

    def list_staged_records(self, collection: str) -> list[SnapshotRecord]:
        """Return all staged tables of a collection.

        Parameters
        ----------
        collection
            Name of the collection.
        """
        return [record for record in self._staged.values() if record.collection == collection]

    def get_published_state(self) -> PublishedState:
        """Return the published state, with the staged tables in place of the collection's old ones."""
        if self._published_state is None:
            self._published_state = build_published_state(
                {**self._published, **self._staged},
                self._descriptor_states,
                policies=AccessPolicyBinder(self.engines.find_engine),
                obscore_view_builder=self._obscore_view_builder,
            )
        return self._published_state

    def map_records_after_publication(self) -> dict[str, SnapshotRecord]:
        """Return the tables as they will be: staged tables, and published tables of other collections."""
        return {**self._published, **self._staged}

    def answer_query_and_record_inputs(
        self,
        text: str | Query,
        inputs: dict[str, str],
        stack: ExitStack,
        uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    ) -> QueryAnswer:
        """Answer a query for a table that is made from others.

        Parameters
        ----------
        text
            The query.
        inputs
            Receives the snapshots that the query reads.
        stack
            Closes the query at the end of the ingest.
        uploads
            Tables that exist for this query only.

        Returns
        -------
        answer
            Batches, until `stack` is closed.
        """
        query_result = query.run_query(
            text,
            OWNER_PRINCIPAL,
            site=self,  # type: ignore[arg-type]
            uploads=uploads,
            is_order_independent=True,
        )
        result = stack.enter_context(query_result)
        future_records = self.map_records_after_publication()
        for table in result.tables:
            record = future_records.get(table.qualified_name)
            if record is not None:
                inputs[table.qualified_name] = record.id
        return QueryAnswer(result)

    def run_descriptor_test(self, test: QueryTest) -> DescriptorTestResult:
        """Run one test of the descriptor over the staged tables.

        Parameters
        ----------
        test
            The test.

        Returns
        -------
        result
            Whether it passed, and what differs.
        """
        return run_descriptor_test(self, test)


def run_collection_tests(site: Site, collection: str) -> list[Fault]:
    """Run the tests of a collection's descriptor over the published tables.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.

    Returns
    -------
    faults
        The tests that fail, with their places.

    Raises
    ------
    NotFoundError
        The collection has no descriptor.
    DescriptorError
        The descriptor has faults.
    """
    resource = load_current_descriptor(site, collection)
    faults = []
    for test in resource.tests:
        result = run_descriptor_test(site, test)
        if not result.passed:
            message = f"the test {result.name} failed: {result.message}"
            faults.append(Fault(message=message, place=test.place))
    return faults


def run_collection_examples(site: Site, collection: str) -> list[Fault]:
    """Run the examples of a collection as ``/tap/examples`` shows them to the site's owner, generated ones included.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.

    Returns
    -------
    list of Fault
        An error for each example that fails; a warning for each that gives no row.

    Raises
    ------
    NotFoundError
        The collection has no descriptor.
    DescriptorError
        The descriptor has faults.
    """
    resource = load_current_descriptor(site, collection)
    all_examples = list_example_queries(site.get_published_state(), OWNER_PRINCIPAL, collection=collection)
    generated_examples = [example for example in all_examples if example.place is None]
    faults = []
    for example in (*resource.examples, *generated_examples):
        place = example.place or TextPlace(file=str(resource.path))
        try:
            with query.run_query(example.query, OWNER_PRINCIPAL, site=site, maxrec=EXAMPLE_ROWS) as result:
                row_count = sum(batch.num_rows for batch in result.iterate_batches())
        except HvenError as error:
            faults.append(Fault(message=f"the example {example.name!r} failed: {error}", place=place))
            continue
        if not row_count:
            message = f"the example {example.name!r} returns no rows"
            faults.append(Fault(message=message, place=place, severity="warning"))
    return faults


def load_current_descriptor(site: Site, collection: str) -> CollectionSpec:
    """Load the current descriptor of a collection.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.

    Returns
    -------
    resource
        The collection as its descriptor is now.

    Raises
    ------
    NotFoundError
        There is no such descriptor; the remedy lists those that exist.
    DescriptorError
        The descriptor has faults.
    """
    descriptor_files = find_descriptor_files(site.settings)
    if collection not in descriptor_files:
        remedy = f"create it with `hven new {collection} --from FILE`"
        if descriptor_files:
            known_names = ", ".join(descriptor_files)
            remedy = f"{suggest_spelling(collection, descriptor_files)} use one of {known_names}".lstrip()
        raise NotFoundError(f"there is no descriptor collections/{collection}/{collection}.yaml", remedy=remedy)
    descriptor_state = site.read_descriptor(collection)
    if descriptor_state and descriptor_state.resource and not descriptor_state.problem:
        return descriptor_state.resource
    return descriptor.load_descriptor(descriptor_files[collection], site.settings)


def run_descriptor_test(site: Site | StagedSite, test: QueryTest) -> DescriptorTestResult:
    """Run one test of a descriptor; an error of its query is a failure."""
    name = test.name or textwrap.shorten(test.query, 80, placeholder=" ..")
    # a list is compared with one row more than it has, to find out that there are too many
    wanted_rows = 1
    for expected_values in test.expected_values.values():
        if isinstance(expected_values, list | tuple):
            wanted_rows = max(wanted_rows, len(expected_values) + 1)
    try:
        with query.run_query(test.query, OWNER_PRINCIPAL, site=site) as result:  # type: ignore[arg-type]
            rows: list[dict[str, object]] = []
            row_count = 0
            for batch in result.iterate_batches():
                rows += batch.slice(0, max(wanted_rows - len(rows), 0)).to_pylist()
                row_count += batch.num_rows
    except HvenError as error:
        return DescriptorTestResult(name=name, passed=False, message=str(error))
    failure_messages = []
    for expectation, expected in test.expected_values.items():
        message = _compare_expectation(expectation, expected, rows, row_count)
        if message is not None:
            failure_messages.append(message)
    return DescriptorTestResult(name=name, passed=not failure_messages, message="; ".join(failure_messages))


# each kind of expectation has its own return
def _compare_expectation(  # noqa: PLR0911
    expectation: str, expected: object, rows: list[dict[str, object]], row_count: int
) -> str | None:
    first_row = rows[0] if rows else {}
    names_by_lower_case = {name.lower(): name for name in first_row}
    value: object
    if expectation.lower() in names_by_lower_case:
        name = names_by_lower_case[expectation.lower()]
        value = first_row[name]
        if isinstance(expected, list | tuple) and not isinstance(value, list):
            return _compare_column_values(expectation, list(expected), [row[name] for row in rows], row_count)
    elif not row_count and expected in ([], ()) and expectation != "rows":
        return None
    elif expectation == "rows":
        value = row_count
    elif not row_count:
        return f"{expectation}: expected {expected}, but there is no row"
    elif expectation in {"minimum", "maximum"}:
        return _compare_bound(expectation, expected, next(iter(first_row.values())))
    else:
        return f"the query returns no column {expectation!r}; it returns {', '.join(first_row)}"
    if _is_same_value(value, expected):
        return None
    return f"{expectation} is {value}, expected {expected}"


def _compare_column_values(
    column_name: str, expected_values: list[object], actual_values: list[object], row_count: int
) -> str | None:
    """Compare the values of a column with a list, one value for each row."""
    pairs = zip(actual_values, expected_values, strict=False)
    for row_number, (value, expected) in enumerate(pairs, 1):
        if not _is_same_value(value, expected):
            return f"{column_name} is {value} in row {row_number}, expected {expected}"
    if row_count == len(expected_values):
        return None
    return f"{column_name}: {len(expected_values)} values are expected, but there are {row_count} rows"


def _compare_bound(bound_name: str, expected: object, value: object) -> str | None:
    if not isinstance(value, (int, float)):
        return f"the first value is {value}, which does not have {bound_name}"
    limit = literal.parse_number(str(expected))
    if bound_name == "minimum":
        is_within, comparison = value >= limit, "at least"
    else:
        is_within, comparison = value <= limit, "at most"
    if is_within:
        return None
    return f"the first value is {value}, expected {comparison} {expected}"


# each type of value has its own return
def _is_same_value(value: object, expected: object) -> bool:  # noqa: PLR0911
    """Compare two values as people do: 12 = 12.0 = "12"; floats to nine digits."""
    if value is None or expected is None:
        return value is None and expected is None
    if isinstance(value, bool):
        return str(value).lower() == str(expected).lower()
    if isinstance(value, (int, float)):
        try:
            number = literal.parse_number(str(expected))
        except ValueError:
            return False
        if isinstance(value, int) and isinstance(number, int):
            return value == number
        if math.isnan(value) and math.isnan(number):
            return True
        return value == number or math.isclose(value, number, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(value, (date, time)):
        value_text = value.isoformat()
    else:
        value_text = str(value)
    return value_text == str(expected)
