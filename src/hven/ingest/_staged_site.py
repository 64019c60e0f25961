"""The site as it will be once this ingest is published.

Tables made from others and the descriptor's tests are asked of it.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import replace
from datetime import date, time
from typing import TYPE_CHECKING

from hven import descriptor, query
from hven.ingest._report import TestResult
from hven.model import SingletonRegistry, literal
from hven.model.errors import Fault, HvenError, NotFoundError, Place, suggest_spelling
from hven.site import AccessPolicyBinder, build_published_state, list_example_queries
from hven.site.auth import OWNER_PRINCIPAL
from hven.site.descriptor_watch import DescriptorState, find_descriptor_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import ExitStack

    import pyarrow as pa

    from hven.adql.syntax_tree import Query
    from hven.model.resource import QueryTest, Resource
    from hven.model.table import Table
    from hven.query import QueryResult
    from hven.site import PublishedState, Site
    from hven.site.store import SnapshotRecord

UNLIMITED_ROWS = 2**62  # rows: an ingest has no MAXREC
QUERY_TIMEOUT_SECONDS = 24 * 3600.0
EXAMPLE_ROWS = 10  # rows of an example that are looked at


class QueryAnswer:
    """Batches with what is known of their columns: what the source kind ``query`` reads."""

    def __init__(self, result: QueryResult) -> None:
        self._result = result
        self.columns = result.columns

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._result.iterate_batches()


class StagedSite(SingletonRegistry):
    """What `query.run_query` needs of a site, over staged snapshots."""

    def __init__(self, site: Site, resource: Resource) -> None:
        super().__init__()
        self.engines = site.engines
        self.counters = site.counters
        self.settings = replace(
            site.settings,
            limits=replace(
                site.settings.limits,
                maxrec_default=UNLIMITED_ROWS,
                maxrec_hard=UNLIMITED_ROWS,
                seconds=QUERY_TIMEOUT_SECONDS,
            ),
        )
        resources = {**site.get_published_state().resources, resource.name: resource}
        self._descriptor_states = {
            name: DescriptorState(name=name, stamp=(), files=(), resource=other_resource)
            for name, other_resource in resources.items()
        }
        present = site.store.read_published_records()[1]
        self._published = {name: record for name, record in present.items() if record.collection != resource.name}
        self._staged: dict[str, SnapshotRecord] = {}
        self._published_state: PublishedState | None = None

    def add_record(self, record: SnapshotRecord) -> None:
        """Show a table that was staged."""
        self._staged[record.table.qualified_name] = record
        self._published_state = None

    def remove_records(self, records: Iterable[SnapshotRecord]) -> None:
        """Remove staged tables again."""
        for record in records:
            self._staged.pop(record.table.qualified_name, None)
        self._published_state = None

    def list_staged_records(self, collection: str) -> list[SnapshotRecord]:
        """Return everything that is staged of a collection."""
        return [record for record in self._staged.values() if record.collection == collection]

    def get_published_state(self) -> PublishedState:
        """Return the holdings with the staged tables in place of the collection's old ones."""
        if self._published_state is None:
            self._published_state = build_published_state(
                {**self._published, **self._staged},
                self._descriptor_states,
                policies=AccessPolicyBinder(self.engines.find_engine),
            )
        return self._published_state

    def list_future_records(self) -> dict[str, SnapshotRecord]:
        """Return the tables as they will be: staged ones, and what is published of other collections."""
        return {**self._published, **self._staged}

    def answer_query(
        self,
        text: str | Query,
        inputs: dict[str, str],
        stack: ExitStack,
        uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    ) -> QueryAnswer:
        """Answer a query for a table that is made from others.

        Parameters
        ----------
        uploads
            Tables that exist for this query only.
        inputs
            Takes which snapshots were read.
        stack
            Closes the query, however the ingest ends.
        """
        query_result = query.run_query(
            text,
            OWNER_PRINCIPAL,
            site=self,  # type: ignore[arg-type]
            uploads=uploads,
            order_independent=True,
        )
        result = stack.enter_context(query_result)
        future_records = self.list_future_records()
        inputs.update(
            {
                table.qualified_name: future_records[table.qualified_name].id
                for table in result.tables
                if table.qualified_name in future_records
            }
        )
        return QueryAnswer(result)

    def run_test(self, test: QueryTest) -> TestResult:
        """Run one test of the descriptor over what is staged."""
        return run_test(self, test)


def run_tests(site: Site, name: str) -> list[Fault]:
    """Run the tests of a collection's descriptor over what is published.

    Parameters
    ----------
    site
        Where.
    name
        Of the collection.

    Returns
    -------
    faults
        Those that fail, with their places.

    Raises
    ------
    NotFoundError
        No such descriptor.
    DescriptorError
        It has faults.
    """
    resource = load_current_descriptor(site, name)
    results = [(test, run_test(site, test)) for test in resource.tests]
    return [
        Fault(message=f"the test {result.name} failed: {result.message}", place=test.place)
        for test, result in results
        if not result.passed
    ]


