"""Example 27 against its files: states and flags computed once more, and its targets as ASPRO reads them."""

from __future__ import annotations

import csv
import io
import json
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse, parse_single_table

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Client

from example_sites import ingest_all, open_example
from hven.app._server import create_and_start_application
from hven.ingest.sync import sync_collection
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth.local import create_personal_token
from requirements import find_aspro, require, require_program

pytestmark = pytest.mark.slow
Record = dict[str, str]
DEGREES_PER_HOUR = 15
# of ASPRO's decimal hours, which have six decimals
MAX_DISTANCE_ARCSEC = 0.06
# column of the example -> column of ASPRO's file, and element of ASPRO's observation
ASPRO_COLUMNS = {
    "plx": "TARGET_Plx",
    "vmag": "TARGET_Vmag",
    "rmag": "TARGET_Rmag",
    "hmag": "TARGET_Hmag",
    "kmag": "TARGET_Kmag",
    "sp_type": "TARGET_SpT",
    "hd": "TARGET_HD",
}
ASPRO_ELEMENTS = {
    "plx": "PARALLAX",
    "vmag": "FLUX_V",
    "rmag": "FLUX_R",
    "hmag": "FLUX_H",
    "kmag": "FLUX_K",
    "sp_type": "SPECTYP",
    "hd": "IDS",
}
ASPRO_NAMES = ("TARGET_MAIN_ID", "TARGET_RA", "TARGET_DEC", "TARGET_PROGNAME", "HD")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Site, Client]]:
    with open_example("27-spica", tmp_path_factory.mktemp("survey")) as directory:
        ingest_all(directory)
        with Site(load_settings(directory)) as site:
            yield directory, site, Client(create_and_start_application(site))


