"""Bad files and descriptors, as a curator meets them: what is said, the exit code, and that nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import re
import resource
import subprocess
import time
from pathlib import Path

import pytest
from astropy.io import fits

from hven.descriptor.api.file_replacement import replace_file
from hven.model import plugins
from plugin_needs import require_verb
from process_runner import HVEN_COMMAND, run_hven

GOOD = "id,ra,dec,mag\n1,10,20,3.5\n2,11,21,4.5\n3,12,22,5.5\n"

DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    primary: [id]
    position: [ra, dec]
    source: {kind: csv, files: stars.csv}
    columns:
      id: {type: int32, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      mag: {type: float32, unit: mag}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Make a site that has published three good rows."""
    site = tmp_path / "site"
    run_hven("init", site)
    (site / "collections/stars").mkdir(parents=True)
    (site / "collections/stars/stars.yaml").write_text(DESCRIPTOR)
    (site / "collections/stars/stars.csv").write_text(GOOD)
    run_hven("ingest", "stars", "--site", site)
    return site


def count_published_stars(site: Path) -> str:
    return run_hven("query", "-f", "csv", "SELECT COUNT(*) AS n FROM stars.main", "--site", site).stdout.split()[1]


def check_ingest_fails(site: Path, *said: str) -> str:
    """Ingest; it must fail by the data's fault, say these words, and leave what was published."""
    told = run_hven("ingest", "stars", "--site", site, expected_code=1).stderr
    for word in said:
        assert word in told, told
    assert count_published_stars(site) == "3"
    return told


def rewrite(site: Path, text: str | bytes) -> None:
    (site / "collections/stars/stars.csv").write_bytes(text.encode() if isinstance(text, str) else text)


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ["stars.csv is empty"]),
        (b"name,mag\n1,2\n", ["stars.yaml:", "id"]),
        (b"id,ra,dec,mag\n", ["would be empty", "no rows"]),
        (b"id,ra,dec,mag\n1,10,20,\0\0\n", ["stars.csv:2", "NUL bytes"]),
        (b"<html><body>404 Not Found</body></html>", ["stars.csv:1", "XML or HTML"]),
        (b"id,ra,dec,mag\n" + b"1,10,20,3.5\n2,11,21,5,5\n" * 9, ["stars.csv", "5"]),
        (b"id,ra,dec,mag\nn\xe9e,10,20,3.5\n", ["stars.csv:2", "UTF-8", "encoding"]),
        (b'id,ra,dec,mag\n1,10,20,"3.5\n2,11,21,4.5\n', ["stars.csv:2", "closing quote is missing"]),
    ],
    ids=["empty", "other columns", "no rows", "NUL", "a web page", "rows too long", "latin-1", "open quote"],
)
def test_a_file_that_is_not_what_the_descriptor_says(site: Path, content: bytes, said: list[str]) -> None:
    rewrite(site, content)
    check_ingest_fails(site, *said)


def test_a_delimiter_that_is_wrong_is_named(site: Path) -> None:
    rewrite(site, GOOD.replace(",", ";"))
    path = site / "collections/stars/stars.yaml"
    path.write_text(DESCRIPTOR.replace("files: stars.csv", 'files: stars.csv, delimiter: ","'))
    check_ingest_fails(
        site, "the delimiter ',' gives a single column; write `delimiter: semicolon`, which gives 4 columns"
    )


def test_a_file_that_is_not_there_or_not_ours(site: Path) -> None:
    path = site / "collections/stars/stars.csv"
    path.unlink()
    check_ingest_fails(site, "stars.yaml:", "no file", "stars.csv")
    path.mkdir()
    check_ingest_fails(site, "stars.csv", "directory")
    path.rmdir()
    if os.geteuid() != 0:  # root reads everything
        rewrite(site, GOOD)
        path.chmod(0)
        check_ingest_fails(site, "stars.csv", "permission")


