"""What was published then: by time, snapshot and run; what is not kept is said, and only to who may know of it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven import query
from hven.model.errors import BindError, NotFound, ParamError
from hven.model.table import Column, Table
from hven.model.types import parse_type as type_of
from hven.site._site import LOOK
from hven.site.auth._permit import ANONYMOUS, OWNER
from hven.testing.site import publish, tiny_site


def rows(n):
    return pa.table({"id": pa.array(range(n), pa.int32())})


def count(site, as_of=None, table="a.t", who=OWNER):
    with query.run(f"SELECT COUNT(*) AS n FROM {table}", who, site=site, as_of=as_of) as result:
        return next(iter(result.batches())).to_pylist()[0]["n"]


def test_as_of(tmp_path, clock):
    with tiny_site(tmp_path, {"a.t": rows(1), "b.t": rows(10)}) as site:
        first = site.store.history("b")[0].at
        states = []
        for n in (2, 3, 4):
            record = publish(site, site.current().published["a.t"].table, rows(n))
            states.append((record, site.store.history("a")[0].at))
        site.refresh()
        assert count(site) == 4
        assert [count(site, at) for _, at in states] == [2, 3, 4]
        assert [count(site, record.id) for record, _ in states] == [2, 3, 4]
        assert count(site, first) == 1
        assert count(site, states[0][0].id, "b.t") == 10
        assert count(site, first.replace("Z", "+00:00")) == 1
        assert count(site, states[-1][1][:10]) == 4  # at the end of that day
        with pytest.raises(
            ParamError, match=r"a\.t was not published yet at 1999-01-01T23:59:59.999999Z; it was first at 20"
        ):
            count(site, "1999-01-01")
        with pytest.raises(BindError, match=r"no table 'a\.none'"):
            count(site, "1999-01-01", "a.none")
        with pytest.raises(ParamError, match="'nonsense' is no time, and no snapshot or run"):
            count(site, "nonsense")
        site.engines.drop(site.store.prune("a", 2))
        site.refresh()
        clock.move(LOOK)  # as long as a state is remembered
        assert count(site, states[1][1]) == 3
        with pytest.raises(NotFound, match=r"a.t as it was at .* is not kept any more; kept since "):
            count(site, states[0][1])
        assert count(site, states[0][1], "b.t") == 10
        again = {
            query.run("SELECT id FROM a.t", OWNER, site=site, as_of=at).version
            for at in (None, states[1][1], states[2][1])
        }
        assert len(again) == 2  # the state of now and that of the last publication are one


def test_a_private_table_that_is_gone_is_not_told_of(tmp_path):
    table = Table(schema="p", name="t", columns=(Column(name="id", type=type_of("int32")),), access="private")
    with tiny_site(tmp_path, {"p.t": (table, rows(1))}) as site:
        at = site.store.history("p")[0].at
        for n in (2, 3):
            publish(site, table, rows(n))
        site.engines.drop(site.store.prune("p", 1))
        site.refresh()
        with pytest.raises(NotFound, match="not kept"):
            count(site, at, "p.t", OWNER)
        with pytest.raises(BindError) as told:
            count(site, at, "p.t", ANONYMOUS)
        assert "kept" not in str(told.value)


def test_what_was_taken_away_stays_away(tmp_path):
    with tiny_site(tmp_path, {"a.t": rows(1), "b.t": rows(10)}) as site:
        at = site.store.history("b")[0].at
        site.store.remove("a")
        site.refresh()
        assert count(site, at, "b.t") == 10
        with pytest.raises(BindError):
            count(site, at)
