"""Every verb through the real entry point: what it does, what it says, its exit code."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from astropy.io import fits, votable
from astropy.table import Table
from typer.testing import CliRunner

from hven.app import _cli as cli
from hven.app._cli import verbs
from hven.model import plugins
from hven.model.errors import UserError
from hven.model.plugins import CommandLineVerb
from plugin_needs import require_plugins
from process_runner import HVEN_COMMAND, run_hven, serve_site
from shared import ROOT
from star_descriptors import write_stars_descriptor

STARS = "name,ra (deg),dec (deg),Vmag (mag)\nSirius,101.287,-16.716,-1.44\nVega,279.235,38.784,0.03\nRigel,78.634,-8.202,0.18\n"


@pytest.fixture(scope="module")
def stars_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a site with one published collection; tests that change it take `site`."""
    home = tmp_path_factory.mktemp("cli")
    (home / "stars.csv").write_text(STARS)
    run_hven("init", home / "site")
    write_stars_descriptor(home / "site", home / "stars.csv")
    run_hven("ingest", "stars", "--site", home / "site")
    return home / "site"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "stars.csv").write_text(STARS)
    run_hven("init", tmp_path / "site")
    write_stars_descriptor(tmp_path / "site", tmp_path / "stars.csv")
    return tmp_path / "site"


# --- serve: the rest of it is in tests/server and tests/outside -------------------------------------------


def test_an_address_that_cannot_be_served_at(stars_site: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert (
            f"another program is already listening on 127.0.0.1:{port}; stop it, or choose another port with --port N"
            in run_hven("serve", "--port", port, cwd=stars_site, expected_code=2).stderr
        )
    assert (
        "not an address of this machine"
        in run_hven("serve", "--host", "192.0.2.1", cwd=stars_site, expected_code=2).stderr
    )
    assert "no such address" in run_hven("serve", "--host", "nowhere.invalid", cwd=stars_site, expected_code=2).stderr
    assert "--port" in run_hven("serve", "--port", 80000, cwd=stars_site, expected_code=2).stderr


def test_two_servers_never_share_a_port(stars_site: Path) -> None:
    with serve_site(stars_site) as server:
        done = run_hven("serve", "--host", "localhost", "--port", server.port, cwd=stars_site, expected_code=2)
        assert "another program is already listening on localhost" in done.stderr


# --- where the site is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["--site", "{}", "status"], ["status", "--site", "{}"], ["status", "--site={}"], ["--site={}", "status"]]
)
def test_the_site_is_named_before_or_after_the_verb(stars_site: Path, words: list[str]) -> None:
    assert "stars.main" in run_hven(*[word.format(stars_site) for word in words]).stdout


@pytest.mark.parametrize("inside", ["", "collections", "collections/stars", "var"])
def test_the_site_is_the_one_we_are_in(stars_site: Path, inside: str) -> None:
    assert "stars.main" in run_hven("status", cwd=stars_site / inside, in_subprocess=not inside).stdout


def test_no_site_is_wrong_usage(tmp_path: Path) -> None:
    assert (
        "neither this directory nor any directory above it contains hven.toml; give --site DIR"
        in run_hven("status", cwd=tmp_path, expected_code=2).stderr
    )
    assert f"{tmp_path} is not a site" in run_hven("status", "--site", tmp_path, expected_code=2).stderr
    typo = run_hven("status", "--site", tmp_path / "typo", expected_code=2).stderr
    assert f"{tmp_path / 'typo'} is not a site: there is no such directory; create one with `hven init" in typo
    (tmp_path / "hven.toml.old").write_text("")
    file = run_hven("status", "--site", tmp_path / "hven.toml.old", expected_code=2).stderr
    assert f"hven.toml.old is not a site: it is a file; give the directory of the site: --site {tmp_path}\n" in file


