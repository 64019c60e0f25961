"""What was published then: by time, snapshot and run; what is not kept is said, and only to who may know of it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven import query
from hven.model.errors import BindError, NotFoundError, ParamError
from hven.model.table import Column, Table
from hven.model.types import parse_type as type_of
from hven.site._site import REFRESH_INTERVAL_SECONDS
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL
from hven.testing.site import open_tiny_site, publish_rows


def rows(n):
    return pa.table({"id": pa.array(range(n), pa.int32())})


def count(site, as_of=None, table="a.t", who=OWNER_PRINCIPAL):
    with query.run_query(f"SELECT COUNT(*) AS n FROM {table}", who, site=site, as_of=as_of) as result:
        return next(iter(result.iterate_batches())).to_pylist()[0]["n"]


def test_as_of(tmp_path, clock):
    with open_tiny_site(tmp_path, {"a.t": rows(1), "b.t": rows(10)}) as site:
        first = site.store.list_publication_events("b")[0].at
        states = []
        for n in (2, 3, 4):
            record = publish_rows(site, site.get_published_state().tables_by_name["a.t"].table, rows(n))
            states.append((record, site.store.list_publication_events("a")[0].at))
        site.refresh_published_state()
        assert count(site) == 4
        assert [count(site, at) for _, at in states] == [2, 3, 4]
        assert [count(site, record.id) for record, _ in states] == [2, 3, 4]
        assert count(site, first) == 1
        assert count(site, states[0][0].id, "b.t") == 10
        assert count(site, first.replace("Z", "+00:00")) == 1
        assert count(site, states[-1][1][:10]) == 4  # at the end of that day
        with pytest.raises(
            ParamError, match=r"a\.t was not yet published at 1999-01-01T23:59:59.999999Z; choose a time after 20"
        ):
            count(site, "1999-01-01")
        with pytest.raises(BindError, match=r"no table 'a\.none'"):
            count(site, "1999-01-01", "a.none")
        with pytest.raises(ParamError, match="'nonsense' is not a time, and there is no published snapshot or run"):
            count(site, "nonsense")
        site.engines.drop_snapshots_and_list_problems(site.store.prune_snapshots("a", 2))
        site.refresh_published_state()
        clock.move(REFRESH_INTERVAL_SECONDS)  # as long as a state is remembered
        assert count(site, states[1][1]) == 3
        with pytest.raises(NotFoundError, match=r"the state of a.t at .* is no longer kept; choose a time after "):
            count(site, states[0][1])
        assert count(site, states[0][1], "b.t") == 10
        again = {
            query.run_query("SELECT id FROM a.t", OWNER_PRINCIPAL, site=site, as_of=at).version
            for at in (None, states[1][1], states[2][1])
        }
        assert len(again) == 2  # the state of now and that of the last publication are one


def test_a_private_table_that_is_gone_is_not_told_of(tmp_path):
    table = Table(schema="p", name="t", columns=(Column(name="id", type=type_of("int32")),), access="private")
    with open_tiny_site(tmp_path, {"p.t": (table, rows(1))}) as site:
        at = site.store.list_publication_events("p")[0].at
        for n in (2, 3):
            publish_rows(site, table, rows(n))
        site.engines.drop_snapshots_and_list_problems(site.store.prune_snapshots("p", 1))
        site.refresh_published_state()
        with pytest.raises(NotFoundError, match="is no longer kept"):
            count(site, at, "p.t", OWNER_PRINCIPAL)
        with pytest.raises(BindError) as told:
            count(site, at, "p.t", ANONYMOUS_PRINCIPAL)
        assert "kept" not in str(told.value)


def test_what_was_taken_away_stays_away(tmp_path):
    with open_tiny_site(tmp_path, {"a.t": rows(1), "b.t": rows(10)}) as site:
        at = site.store.list_publication_events("b")[0].at
        site.store.unpublish_collection("a")
        site.refresh_published_state()
        assert count(site, at, "b.t") == 10
        with pytest.raises(BindError):
            count(site, at)
