"""What a server builds before it forks its workers: they share it, and each reads what has changed since."""

from __future__ import annotations

import os
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from hven import query
from hven.app._server import processes
from hven.app._server.application import ReloadingApplication
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import StorageError, StorageUnavailableError
from hven.site import Site
from hven.site.counters import SHARED_MEMORY_VARIABLE, create_shared_counter_memory
from hven.site.store import StateStore, mark_state_required
from hven.testing.site import open_site_with_uningested_files, open_tiny_site, publish_rows
from second_engine import OTHER_NAME, register_other_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hven.site import PublishedState

STARS = pa.table({"id": [1, 2, 3], "ra": [10.0, 20.0, 30.0]})


def run_in_fork(run: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run()
            code = 0
        except BaseException:  # noqa: BLE001  (a fork of the tests must end here)
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def list_open_files() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # of the listing itself
            found.add(str(path.readlink()))
    return found


@pytest.fixture
def preloaded_site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "hven.toml").touch()
    open_tiny_site(tmp_path, {"s.stars": STARS}).close()
    with Site(settings.load_settings(tmp_path, {}), is_preloading=True) as made:
        yield made


def count_rows(site: Site) -> int:
    with query.run_query("SELECT COUNT(*) AS n FROM s.stars WHERE ra + id > 0", site=site) as result:
        return int(result.read_table()["n"][0].as_py())


def test_a_fork_uses_what_was_built_and_no_connection_of_it(preloaded_site: Site) -> None:
    assert count_rows(preloaded_site) == 3
    state = preloaded_site.get_published_state()
    preloaded_site.prepare_forks()
    assert not [name for name in list_open_files() if name.startswith(str(preloaded_site.settings.var_directory))]

    def run() -> None:
        preloaded_site.start_published_state_refresh()
        assert preloaded_site.get_published_state() is state
        assert count_rows(preloaded_site) == 3
        preloaded_site.close()

    run_in_fork(run)
    run_in_fork(run)


def test_a_fork_reads_what_has_changed(preloaded_site: Site, tmp_path: Path) -> None:
    preloaded_site.prepare_forks()

    def publish() -> None:
        with Site(settings.load_settings(tmp_path, {})) as other:
            table = other.get_published_state().tables_by_name["s.stars"].table
            publish_rows(other, table, STARS.slice(0, 2))

    def run() -> None:
        preloaded_site.start_published_state_refresh()
        assert preloaded_site.get_published_state().tables_by_name["s.stars"].rows == 2
        assert count_rows(preloaded_site) == 2
        preloaded_site.close()

    run_in_fork(publish)
    run_in_fork(run)


def test_a_model_opens_no_database_besides_the_store(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").touch()
    descriptor = (
        f"collection: s\ntitle: S\nengine: {OTHER_NAME}\ntables:\n  stars:\n    source: {{kind: csv, files: a.csv}}\n"
    )
    with register_other_engine() as other_engine:
        with open_site_with_uningested_files(tmp_path, descriptor, {"a.csv": "id,ra\n1,10\n2,20\n"}) as site:
            ingest_collection(site, "s")
        opened = other_engine.opened
        with Site(settings.load_settings(tmp_path, {}), is_preloading=True) as preloaded_site:
            state = preloaded_site.get_published_state()
            relation = state.tables_by_name["s.stars"].relation
            assert relation is not None
            with pytest.raises(StorageUnavailableError, match="after the server's workers have started"):
                preloaded_site.engines.find_engine(relation)
            preloaded_site.prepare_forks()
            assert other_engine.opened == opened

            def run() -> None:
                preloaded_site.start_published_state_refresh()
                assert preloaded_site.get_published_state() is not state, "another engine might have said more"
                assert preloaded_site.get_published_state().version == state.version
                assert count_rows(preloaded_site) == 2
                preloaded_site.close()

            run_in_fork(run)


def test_a_fork_that_cannot_read_the_store_does_not_start(preloaded_site: Site) -> None:
    """What was published before the fork may be private by now."""
    preloaded_site.prepare_forks()
    mark_state_required(preloaded_site.settings.var_directory, preloaded_site.settings.store)
    (preloaded_site.settings.var_directory / "hven.sqlite").rename(
        preloaded_site.settings.var_directory / "away.sqlite"
    )

    def run() -> None:
        with pytest.raises(StorageError, match="is missing"):
            preloaded_site.start_published_state_refresh()

    run_in_fork(run)


def test_only_the_first_process_prepares_what_all_use(preloaded_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hven.site._site.REFRESH_INTERVAL_SECONDS", 0.01)
    called: list[str] = []

    def note(name: str) -> Callable[[PublishedState], None]:
        return lambda _: called.append(name)

    preloaded_site.add_change_listener(note("all"), is_first_process_only=True)
    preloaded_site.add_change_listener(note("own"))
    preloaded_site.prepare_forks()

    def run(*, is_first_process: bool, expected: list[str]) -> None:
        preloaded_site.start_published_state_refresh(is_first_process=is_first_process)
        end = time.monotonic() + 60
        while called[-1:] != ["own"] and time.monotonic() < end:
            time.sleep(0.01)
        assert called == expected

    run_in_fork(lambda: run(is_first_process=True, expected=["all", "own"]))
    run_in_fork(lambda: run(is_first_process=False, expected=["own"]))


def test_forks_count_in_rows_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED_MEMORY_VARIABLE, "")  # `create_shared_counter_memory` sets it: afterwards it is as it was
    create_shared_counter_memory()
    (tmp_path / "hven.toml").touch()
    with Site(settings.load_settings(tmp_path, {}), is_preloading=True) as preloaded_site:
        preloaded_site.prepare_forks()

        def run() -> None:
            preloaded_site.start_published_state_refresh()
            preloaded_site.counters.count_query_start()
            preloaded_site.counters.count_query_end(10, 0.5, None)

        run_in_fork(run)
        preloaded_site.counters.count_query_start()
        assert preloaded_site.counters.sum_process_counters().query_count == 1
        assert preloaded_site.counters.sum_process_counters().process_count == 2


def test_a_worker_uses_the_model_unless_the_settings_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hven.toml"
    path.write_text('title = "One"\n')
    monkeypatch.setenv(processes.SITE_DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setattr(processes, "_preloaded_application", None)
    found = settings.load_settings(tmp_path)
    processes._preload_application(found, StateStore(found.var_directory, found.store))
    assert processes._preloaded_application is not None
    site, application = processes._preloaded_application
    assert isinstance(application, ReloadingApplication)
    assert processes._get_or_build_application() is processes._preloaded_application
    path.write_text('title = "One"  # still\n')
    assert processes._get_or_build_application() is processes._preloaded_application
    path.write_text('title = "Two"\n')
    other_site, _ = processes._get_or_build_application()
    assert other_site is not site
    assert other_site.settings.title == "Two"
    other_site.close()
    site.close()