def test_settings_that_are_no_file_are_not_reported_as_missing(tmp_path: Path) -> None:
    file = tmp_path / "hven.toml"
    file.symlink_to("elsewhere.toml")
    for words in (("--site", tmp_path), ()):
        error = run_hven("check", *words, cwd=tmp_path, expected_code=1).stderr
        assert "hven.toml is a link to elsewhere.toml, where there is no file; correct or remove the link" in error
    file.unlink()
    file.mkdir()
    error = run_hven("check", cwd=tmp_path, expected_code=1).stderr
    assert "hven.toml is not a file; move it away, then run `hven init" in error


def test_defaults_are_checked_before_the_first_descriptor(tmp_path: Path) -> None:
    run_hven("init", tmp_path / "site")
    file = tmp_path / "site" / "hven.toml"
    file.write_text('[defaults]\npublisherr = "x"\npublisher = 5\nlicence = "CC-BY-4.0"\n')
    report = run_hven("check", "--site", tmp_path / "site", expected_code=1).stdout
    assert "hven.toml:2:1: 'publisherr' is not a valid key of the descriptor; did you mean 'publisher'?" in report
    assert "hven.toml:3:1: publisher must be text, but TOML reads `5` as a number" in report
    assert "0 descriptors: 2 errors" in report
    file.write_text('[defaults]\nlicence = "CC-BY-4.0"\n')
    assert "0 errors, 0 warnings" in run_hven("check", "--site", tmp_path / "site").stdout


def test_a_site_is_not_made_twice(stars_site: Path) -> None:
    told = run_hven("init", stars_site, expected_code=1).stderr
    assert "already" in told or "exists" in told
    assert "stars.main" in run_hven("status", "--site", stars_site).stdout


def test_what_is_printed_can_be_typed(tmp_path: Path) -> None:
    """The commands that verbs propose have the --site that was needed."""
    (tmp_path / "stars.csv").write_text(STARS)
    assert "hven --site 'my site' new NAME --from FILE" in run_hven("init", "my site", cwd=tmp_path).stdout
    told = run_hven("--site", "my site", "new", "stars", "--from", "stars.csv", cwd=tmp_path).stdout
    assert "hven --site 'my site' check stars && hven --site 'my site' ingest stars" in told
    assert "stars.csv in place, so `hven backup` does not save the data" in told
    commands = told.rpartition("then run: ")[2].replace("hven", " ".join(HVEN_COMMAND))
    assert (
        subprocess.run(commands, shell=True, cwd=tmp_path, timeout=300, check=False, capture_output=True).returncode
        == 0
    )


# --- wrong usage, our own faults ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["ingest"], "NAME"),
        (["status", "--bogus"], "No such option"),
        (["ingest", "stars", "--sample", "0"], "--sample"),
        (["ingest", "stars", "--sample", "many"], "--sample"),
        (["serve", "--port", "http"], "--port"),
        (["query"], "ADQL"),
        (["--site"], "--site"),
    ],
)
def test_wrong_usage_is_2(stars_site: Path, words: list[str], said: str) -> None:
    done = run_hven(*words, cwd=stars_site, expected_code=2)
    assert said in done.stderr
    assert done.stdout == ""


