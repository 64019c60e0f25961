"""The site as it will be once this ingest is published: tables made from others and the descriptor's tests are asked of it."""

from __future__ import annotations

import math
import textwrap
from dataclasses import replace
from datetime import date, time
from typing import TYPE_CHECKING

from hven import descriptor, query
from hven.ingest._report import TestResult
from hven.model import Keeping, literal
from hven.model.errors import Fault, HvenError, NotFound, Place, nearest
from hven.site import Policies, build, examples
from hven.site.auth import OWNER
from hven.site.watch import Seen, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import ExitStack

    import pyarrow as pa

    from hven.adql.tree import Query
    from hven.model.resource import Resource, Test
    from hven.model.table import Table
    from hven.query import Result
    from hven.site import Holdings, Site
    from hven.site.store import Record

ALL = 2**62  # rows: an ingest has no MAXREC
HOURS = 24 * 3600.0
FEW = 10  # rows of an example that are looked at


class Answer:
    """Batches with what is known of their columns: what the source kind ``query`` reads."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self.columns = result.columns

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._result.batches()


class Trial(Keeping):
    """What `query.run` needs of a site, over staged snapshots."""

    def __init__(self, site: Site, resource: Resource) -> None:
        super().__init__()
        self.engines = site.engines
        self.counters = site.counters
        self.settings = replace(
            site.settings, limits=replace(site.settings.limits, maxrec_default=ALL, maxrec_hard=ALL, seconds=HOURS)
        )
        resources = {**site.current().resources, resource.name: resource}
        self._seen = {name: Seen(name=name, stamp=(), files=(), resource=one) for name, one in resources.items()}
        present = site.store.current()[1]
        self._published = {name: record for name, record in present.items() if record.collection != resource.name}
        self._staged: dict[str, Record] = {}
        self._holdings: Holdings | None = None

    def add(self, record: Record) -> None:
        """Show a table that was staged."""
        self._staged[record.table.qualified] = record
        self._holdings = None

    def forget(self, records: Iterable[Record]) -> None:
        """Remove staged tables again."""
        for record in records:
            self._staged.pop(record.table.qualified, None)
        self._holdings = None

    def records(self, collection: str) -> list[Record]:
        """Return everything that is staged of a collection."""
        return [record for record in self._staged.values() if record.collection == collection]

    def current(self) -> Holdings:
        """Return the holdings with the staged tables in place of the collection's old ones."""
        if self._holdings is None:
            self._holdings = build({**self._published, **self._staged}, self._seen, policies=Policies(self.engines.of))
        return self._holdings

    def held(self) -> dict[str, Record]:
        """Return the tables as they will be: staged ones, and what is published of other collections."""
        return {**self._published, **self._staged}

    def rows(
        self,
        text: str | Query,
        inputs: dict[str, str],
        stack: ExitStack,
        uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    ) -> Answer:
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
        result = stack.enter_context(query.run(text, OWNER, site=self, uploads=uploads, steady=True))  # type: ignore[arg-type]
        held = self.held()
        inputs.update({table.qualified: held[table.qualified].id for table in result.tables if table.qualified in held})
        return Answer(result)

    def test(self, test: Test) -> TestResult:
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
    NotFound
        No such descriptor.
    DescriptorError
        It has faults.
    """
    resource = load(site, name)
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
    NotFound
        No such descriptor.
    DescriptorError
        It has faults.
    """
    resource = load(site, name)
    made = [item for item in examples(site.current(), OWNER, collection=name) if item.place is None]
    found = []
    for item in (*resource.examples, *made):
        place = item.place or Place(file=str(resource.path))
        try:
            with query.run(item.query, OWNER, site=site, maxrec=FEW) as result:
                rows = sum(batch.num_rows for batch in result.batches())
        except HvenError as error:
            found.append(Fault(message=f"the example {item.name!r} failed: {error}", place=place))
        else:
            if not rows:
                found.append(Fault(message=f"the example {item.name!r} gives no row", place=place, severity="warning"))
    return found