def run_examples(site: Site, name: str) -> list[Fault]:
    """Run a collection's examples, written and made ones, as ``/tap/examples`` shows them to the site's owner.

    Parameters
    ----------
    site
        Where.
    name
        Of the collection.

    Returns
    -------
    list of Fault
        An error for each that fails; a warning for each that gives no row.

    Raises
    ------
    NotFoundError
        No such descriptor.
    DescriptorError
        It has faults.
    """
    resource = load_current_descriptor(site, name)
    generated_examples = [
        item
        for item in list_example_queries(site.get_published_state(), OWNER_PRINCIPAL, collection=name)
        if item.place is None
    ]
    faults = []
    for item in (*resource.examples, *generated_examples):
        place = item.place or Place(file=str(resource.path))
        try:
            with query.run_query(item.query, OWNER_PRINCIPAL, site=site, maxrec=EXAMPLE_ROWS) as result:
                rows = sum(batch.num_rows for batch in result.iterate_batches())
        except HvenError as error:
            faults.append(Fault(message=f"the example {item.name!r} failed: {error}", place=place))
        else:
            if not rows:
                faults.append(Fault(message=f"the example {item.name!r} gives no row", place=place, severity="warning"))
    return faults


def load_current_descriptor(site: Site, name: str) -> Resource:
    """Load a collection's descriptor as it is now.

    Raises
    ------
    NotFoundError
        There is none; the remedy lists those that are.
    DescriptorError
        It has faults.
    """
    descriptor_files = find_descriptor_files(site.settings)
    if name not in descriptor_files:
        remedy = f"{suggest_spelling(name, descriptor_files)} known: {', '.join(descriptor_files) or 'none'}".lstrip()
        raise NotFoundError(f"there is no descriptor collections/{name}/{name}.yaml", remedy=remedy)
    descriptor_state = site.read_descriptor(name)
    if descriptor_state and descriptor_state.resource and not descriptor_state.problem:
        return descriptor_state.resource
    return descriptor.load_descriptor(descriptor_files[name], site.settings)


def run_test(site: Site | StagedSite, test: QueryTest) -> TestResult:
    """Run one test of a descriptor; an error of its query is a failure."""
    name = test.name or textwrap.shorten(test.query, 80, placeholder=" ..")
    try:
        with query.run_query(test.query, OWNER_PRINCIPAL, site=site) as result:  # type: ignore[arg-type]
            rows: list[dict[str, object]] = []
            wanted_rows = max(
                [
                    1,
                    *(
                        len(expected_values) + 1
                        for expected_values in test.expected_values.values()
                        if isinstance(expected_values, list | tuple)
                    ),
                ]
            )
            count = 0
            for batch in result.iterate_batches():
                rows += batch.slice(0, max(wanted_rows - len(rows), 0)).to_pylist()
                count += batch.num_rows
    except HvenError as error:
        return TestResult(name=name, passed=False, message=str(error))
    failure_messages = [
        message
        for word, expected_values in test.expected_values.items()
        if (message := _compare_expectation(word, expected_values, rows, count)) is not None
    ]
    return TestResult(name=name, passed=not failure_messages, message="; ".join(failure_messages))


# each kind of expectation has its return
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
            return _compare_column(expectation, list(expected), [row[name] for row in rows], row_count)
    elif not row_count and expected in ([], ()) and expectation != "rows":
        return None
    elif expectation == "rows":
        value = row_count
    elif not row_count:
        return f"{expectation}: expected {expected}, and there is no row"
    elif expectation in {"minimum", "maximum"}:
        return _compare_bound(expectation, expected, next(iter(first_row.values())))
    else:
        return f"the query gives no column {expectation!r}; it gives {', '.join(first_row)}"
    if _is_same_value(value, expected):
        return None
    return f"{expectation} is {value}, expected {expected}"


def _compare_column(
    column_name: str, expected_values: list[object], found_values: list[object], row_count: int
) -> str | None:
    """Compare the values of a column with a list, one for each row."""
    for number, (value, item) in enumerate(zip(found_values, expected_values, strict=False), 1):
        if not _is_same_value(value, item):
            return f"{column_name} is {value} in row {number}, expected {item}"
    if row_count == len(expected_values):
        return None
    return f"{column_name}: {len(expected_values)} values are expected, and there are {row_count} rows"


def _compare_bound(bound_name: str, expected: object, value: object) -> str | None:
    if not isinstance(value, (int, float)):
        return f"the first value is {value}, which has no {bound_name}"
    is_minimum = bound_name == "minimum"
    limit = literal.parse_number(str(expected))
    if value >= limit if is_minimum else value <= limit:
        return None
    return f"the first value is {value}, expected {'at least' if is_minimum else 'at most'} {expected}"


# each type of value has its return
def _is_same_value(value: object, expected: object) -> bool:  # noqa: PLR0911
    """Compare as a person means it: 12 = 12.0 = "12"; floats to nine digits."""
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
    return str(value.isoformat() if isinstance(value, (date, time)) else value) == str(expected)