def test_a_fault_of_ours_is_3_and_keeps_the_traceback_in_a_file(
    stars_site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hven import site as site_package

    def broken(self: object, *_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(site_package.Site, "get_published_state", broken)
    assert cli.main(["status", "--site", str(stars_site)]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    assert "an unexpected error occurred in Hven itself (ZeroDivisionError: of all things)" in told.err
    log = Path(told.err.rpartition(" ")[2].strip())
    assert "broken" in log.read_text()
    log.unlink()


def test_the_machines_faults_are_3_and_ctrl_c_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stars_site: Path
) -> None:
    from hven import site as site_package
    from hven.model.errors import OperationCancelledError, StorageError

    def fail(error: BaseException) -> int:
        def broken(self: object, *_: object) -> None:
            raise error

        monkeypatch.setattr(site_package.Site, "get_published_state", broken)
        return cli.main(["status", "--site", str(stars_site)])

    assert fail(StorageError("the disk is full", remedy="make room")) == 3
    assert capsys.readouterr().err == "hven: the disk is full; make room\n"
    assert fail(KeyboardInterrupt()) == 130
    assert fail(OperationCancelledError("stopped")) == 130
    assert capsys.readouterr().err == "hven: stopped\nhven: stopped\n"


def test_help_says_what_every_verb_does() -> None:
    told = run_hven("--help").stdout
    assert "..." not in told.partition("Describe:")[2]  # one whole sentence each
    for verb in (
        "init",
        "check",
        "ingest",
        "serve",
        "work",
        "query",
        "explain",
        "status",
        "history",
        "rollback",
        "remove",
        "schema",
    ):
        assert f"  {verb} " in told
        assert len(run_hven(verb, "-h").stdout.splitlines()) > 5
    assert run_hven("--version").stdout.startswith("hven 0.")
    assert run_hven(expected_code=2).stdout + run_hven(expected_code=2).stderr != ""


def test_help_lists_verbs_below_headings_and_the_reference_has_them_in_this_order() -> None:
    listed = re.findall(r"^(?:  )?([a-z]+)  |^([A-Z][a-z ]+):$", run_hven("--help").stdout, re.MULTILINE)
    words = [verb or heading for verb, heading in listed]
    described = re.findall(
        r"^## (?!Exit)(.*)|^### hven ([a-z]+)", (ROOT / "docs/reference/cli.md").read_text(), re.MULTILINE
    )
    expected = [heading or verb for heading, verb in described]
    assert [word for word in words if word in expected] == expected


@pytest.mark.parametrize(
    ("verb", "heading"),
    [
        (CommandLineVerb(function="night.verbs:plan", after="explain"), "Query"),
        (CommandLineVerb(function="night.verbs:plan", after="explain", heading="Protect"), "Protect"),
        (CommandLineVerb(function="night.verbs:plan", after="release"), "Publish"),
        (CommandLineVerb(function="night.verbs:plan", heading="Observe"), "Observe"),
        (CommandLineVerb(function="night.verbs:plan", after="a verb that is absent"), "Operate"),
        (CommandLineVerb(function="night.verbs:plan", after="plan"), "Operate"),
    ],
    ids=["of-its-neighbour", "of-its-own", "of-a-group", "new", "of-nothing", "of-itself"],
)
def test_a_verb_of_a_package_has_a_heading(
    monkeypatch: pytest.MonkeyPatch, verb: CommandLineVerb, heading: str
) -> None:
    monkeypatch.setattr(verbs, "list_package_verbs", lambda: {"plan": verb})
    monkeypatch.setattr(verbs, "_read_verb_docstring", lambda place: "Plan a night.")
    result = CliRunner().invoke(verbs.build_typer_app("--help"), [])
    assert "  plan " in re.split(r"\n(?=[A-Z])", result.output.partition(f"{heading}:\n")[2])[0]


# --- check, schema ------------------------------------------------------------------------------------------


def test_check_reports_a_faulty_pane(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load_records(group: str) -> dict[str, object]:
        raise UserError(f"the plug-in moon of {group} is faulty")

    monkeypatch.setattr(plugins, "find_plugin_faults", lambda: [UserError("the plug-in moon is faulty")])
    monkeypatch.setattr(plugins, "load_plugin_records", load_records)
    assert cli.main(["check", "--site", str(site)]) == 1
    assert capsys.readouterr().out.startswith("the plug-in moon is faulty\n")


def test_check_reports_every_fault_with_its_place(site: Path) -> None:
    path = site / "collections" / "stars" / "stars.yaml"
    path.write_text(path.read_text().replace("title:", "titel:").replace("unit: deg", "unit: degrees_of_arc", 1))
    done = run_hven("check", "--site", site, expected_code=1)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all("stars.yaml:" in line and line.split("stars.yaml:")[1].split(":")[0].isdigit() for line in lines[:3])
    (misspelt,) = (line for line in lines if "titel" in line)
    assert "did you mean 'title'" in misspelt
    (unknown,) = (line for line in lines if "degrees_of_arc" in line)
    assert "did you mean 'deg'" in unknown
    assert lines[-1] == "1 descriptor: 2 errors, 1 warning"
    faults = json.loads(run_hven("check", "--json", "--site", site, expected_code=1).stdout)
    assert [set(fault) for fault in faults] == [{"file", "line", "column", "severity", "message", "remedy"}] * 3
    assert all(isinstance(fault["line"], int) for fault in faults)
    assert "no descriptor" in run_hven("check", "nothing", "--site", site, expected_code=1).stderr


def test_an_output_in_a_directory_that_does_not_exist(
    stars_site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "absent" / "stars.csv"
    assert cli.main(["query", "SELECT name FROM stars.main", "-o", str(output), "--site", str(stars_site)]) == 1
    message = f"{output} cannot be written: there is no directory {output.parent}; create it first"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("oracle", "there is no engine 'oracle'; use one of "),
        ("postgres", "the engine postgres has no database; set url under [postgres] in hven.toml"),
    ],
)
@pytest.mark.parametrize("names", [(), ("stars",)])
def test_check_finds_an_engine_that_no_ingest_could_open(
    site: Path, engine: str, message: str, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    if engine not in plugins.list_plugins("engines") and engine == "postgres":
        pytest.skip("the package postgres is not in use")
    command = ["check", *names, "--site", str(site)]
    assert cli.main(command) == 0
    settings = site / "hven.toml"
    line = 1 + settings.read_text().count("\n")
    with settings.open("a") as file:
        file.write(f'engine = "{engine}"\n')
    capsys.readouterr()
    assert cli.main(command) == 1
    assert f"hven.toml:{line}: {message}" in " ".join(capsys.readouterr().out.split())
    descriptor = site / "collections" / "stars" / "stars.yaml"
    descriptor.write_text(f"engine: {engine}\n" + descriptor.read_text())
    assert cli.main(command) == 1
    assert "stars.yaml:1:" in capsys.readouterr().out


@pytest.mark.parametrize("names", [(), ("stars",)])
def test_check_reports_a_disabled_engine_once(
    site: Path, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    require_plugins("engines", "postgres")
    settings = site / "hven.toml"
    settings.write_text('engine = "postgres"\nplugins = []\n' + settings.read_text())
    assert cli.main(["check", *names, "--site", str(site)]) == 1
    assert capsys.readouterr().out.count("belongs to the plug-in package postgres") == 1


def test_check_runs_the_tests_of_what_is_published(site: Path) -> None:
    path = site / "collections" / "stars" / "stars.yaml"
    run_hven("ingest", "stars", "--site", site)
    path.write_text(path.read_text() + 'tests:\n  - {query: "SELECT COUNT(*) AS n FROM stars.main", expect: {n: 4}}\n')
    done = run_hven("check", "--tests", "--site", site, expected_code=1)
    assert "stars.yaml:" in done.stdout
    assert "3" in done.stdout
    path.write_text(path.read_text().replace("n: 4", "n: 3"))
    assert "0 errors" in run_hven("check", "--tests", "--site", site).stdout


def test_the_schema_is_json_schema(tmp_path: Path) -> None:
    printed = json.loads(run_hven("schema").stdout)
    assert printed["$schema"].startswith("https://json-schema.org/")
    run_hven("schema", "-o", tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == printed


# --- ingest, status, history, rollback, remove -----------------------------------------------------------------


def test_ingest_status_history_rollback_remove(site: Path) -> None:
    assert "Nothing is published yet" in run_hven("status", cwd=site).stdout
    assert run_hven("ingest", "stars", "--site", site).stdout.splitlines()[0] == "stars.main: 3 rows"
    (site.parent / "stars.csv").write_text(STARS + "Capella,79.172,45.998,0.08\n")

    report = json.loads(run_hven("ingest", "stars", "--dry-run", "--json", "--site", site).stdout)
    assert (report["published"], report["dry_run"], report["tables"]["stars.main"]["published"]) == (False, True, 4)
    report = json.loads(run_hven("ingest", "stars", "--sample", 2, "--json", "--site", site).stdout)
    assert (report["published"], report["sample"], report["tables"]["stars.main"]["published"]) == (True, 2, 2)
    assert "only the first 2 rows" in report["warnings"][0]
    assert "4 rows" in run_hven("ingest", "stars", "--site", site).stdout

    table = json.loads(run_hven("status", "--json", "--site", site).stdout)["tables"][0]
    assert set(table) == {"table", "rows", "bytes", "updated", "access", "engine", "kind", "estimate"}
    assert (table["table"], table["rows"], table["access"], table["kind"]) == ("stars.main", 4, "public", "table")

    history = json.loads(run_hven("history", "stars", "--json", "--site", site).stdout)
    assert [record["rows"] for record in history["snapshots"]] == [4, 2, 3]
    assert [record["published"] for record in history["snapshots"]] == [True, False, False]
    assert [(run["dry_run"], run["sample"], run["phase"]) for run in history["runs"]] == [
        (False, None, "COMPLETED"),
        (False, 2, "COMPLETED"),
        (True, None, "COMPLETED"),
        (False, None, "COMPLETED"),
    ]
    told = run_hven("history", "stars", "--site", site).stdout
    assert "ingest (sample 2)" in told
    assert "ingest (dry)" in told
    assert all(record["snapshot"] in told for record in history["snapshots"])  # whole, to be copied

    def count() -> str:
        return run_hven("query", "-f", "csv", "SELECT COUNT(*) AS n FROM stars.main", "--site", site).stdout.split()[1]

    run_hven("rollback", "stars", "--site", site)
    assert count() == "2"
    run_hven("rollback", "stars", history["snapshots"][2]["snapshot"], "--site", site)
    assert count() == "3"
    assert run_hven("rollback", "stars.main", history["snapshots"][0]["snapshot"], "--site", site).stdout.startswith(
        "stars.main is now at"
    )
    assert count() == "4"
    assert "nosuchsnapshot" in run_hven("rollback", "stars", "nosuchsnapshot", "--site", site, expected_code=1).stderr

    assert "hven --site" in run_hven("remove", "stars", "--site", site).stdout
    assert (
        "no table 'stars.main'" in run_hven("query", "SELECT * FROM stars.main", "--site", site, expected_code=1).stderr
    )
    run_hven("rollback", "stars", "--site", site)
    assert count() == "4"
    marks = site / "var" / "prepared" / "stars"
    marks.parent.mkdir(exist_ok=True)
    marks.write_bytes(b"marks of prepared files")
    gone = json.loads(run_hven("remove", "stars", "--purge", "--json", "--site", site).stdout)
    assert not marks.exists()
    assert gone["removed"] == ["stars.main"]
    assert len(gone["purged"]) == 3
    assert not list((site / "var").rglob("*.arrow"))
    assert "no earlier state" in run_hven("rollback", "stars", "--site", site, expected_code=1).stderr
    assert "no collection 'nothing'" in run_hven("remove", "nothing", "--site", site, expected_code=1).stderr
    assert "no collection 'nothing'" in run_hven("history", "nothing", "--site", site, expected_code=1).stderr
    assert "use one of stars" in run_hven("ingest", "nothing", "--site", site, expected_code=1).stderr


# --- query --------------------------------------------------------------------------------------------------------

QUERY = "SELECT name, vmag FROM stars.main ORDER BY vmag"
NAMES = ["Sirius", "Vega", "Rigel"]


def test_text_for_people_by_default(stars_site: Path) -> None:
    lines = run_hven("query", QUERY, cwd=stars_site).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "------", *NAMES]


@pytest.mark.parametrize("ending", ["vot", "csv", "tsv", "json", "parquet", "fits", "arrow", "txt", "xml"])
def test_a_file_is_written_in_the_format_of_its_ending(stars_site: Path, tmp_path: Path, ending: str) -> None:
    import pyarrow as pa

    path = tmp_path / f"answer.{ending}"
    done = run_hven("query", QUERY, "-o", path, cwd=stars_site)
    assert done.stdout == ""
    assert f"3 rows to {path}" in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    readers = {
        "vot": lambda: list(votable.parse_single_table(path).to_table()["name"]),
        "xml": lambda: list(votable.parse_single_table(path).to_table()["name"]),
        "csv": lambda: list(Table.read(path, format="ascii.csv")["name"]),
        "tsv": lambda: list(Table.read(path, format="ascii.tab")["name"]),
        "json": lambda: [row[0] for row in json.loads(path.read_text())["data"]],
        "parquet": lambda: list(pq.read_table(path)["name"].to_pylist()),
        "fits": lambda: [name.strip() for name in fits.getdata(path)["name"]],
        "arrow": lambda: pa.ipc.open_stream(path).read_all()["name"].to_pylist()[:],
        "txt": lambda: [line.split()[0] for line in path.read_text().splitlines()[2:]],
    }
    assert readers[ending]() == NAMES


def test_the_format_can_be_said(stars_site: Path, tmp_path: Path) -> None:
    assert run_hven("query", QUERY, "-f", "csv", cwd=stars_site).stdout.splitlines() == [
        "name,vmag",
        "Sirius,-1.44",
        "Vega,0.03",
        "Rigel,0.18",
    ]
    assert "<TABLEDATA>" in run_hven("query", QUERY, "-f", "votable/td", cwd=stars_site).stdout
    assert "use one of votable" in run_hven("query", QUERY, "-f", "xls", cwd=stars_site, expected_code=1).stderr
    assert (
        "x.dat: no format has the extension .dat; set --format to one of arrow, csv"
        in run_hven("query", QUERY, "-o", tmp_path / "x.dat", cwd=stars_site, expected_code=2).stderr
    )
    run_hven("query", QUERY, "-f", "tsv", "-o", tmp_path / "x.dat", cwd=stars_site)
    assert (tmp_path / "x.dat").read_text().startswith("name\tvmag")


def test_the_query_may_come_from_standard_input(stars_site: Path) -> None:
    assert (
        run_hven("query", "-", "-f", "csv", cwd=stars_site, stdin=QUERY + "\n").stdout.splitlines()[1] == "Sirius,-1.44"
    )
    assert (
        "UTF-8"
        in run_hven("query", "-", cwd=stars_site, stdin=b"SELECT '\xff' AS a FROM stars.main", expected_code=1).stderr
    )


def test_an_error_has_its_place_and_leaves_no_file(stars_site: Path, tmp_path: Path) -> None:
    done = run_hven("query", "SELECT nam\nFROM stars.main", "-o", tmp_path / "x.csv", cwd=stars_site, expected_code=1)
    assert done.stderr == "hven: line 1, column 8: no column 'nam' in stars.main; did you mean 'name'?\n"
    late = "SELECT CAST(name AS INTEGER) AS n FROM stars.main"
    (tmp_path / "old.csv").write_text("what was there\n")
    run_hven("query", late, "-o", tmp_path / "old.csv", cwd=stars_site, expected_code=1)
    assert (tmp_path / "old.csv").read_text() == "what was there\n"
    assert [item.name for item in tmp_path.iterdir()] == ["old.csv"]


def test_a_file_that_cannot_be_written_is_told(stars_site: Path, tmp_path: Path) -> None:
    done = run_hven("query", QUERY, "-o", tmp_path / "nowhere" / "x.csv", cwd=stars_site, expected_code=1)
    assert "nowhere" in done.stderr
    assert f"there is no directory {tmp_path / 'nowhere'}; create it first" in done.stderr


def test_maxrec_is_told(stars_site: Path) -> None:
    done = run_hven("query", QUERY, "--maxrec", 2, "-f", "csv", cwd=stars_site)
    assert len(done.stdout.splitlines()) == 3
    assert "the result was cut off after 2 rows; raise the limit with --maxrec" in done.stderr
    assert run_hven("query", QUERY, "--maxrec", 0, "-f", "csv", cwd=stars_site).stdout.split() == ["name,vmag"]


def test_a_reader_who_has_enough_is_no_fault(stars_site: Path) -> None:
    many = "SELECT a.name FROM stars.main AS a, stars.main AS b, stars.main AS c, stars.main AS d" + "".join(
        f", stars.main AS x{n}" for n in range(6)
    )
    for words in (["query", many, "-f", "csv"], ["status"], ["schema"]):
        process = subprocess.Popen(
            [*HVEN_COMMAND, *words], cwd=stars_site, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        told = process.stderr.read()
        process.stderr.close()
        assert (process.wait(60), told) == (0, b"")


def test_the_caller_may_close_the_standard_streams(stars_site: Path) -> None:
    for words, closed, code in (
        (["status"], ">&-", 0),
        (["query", "SELECT 1", "-f", "votable"], ">&-", 0),
        (["check"], "<&- >&- 2>&-", 0),
        (["ingest", "nothing"], "2>&-", 1),
    ):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *HVEN_COMMAND, *words],
            check=False,
            cwd=stars_site,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (code, ""), words


def test_private_tables_are_the_owners(site: Path) -> None:
    path = site / "collections" / "stars" / "stars.yaml"
    path.write_text(path.read_text() + "access: private\n")
    run_hven("ingest", "stars", "--site", site)
    assert "nobody" in run_hven("status", "--site", site).stdout
    assert "Sirius" in run_hven("query", QUERY, "--site", site).stdout
    assert "no table 'stars.main'" in run_hven("query", "--public", QUERY, "--site", site, expected_code=1).stderr


def test_explain_says_the_road(stars_site: Path) -> None:
    told = run_hven(
        "explain", "SELECT name FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(101, -16, 1))", cwd=stars_site
    ).stdout
    assert "stars.main" in told
    assert "line 1, column 17" in run_hven("explain", "SELECT name FROM", cwd=stars_site, expected_code=1).stderr


def test_an_ingest_loads_neither_syncs_nor_what_runs_jobs():
    words = [sys.executable, "-c", "import sys, hven.app._cli.publish; print(*sys.modules)"]
    loaded = set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert "hven.ingest._ingest_pipeline" in loaded
    assert not loaded & {"hven.ingest.sync", "hven.jobs.scheduler", "hven.jobs.job_supervisor", "hven.jobs.job_service"}


def test_only_the_verb_that_is_called_is_loaded():
    words = [
        sys.executable,
        "-c",
        "import sys, hven.app._cli as c; c.main(['--help']); c.main(['init', '-h']); print(sorted(sys.modules))",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "hven.site" not in done.stdout.splitlines()[-1]
    assert "hven.app._cli.init" in done.stdout.splitlines()[-1]


def test_a_verb_of_a_package_may_have_verbs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "night_verbs.py").write_text(
        "import typer\n\nnight = typer.Typer()\n\n\n@night.command('show')\ndef show(number: int) -> None:\n"
        "    print(f'night {number}')\n\n\n@night.command('list')\ndef list_nights() -> None:\n    print('all nights')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    record = CommandLineVerb(function="night_verbs:night", group_help="Nights of observations.", after="status")
    monkeypatch.setattr(verbs, "list_package_verbs", lambda: {"night": record})
    told = CliRunner().invoke(verbs.build_typer_app("night"), ["night", "show", "7"])
    assert (told.exit_code, told.stdout) == (0, "night 7\n")
    listed = CliRunner().invoke(verbs.build_typer_app("--help"), ["--help"]).stdout
    assert re.search(r"Operate:\n(?: .*\n)* +night +Nights of observations\.", listed)