def test_a_file_that_ends_too_early(site: Path) -> None:
    path = site / "collections/stars/stars.yaml"
    path.write_text(DESCRIPTOR.replace("stars.csv", "stars.csv.gz"))
    whole = gzip.compress(
        ("id,ra,dec,mag\n" + "".join(f"{n},{n % 360},{n % 90},{n * 7919 % 1000}\n" for n in range(20000))).encode()
    )
    (path.parent / "stars.csv.gz").write_bytes(whole[: len(whole) // 2])
    check_ingest_fails(site, "stars.csv.gz is damaged or truncated")


def test_an_error_of_type_deep_in_a_file_is_named_by_row_and_kept_aside(site: Path) -> None:
    rewrite(
        site,
        "id,ra,dec,mag\n"
        + "".join(f"{n},{n % 360},{n % 90},{'n/a!' if n == 123_456 else n % 20}\n" for n in range(1, 150_001)),
    )
    told = run_hven("ingest", "stars", "--site", site).stdout
    assert "stars.main: 149,999 rows (1 rejected of 150,000 read)" in told
    assert "stars.csv row 123,456: mag = n/a!" in told
    rejects = Path(re.search(r"kept aside in (\S+)", told)[1])
    heading, line = rejects.read_text().splitlines()
    assert "reason" in heading
    assert "123456" in line
    assert "n/a!" in line
    assert count_published_stars(site) == "149999"


def test_a_key_that_is_there_twice(site: Path) -> None:
    rewrite(site, "id,ra,dec,mag\n" + "".join(f"{17 if n == 4321 else n},1,1,1\n" for n in range(1, 5001)))
    check_ingest_fails(
        site, "stars.main: the primary key (id) is not unique", "id = 17 (2 times)", "remove the duplicates"
    )


def test_rows_that_are_all_bad(site: Path) -> None:
    rewrite(site, "id,ra,dec,mag\n1,10,95,1\n2,10,20,1\n3,10,99,1\n")
    check_ingest_fails(site, "2 of 3 rows of stars.main were rejected", "stars.csv row 1: dec = 95")


def test_a_file_that_hven_new_cannot_use(site: Path, tmp_path: Path) -> None:
    """Each is told in a sentence, and leaves no half-made collection."""
    require_verb("new")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])], name="RIGHT")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "two.fits")
    (tmp_path / "half.csv.gz").write_bytes(gzip.compress(GOOD.encode() * 100)[:60])
    (tmp_path / "half.xml").write_text(
        '<?xml version="1.0"?><VOTABLE><RESOURCE><TABLE><FIELD name="a" datatype="int"/>'
    )
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "what").write_bytes(b"\1\2\3\0\0")
    for words, code, said in [
        (["empty.csv"], 1, "empty.csv is empty"),
        (["half.csv.gz"], 1, "damaged or truncated"),
        (["half.xml"], 1, "not well-formed XML"),
        (["two.fits", "--table", "WRONG"], 1, "no table in HDU 'WRONG'"),
        (["nothing.csv"], 1, "no file nothing.csv"),
        (["folder"], 1, "is a directory"),
        (["what"], 1, "--kind"),
        (["what", "--kind", "nonsense"], 1, f"use one of {', '.join(plugins.list_plugins('sources'))}"),
        (["postgresql://me:secret@db/x"], 2, "must be a secret"),
    ]:
        told = run_hven("new", "fresh", "--from", *words, "--site", site, cwd=tmp_path, expected_code=code)
        assert said in told.stderr, told.stderr
        assert "secret@" not in told.stderr
        assert not (site / "collections/fresh").exists()
    for name in ("select", "2mass", "a b", "../x", ""):
        run_hven("new", name, "--from", "two.fits", "--site", site, cwd=tmp_path, expected_code=2)


# --- descriptors -------------------------------------------------------------------------------------------------


def test_every_fault_of_a_descriptor_at_once_each_with_its_line(site: Path) -> None:
    path = site / "collections/stars/stars.yaml"
    text = DESCRIPTOR.replace("unit: mag}", "unit: parsek}\n      hue: {type: float}")
    path.write_text(
        text
        + "    let: {a: b + 1, b: a + 1}\n    set: {mag: 3}\n    map: {mag: mag, hue: 'colour - 1', huge: mag}\n    positon: [ra, dec]\n"
    )
    told = run_hven("check", "stars", "--site", site, expected_code=1).stdout
    lines = text.splitlines()
    for line, words in [
        (lines.index("      mag: {type: float32, unit: parsek}") + 1, ["parsek", "did you mean 'pc'|no unit"]),
        (len(lines) + 1, ["names depend on each other"]),
        (len(lines) + 3, ["mag is set twice"]),
        (len(lines) + 4, ["positon", "position"]),
    ]:
        found = [one for one in told.splitlines() if f"stars.yaml:{line}:" in one]
        assert all(any(re.search(word, one) for one in found) for word in words), (line, words, told)
    assert run_hven("ingest", "stars", "--site", site, expected_code=1).stdout == ""
    assert count_published_stars(site) == "3"