def load(site: Site, name: str) -> Resource:
    """Load a collection's descriptor as it is now.

    Raises
    ------
    NotFound
        There is none; the remedy lists those that are.
    DescriptorError
        It has faults.
    """
    known = files(site.settings)
    if name not in known:
        remedy = f"{nearest(name, known)} known: {', '.join(known) or 'none'}".lstrip()
        raise NotFound(f"there is no descriptor collections/{name}/{name}.yaml", remedy=remedy)
    seen = site.described(name)
    return seen.resource if seen and seen.resource and not seen.problem else descriptor.load(known[name], site.settings)


def run_test(site: Site | Trial, test: Test) -> TestResult:
    """Run one test of a descriptor; an error of its query is a failure."""
    name = test.name or textwrap.shorten(test.query, 80, placeholder=" ..")
    try:
        with query.run(test.query, OWNER, site=site) as result:  # type: ignore[arg-type]
            rows: list[dict[str, object]] = []
            wanted_rows = max(
                [1, *(len(wanted) + 1 for wanted in test.expect.values() if isinstance(wanted, list | tuple))]
            )
            count = 0
            for batch in result.batches():
                rows += batch.slice(0, max(wanted_rows - len(rows), 0)).to_pylist()
                count += batch.num_rows
    except HvenError as error:
        return TestResult(name=name, passed=False, message=str(error))
    wrong = [
        message for word, wanted in test.expect.items() if (message := _compare(word, wanted, rows, count)) is not None
    ]
    return TestResult(name=name, passed=not wrong, message="; ".join(wrong))


def _compare(word: str, wanted: object, rows: list[dict[str, object]], count: int) -> str | None:
    first = rows[0] if rows else {}
    lower = {name.lower(): name for name in first}
    value: object
    if word.lower() in lower:
        name = lower[word.lower()]
        value = first[name]
        if isinstance(wanted, list | tuple) and not isinstance(value, list):
            return _column(word, list(wanted), [row[name] for row in rows], count)
    elif not count and wanted in ([], ()) and word != "rows":
        return None
    elif word == "rows":
        value = count
    elif not count:
        return f"{word}: expected {wanted}, and there is no row"
    elif word in {"minimum", "maximum"}:
        return _bound(word, wanted, next(iter(first.values())))
    else:
        return f"the query gives no column {word!r}; it gives {', '.join(first)}"
    return None if _same(value, wanted) else f"{word} is {value}, expected {wanted}"


def _column(word: str, wanted: list[object], found: list[object], count: int) -> str | None:
    """Compare the values of a column with a list, one for each row."""
    for number, (value, item) in enumerate(zip(found, wanted, strict=False), 1):
        if not _same(value, item):
            return f"{word} is {value} in row {number}, expected {item}"
    return None if count == len(wanted) else f"{word}: {len(wanted)} values are expected, and there are {count} rows"


def _bound(word: str, wanted: object, value: object) -> str | None:
    if not isinstance(value, (int, float)):
        return f"the first value is {value}, which has no {word}"
    low = word == "minimum"
    limit = literal.number(str(wanted))
    return (
        None
        if (value >= limit if low else value <= limit)
        else f"the first value is {value}, expected {'at least' if low else 'at most'} {wanted}"
    )


def _same(value: object, wanted: object) -> bool:
    """Compare as a person means it: 12 = 12.0 = "12"; floats to nine digits."""
    if value is None or wanted is None:
        return value is None and wanted is None
    if isinstance(value, bool):
        return str(value).lower() == str(wanted).lower()
    if isinstance(value, (int, float)):
        try:
            number = literal.number(str(wanted))
        except ValueError:
            return False
        if isinstance(value, int) and isinstance(number, int):
            return value == number
        return (
            value == number
            or math.isclose(value, number, rel_tol=1e-9, abs_tol=1e-12)
            or (math.isnan(value) and math.isnan(number))
        )
    return str(value.isoformat() if isinstance(value, (date, time)) else value) == str(wanted)