def read_file(directory: Path, name: str) -> list[Record]:
    """Read a file of the example."""
    with (directory / f"collections/spica/data/{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def query_rows(client: Client, query: str) -> list[Record]:
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv")
    assert answer.status == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def compute_flags(observation: Record, nights: dict[str, Record]) -> int:
    """Compute the flags of an observation from the night log, without Hven."""
    night = nights[observation["night"]]
    flags = 2 * (night["clouds"] == "thick") + 4 * (float(night["seeing"]) >= 2) + 8 * (int(night["telescopes"]) < 6)
    return flags + 16 * (float(observation["fringe_snr"]) < 3)


def test_the_data_are_the_same_each_time(survey: tuple[Path, Site, Client], tmp_path: Path) -> None:
    directory, _, _ = survey
    program = tmp_path / "make_data.py"
    program.write_bytes((directory / "make_data.py").read_bytes())
    (tmp_path / "collections/spica").mkdir(parents=True)
    runpy.run_path(str(program), run_name="__main__")
    files = sorted((tmp_path / "collections/spica/data").iterdir())
    assert len(files) == 8
    for path in files:
        assert path.read_bytes() == (directory / "collections/spica/data" / path.name).read_bytes(), path.name


def test_each_row_belongs_to_another(survey: tuple[Path, Site, Client]) -> None:
    """No foreign key leads nowhere, and TAP_SCHEMA has all of them."""
    _, _, client = survey
    keys = query_rows(
        client,
        "SELECT from_table, target_table, from_column, target_column FROM tap_schema.keys JOIN tap_schema.key_columns"
        " USING (key_id) WHERE from_table LIKE 'spica.%'",
    )
    links = {(key["from_table"].partition(".")[2], key["target_table"].partition(".")[2]) for key in keys}
    assert links >= {
        ("packages", "programmes"),
        ("targets", "packages"),
        ("setups", "targets"),
        ("extras", "targets"),
        ("observations", "setups"),
        ("observations", "nights"),
        ("products", "observations"),
    }
    for key in keys:
        [row] = query_rows(
            client,
            f"SELECT COUNT(*) AS n FROM {key['from_table']} AS a LEFT JOIN {key['target_table']} AS b"
            f" ON a.{key['from_column']} = b.{key['target_column']} WHERE b.{key['target_column']} IS NULL",
        )
        assert row["n"] == "0", key


def test_flags_and_states_are_those_of_the_files(survey: tuple[Path, Site, Client]) -> None:
    directory, _, client = survey
    nights = {night["night"]: night for night in read_file(directory, "nights")}
    observations = read_file(directory, "observations")
    flags = {row["observation"]: compute_flags(row, nights) for row in observations}
    published = query_rows(client, "SELECT observation, quality_flags FROM spica.observations")
    assert {row["observation"]: int(row["quality_flags"]) for row in published} == flags
    assert len(set(flags.values())) > 6
    usable = {row["observation"]: row["setup"] for row in observations if not flags[row["observation"]] & 22}
    observed = Counter(usable.values())
    reduced = Counter(
        usable[product["observation"]]
        for product in read_file(directory, "products")
        if product["observation"] in usable
    )
    expected = {}
    for setup in read_file(directory, "setups"):
        number, visits = setup["setup"], int(setup["visits"])
        is_reduced = reduced[number] >= visits
        expected[number] = "reduced" if is_reduced else "observed" if observed[number] >= visits else "planned"
    states = {row["setup"]: row["state"] for row in query_rows(client, "SELECT setup, state FROM spica.follow_up")}
    assert states == expected
    assert min(Counter(states.values()).values()) > 300


def test_set_ups_and_further_values(survey: tuple[Path, Site, Client]) -> None:
    _, _, client = survey
    rows = query_rows(
        client,
        "SELECT t.name, COUNT(DISTINCT s.setup) AS setups, COUNT(DISTINCT e.name) AS extras FROM spica.targets AS t"
        " JOIN spica.setups AS s ON s.target = t.target LEFT JOIN spica.extras AS e ON e.target = t.target GROUP BY t.name",
    )
    assert len(rows) == 3000
    assert {row["setups"] for row in rows} == {"1", "2", "3"}
    assert {row["extras"] for row in rows} == {"0", "1", "2"}


def test_all_targets_are_in_one_table_for_aspro(survey: tuple[Path, Site, Client]) -> None:
    _, _, client = survey
    answer = client.get("/spica/aspro.votable")
    assert b"<TABLEDATA>" in answer.body, "ASPRO reads no other serialization"
    [resource] = parse(io.BytesIO(answer.body)).resources
    [table] = resource.tables
    fields = {field.name: field for field in table.fields}
    assert table.nrows == 3000
    assert fields.keys() >= set(ASPRO_NAMES)
    ucds = {field.ucd for field in table.fields}
    assert ucds >= {"meta.id;meta.main", "pos.eq.ra;meta.main", "phot.mag;em.opt.V", "phot.mag;em.IR.K", "src.spType"}
    params = {param.name: str(param.value) for param in resource.params}
    assert params == {"INTERFEROMETER": "CHARA", "PERIOD": "CHARA Future", "INSTRUMENT": "SPICA_6T"}
    part = parse_single_table(io.BytesIO(client.get("/spica/aspro.votable", package="EXO-1").body))
    assert 100 < part.nrows < 1000


def test_aspro_gets_its_own_targets(tmp_path: Path) -> None:
    """Give the table the targets of ASPRO's test: its style sheet makes the same targets of our VOTable as of its own."""
    require("aspro")
    program = require_program("xsltproc")
    folder = find_aspro()
    assert folder is not None
    given = parse(folder / "partial_wp5.vot").get_first_table().to_table(use_names_over_ids=True)
    assert len(given) == 42
    with open_example("27-spica", tmp_path) as directory:
        data = directory / "collections/spica/data"
        with (data / "programmes.csv").open("a", encoding="utf-8") as file:
            file.write("WP5,Targets of ASPRO,nna,\n")
        with (data / "packages.csv").open("a", encoding="utf-8") as file:
            file.write("WP5,WP5,Targets of ASPRO,nna\n")
        names = list(read_file(directory, "targets")[0])
        places = SkyCoord(given["TARGET_RA"], given["TARGET_DEC"], unit=("hourangle", "deg"))
        with (data / "targets.csv").open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names)
            for number, (name, place) in enumerate(zip(given["TARGET_MAIN_ID"], places, strict=True), 3001):
                row = {"target": number, "name": name, "package": "WP5", "ra": place.ra.deg, "dec": place.dec.deg}
                for column, own_name in ASPRO_COLUMNS.items():
                    value = given[own_name][number - 3001]
                    row[column] = "" if str(value) in {"nan", "--", ""} else str(value).removeprefix("HD ")
                writer.writerow(row)
        ingest_all(directory)
        with Site(load_settings(directory)) as site:
            client = Client(create_and_start_application(site))
            query = f"SELECT {', '.join(ASPRO_NAMES)} FROM spica.aspro WHERE TARGET_PROGNAME = 'WP5'"
            answers = [
                client.get("/spica/aspro.votable", programme="WP5"),
                client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="votable/td"),
            ]
    style_sheet = folder / "vot2AsproObservation.xsl"
    expected = transform_targets(program, style_sheet, (folder / "partial_wp5.vot").read_bytes())
    assert len(expected) == 42
    for answer in answers:
        assert answer.status == 200
        targets = transform_targets(program, style_sheet, answer.body)
        assert sorted(targets) == sorted(expected)
        for name, target in targets.items():
            assert target["programme"] == expected[name]["programme"]
            # a number; older style sheets write 2000.0
            assert float(target["equinox"]) == float(expected[name]["equinox"]) == 2000
            assert target["place"].separation(expected[name]["place"]).arcsec < MAX_DISTANCE_ARCSEC
    stars = transform_targets(program, style_sheet, answers[0].body)
    compared_count = 0
    for star in given:
        for column, element in ASPRO_ELEMENTS.items():
            value = str(star[ASPRO_COLUMNS[column]])
            found = stars[str(star["TARGET_MAIN_ID"])]["element"].findtext(element) or ""
            if value in {"nan", "--", ""}:
                assert found.strip(",") == "", (column, value)
            elif column in {"hd", "sp_type"}:
                assert found.strip(",") == value, column
            else:
                assert abs(float(found) - float(value)) <= 1e-5 * abs(float(value)), (column, value, found)
            compared_count += 1
    assert compared_count == 42 * len(ASPRO_ELEMENTS)