def test_unknown_names_in_expressions(site: Path) -> None:
    path = site / "collections/stars/stars.yaml"
    path.write_text(DESCRIPTOR + "    map: {mag: magg - 1, ra: fn(ra)}\n")
    told = run_hven("check", "stars", "--site", site, expected_code=1).stdout
    assert re.search(r"stars\.yaml:13:\d+: .*magg.*did you mean 'mag'", told)
    assert re.search(r"stars\.yaml:13:\d+: .*fn", told)
    assert "2 errors" in told


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("title: no", r"stars.yaml:2:8: .*quotes"),
        ("title: 12:30", r"stars.yaml:2:8: .*quotes"),
        ("title: Stars: bright ones", r"stars.yaml:2:\d+: "),
        ("title: stars # of the north", None),
        ("title: [stars", r"stars.yaml:\d+:\d+: "),
        ("title: &a *a", r"stars.yaml:2:\d+: "),
        ("title: Stars\ntitle: More stars", r"stars.yaml:3:1: .*twice"),
        ("title:\tStars", r"stars.yaml:2:\d+: .*tab|^1 descriptor"),
        ("title: !!python/object/apply:os.system [ls]", r"stars.yaml:2:\d+: "),
        ("title: Stars\n---\nb: 1", r"stars.yaml:3:1: .*document"),
    ],
)
def test_yaml_that_silently_means_something_else(site: Path, written: str, said: str | None) -> None:
    path = site / "collections/stars/stars.yaml"
    path.write_text(DESCRIPTOR.replace("title: Stars", written))
    told = run_hven("check", "stars", "--site", site, expected_code=1 if said and "^1" not in said else 0).stdout
    assert re.search(said or "0 errors", told, re.MULTILINE), told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfet\0", "UTF-16"),
        (b"title: \xe9", "UTF-8"),
        (b"title: a\0b", "NUL byte"),
        (b"", "empty"),
        (b"- 1", "map"),
    ],
)
def test_descriptors_that_are_no_text(site: Path, text: bytes, said: str) -> None:
    (site / "collections/stars/stars.yaml").write_bytes(text)
    told = run_hven("check", "stars", "--site", site, expected_code=1).stdout
    assert "stars.yaml:1" in told
    assert said in told
    assert count_published_stars(site) == "3"


def test_settings_with_faults(site: Path) -> None:
    (site / "hven.toml").write_text('name = "x"\nprot = 80\nworkers = "two"\n')
    told = run_hven("status", "--site", site, expected_code=1).stderr
    assert "hven.toml:2" in told
    assert "did you mean 'port'" in told
    assert "hven.toml:3" in told
    (site / "hven.toml").write_text("name = [\n")
    assert "hven.toml:" in run_hven("status", "--site", site, expected_code=1).stderr
    (site / "hven.toml").write_text('name = "x"\n')
    assert "HVEN_PORT" in run_hven("status", "--site", site, expected_code=1, HVEN_PORT="http").stderr


# --- the machine, and several at once -------------------------------------------------------------------------------