def transform_targets(
    program: str, style_sheet: Path, votable: bytes, configuration: dict[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Transform a VOTable into an observation of ASPRO; give its targets by name, and fill in its configuration."""
    done = subprocess.run(
        [program, "--nonet", str(style_sheet), "-"], input=votable, capture_output=True, check=True, timeout=60
    )
    observation = ET.fromstring(done.stdout)
    assert observation.findtext("interferometerConfiguration/name") == "CHARA Future"
    if configuration is not None:
        configuration |= {
            element.tag: str(element.text) for element in observation.iterfind(".//instrumentConfiguration/*")
        }
        configuration["channels"] = observation.findtext(".//configuration/channels") or ""
    targets: dict[str, dict[str, Any]] = {}
    for target in observation.findall("target"):
        ra, dec = str(target.findtext("RA")), str(target.findtext("DEC"))
        programmes = [
            parameter.get("value") for parameter in target.iter() if parameter.get("name") == "TARGET_PROGNAME"
        ]
        name = str(target.findtext("name"))
        assert name not in targets
        targets[name] = {
            "place": SkyCoord(ra, dec, unit=("hourangle", "deg")),
            "equinox": target.findtext("EQUINOX"),
            "programme": programmes[:1],  # newer style sheets do not write it
            "element": target,
        }
    return targets


def test_a_configuration_of_set_ups_is_that_of_aspro(survey: tuple[Path, Site, Client]) -> None:
    """Ask for the set-ups of one array: ASPRO's style sheet finds its stations, PoPs and beams, and its targets."""
    require("aspro")
    program = require_program("xsltproc")
    folder = find_aspro()
    assert folder is not None
    directory, _, client = survey
    setups = read_file(directory, "setups")
    programmes = {row["package"]: row["programme"] for row in read_file(directory, "packages")}
    targets = {row["target"]: row for row in read_file(directory, "targets")}
    for stations, pops, beams in sorted({(row["stations"], row["pops"], row["beams"]) for row in setups}):
        for mode in ("LR_140", "MR_4400"):
            wanted = [
                targets[row["target"]]
                for row in setups
                if (row["stations"], row["mode"]) == (stations, mode)
                and programmes[targets[row["target"]]["package"]] == "EXO"
            ]
            answer = client.get(
                "/spica/aspro-setups.votable", stations=stations, pops=pops, beams=beams, mode=mode, programme="EXO"
            )
            assert answer.status == 200, answer.text
            configuration: dict[str, str] = {}
            found = transform_targets(program, folder / "vot2AsproObservation.xsl", answer.body, configuration)
            expected = {"name": "SPICA_6T", "stations": stations, "pops": pops, "channels": beams}
            assert configuration == expected
            assert set(found) == {target["name"] for target in wanted}
            assert wanted
    assert client.get("/spica/aspro-setups.votable", stations="S1 S2 E1 E2 W1 W2").status == 400, "PoPs are required"


def test_targets_are_submitted_as_a_sheet_and_refer_to_packages(survey: tuple[Path, Site, Client]) -> None:
    """Anna sends 3,000 new targets as one sheet, mia accepts them at once; a wrong work package is refused."""
    _, site, client = survey
    proofs = {}
    for name in ("anna", "mia"):
        if all(account != name for account in site.store.users.list_accounts()):
            site.store.users.add_account(name)
        proofs[name] = {
            "authorization": f"Bearer {create_personal_token(site.store, name, 'all', 1, created_by=name)[1]}"
        }
    package = query_rows(client, "SELECT MIN(package) AS package FROM spica.packages")[0]["package"]
    lines = [f"new star {number},{package},{number * 0.1},{number * 0.02}" for number in range(3_000)]

    def send(address: str, body: bytes, media_type: str, name: str = "anna") -> Any:
        sent = {"content-type": media_type, "accept": "application/json", **proofs[name]}
        answer = client.ask("POST", address, body=body, headers=sent)
        assert answer.status in {200, 201}, answer.text[:2_000]
        return json.loads(answer.body)

    def take(submission: Any, action: str, name: str = "anna") -> Any:
        address = f"/submissions/spica.targets/{submission['number']}"
        order = {"action": action, "etag": submission["etag"]}
        return send(address, json.dumps(order).encode(), "application/json", name)

    wrong = send("/submissions/spica.targets", b"name,package,ra,dec\nx,NOTHING,1,2\n", "text/csv")
    obstacles = take(wrong, "check")["report"]["obstacles"]
    assert obstacles == ["rows refer to rows that do not exist"]
    sheet = "\n".join(["name,package,ra,dec", *lines, ""]).encode()
    submission = take(send("/submissions/spica.targets", sheet, "text/csv"), "submit")
    assert submission["state"] == "submitted"
    count = "SELECT COUNT(*) AS n FROM spica.targets WHERE name LIKE 'new star %'"
    assert query_rows(client, count) == [{"n": "0"}]
    assert take(submission, "accept", "mia")["state"] == "saved"
    assert query_rows(client, count) == [{"n": "3000"}]


def test_a_corrected_night_log_changes_flags_and_states(tmp_path: Path) -> None:
    """An observer corrects the log: a sync flags the observations of that night, and computes their states again."""
    with open_example("27-spica", tmp_path) as directory:
        ingest_all(directory)
        nights = {row["night"]: row for row in read_file(directory, "nights")}
        observations = read_file(directory, "observations")
        by_night = defaultdict(list)
        for row in observations:
            by_night[row["night"]].append(row)
        night = max(
            (name for name, log in nights.items() if log["clouds"] == "none"), key=lambda name: len(by_night[name])
        )
        path = directory / "collections/spica/data/nights.csv"
        lines = path.read_text(encoding="utf-8").splitlines()
        corrected = [line.replace(",none,", ",thick,") if line.startswith(night) else line for line in lines]
        path.write_text("\n".join(corrected) + "\n", encoding="utf-8")
        with Site(load_settings(directory)) as site:
            client = Client(create_and_start_application(site))
            counts = "SELECT state, COUNT(*) AS n FROM spica.follow_up GROUP BY state"
            before = {row["state"]: int(row["n"]) for row in query_rows(client, counts)}
            sync_collection(site, "spica")
            flags = "SELECT quality_flags & 2 AS cloudy FROM spica.observations WHERE night"
            rows = query_rows(client, f"{flags} = '{night}'")
            assert len(rows) == len(by_night[night]) > 5
            assert {row["cloudy"] for row in rows} == {"2"}
            after = {row["state"]: int(row["n"]) for row in query_rows(client, counts)}
    assert after["planned"] > before["planned"]
    assert sum(after.values()) == sum(before.values())