def run_with_file_limit(blocks: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a verb that may write no file beyond so many kB, as on a disk that is full."""
    return subprocess.run(
        ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", *HVEN_COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_disk_that_is_full(site: Path, tmp_path: Path) -> None:
    rewrite(site, "id,ra,dec,mag\n" + "".join(f"{n},{n % 360},{n % 90},{n % 20}\n" for n in range(100_000)))
    done = run_with_file_limit(1000, "ingest", "stars", "--site", site)
    assert (done.returncode, done.stdout) == (3, "")
    assert "the disk is full" in done.stderr
    assert "free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert count_published_stars(site) == "3"
    run_hven("ingest", "stars", "--site", site)
    assert count_published_stars(site) == "100000"

    done = run_with_file_limit(100, "query", "SELECT * FROM stars.main", "-o", tmp_path / "out.csv", "--site", site)
    assert done.returncode == 3
    assert done.stderr == "hven: the output cannot be written: file too large; make space on the disk\n"
    assert not list(tmp_path.glob("out*"))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*HVEN_COMMAND, "query", "SELECT * FROM stars.main", "--site", site],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        3,
        "hven: the output cannot be written: no space left on device; make space on the disk\n",
    )


def test_a_disk_that_is_full_gets_no_half_of_a_file(site: Path) -> None:
    require_verb("new")
    (site / "wide.csv").write_text(",".join(f"column_{n}" for n in range(99)) + "\n" + ",".join(["1"] * 99) + "\n")
    done = run_with_file_limit(1, "new", "wide", "--from", site / "wide.csv", "--site", site)
    assert (done.returncode, done.stdout) == (3, "")
    descriptor = site.resolve() / "collections" / "wide" / "wide.yaml"
    assert done.stderr == f"hven: {descriptor} cannot be written: file too large; make space on the disk\n"
    assert not descriptor.parent.exists()
    run_hven("new", "wide", "--from", site / "wide.csv", "--site", site)

    done = run_with_file_limit(0, "init", site.parent / "other")
    assert (done.returncode, (site.parent / "other" / "hven.toml").exists()) == (1, False)
    run_hven("init", site.parent / "other")

    descriptor = descriptor.with_name("link.yaml")
    (site / "kept.yaml").write_text("collection: wide\n" + "# a comment\n" * 100)
    (site / "kept.yaml").chmod(0o640)
    descriptor.symlink_to(site / "kept.yaml")
    old_text = descriptor.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            replace_file(descriptor, f"doi: 10.5072/wide\n{old_text}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert descriptor.read_text() == old_text
    replace_file(descriptor, f"doi: 10.5072/wide\n{old_text}")
    assert (site / "kept.yaml").read_text() == f"doi: 10.5072/wide\n{old_text}"
    assert (descriptor.is_symlink(), descriptor.stat().st_mode & 0o777) == (True, 0o640)
    assert not list(site.rglob("*.part"))


def test_a_file_keeps_its_group_where_its_owner_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may give a file to another account, but an operator may give it to an own group."""
    settings = tmp_path / "hven.toml"
    settings.write_text("old")
    given_groups = []

    def give(_: Path, owner: int, group: int) -> None:
        if owner != -1:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        given_groups.append(group)

    monkeypatch.setattr(os, "chown", give)
    replace_file(settings, "new")
    assert settings.read_text() == "new"
    assert given_groups == [settings.stat().st_gid]


def test_a_file_that_is_mounted_by_itself_is_written_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers mount single files, such as hven.toml, which nothing can replace."""
    (tmp_path / "hven.toml").write_text("old")

    def refuse(path: Path, _: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    monkeypatch.setattr(Path, "replace", refuse)
    replace_file(tmp_path / "hven.toml", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("hven.toml", "new")]


SLOW = """\
import time
from pathlib import Path

HERE = Path(__file__).parent


def rows():
    (HERE / "begun").touch()
    while not (HERE / "go").exists():
        time.sleep(0.01)
    yield {"id": 4, "ra": 1.0, "dec": 2.0, "mag": 3.0}
"""


def test_a_second_ingest_while_one_runs_and_a_descriptor_that_changes_meanwhile(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hven.app._cli.publish.RUN_WAIT_SECONDS", 0.0)
    home = site / "collections/stars"
    (home / "slow.py").write_text(SLOW)
    descriptor = DESCRIPTOR.replace(
        "{kind: csv, files: stars.csv}",
        "{kind: python, file: slow.py, function: rows, columns: {id: int32, ra: float64, dec: float64, mag: float32}}",
    )
    (home / "stars.yaml").write_text(descriptor)
    first = subprocess.Popen(
        [*HVEN_COMMAND, "ingest", "stars", "--site", str(site)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 120
        while not (home / "begun").exists():
            assert first.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        told = run_hven("ingest", "stars", "--site", site, expected_code=1).stderr
        assert f"the ingest of stars is already running: process {first.pid}" in told
        assert "wait until the process ends" in told
        for verb in ("rollback", "remove"):
            assert f"process {first.pid}" in run_hven(verb, "stars", "--site", site, expected_code=1).stderr
        assert f"running: the ingest of stars by process {first.pid} on " in run_hven("status", "--site", site).stdout
        assert count_published_stars(site) == "3"
        (home / "stars.yaml").write_text(descriptor.replace("title: Stars", "title: Other stars"))
    finally:
        (home / "go").touch()
        out, err = first.communicate(timeout=60)
    assert (first.returncode, err) == (0, "")
    assert "changed during the ingest, but the ingest used the earlier version: ingest again" in out
    assert count_published_stars(site) == "1"


def test_ctrl_c_publishes_nothing(site: Path) -> None:
    import signal

    home = site / "collections/stars"
    (home / "slow.py").write_text(SLOW)
    (home / "stars.yaml").write_text(
        DESCRIPTOR.replace(
            "{kind: csv, files: stars.csv}",
            "{kind: python, file: slow.py, function: rows, columns: {id: int32, ra: float64, dec: float64, mag: float32}}",
        )
    )
    # a shell has its background ignore it
    command = ["env", "--default-signal=INT", *HVEN_COMMAND, "ingest", "stars", "--site", str(site)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (home / "begun").exists():
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(1)
    (home / "go").touch()  # in case it waits for its source
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "hven: stopped\n")
    assert count_published_stars(site) == "3"
    assert not list((site / "var").rglob("*.staging"))


def test_a_store_that_is_damaged(site: Path) -> None:
    (site / "var/hven.sqlite").write_bytes(b"this is not a database, whatever its name says" * 100)
    for extra in ("hven.sqlite-wal", "hven.sqlite-shm"):
        (site / "var" / extra).unlink(missing_ok=True)
    told = run_hven("status", "--site", site, expected_code=3).stderr
    assert "hven.sqlite" in told
    assert "restore the system state from a backup" in told
