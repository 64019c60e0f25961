"""`hven deploy` writes files that the programs that read them accept, and never loses a file that somebody has changed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hven.model.errors import ConflictError, UserError
from hven.model.settings import Settings, load_settings
from hven.plugins.deployment.deployment_files import (
    TEMPLATE_FOLDERS,
    DeploymentFile,
    _format_comment,
    _format_unit_word,
    render_deployment_files,
    write_files,
)
from hven.plugins.deployment.proxy_check import CHECK, KUBERNETES_VARIABLE
from process_runner import run_hven
from requirements import require_program

HOSTILE_NAME = "50 % of {{ stars }}: \"the\\ 'rest' $HOME # [[ name ]] %i"
MAX_EXPOSURE = 2.0  # of 10, as `systemd-analyze security` counts it


def create_site(directory: Path, settings_text: str = "") -> Path:
    directory.mkdir(parents=True)
    (directory / "hven.toml").write_text(f"name = {json.dumps(HOSTILE_NAME)}\n{settings_text}")
    return directory


def render(site: Path, target: str) -> dict[str, str]:
    return {file.name: file.text for file in render_deployment_files(load_settings(site), target)}


def find_judge(name: str) -> str:
    """Find a program that a Python package has brought."""
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        pytest.skip(f"{name} is missing: `scripts/test --all` installs it")
    return str(program)


def judge(*words: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_files_contain_the_settings(tmp_path: Path) -> None:
    site = create_site(
        tmp_path / "a site %h",
        'host = "0.0.0.0"\nport = 8123\nworkers = 7\npublic_url = "https://vo.example.org/x"\n'
        'store = "postgresql+psycopg://hven@db/hven"\n',
    )
    units = render(site, "systemd")
    assert "ListenStream=0.0.0.0:8123\n" in units["hven.socket"]
    service = units["hven.service"]
    assert f'serve --site "{tmp_path}/a site %%h" --workers 7 ' in service
    assert f'ReadWritePaths="{tmp_path}/a site %%h"\n' in service
    assert "ExecStartPost=-/opt/hven/bin/hven ready http://127.0.0.1:8123/x --wait" in service
    compose = yaml.safe_load(render(site, "compose")["compose.yaml"])
    assert compose["services"]["proxy"]["ports"] == ["127.0.0.1:8123:8080"]
    assert set(compose["services"]) == {"proxy", "blue", "green"}, "the site has a database"
    deployment = list(yaml.safe_load_all(render(site, "kubernetes")["hven.yaml"]))[-1]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 2
    assert container["args"][-6:-4] == ["--workers", "7"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/x/health/ready?exclude=engines"
    assert {"name": "HVEN_TRUSTED_PROXIES", "value": "10.0.0.0/8"} in container["env"]


def test_a_database_that_is_away_stops_no_server(tmp_path: Path) -> None:
    """A server whose database is away is not ready; systemd, Kubernetes and HAProxy must leave it running and in use."""
    site = create_site(tmp_path / "site")
    (post_command,) = [
        line for line in render(site, "systemd")["hven.service"].splitlines() if line.startswith("ExecStartPost=")
    ]
    assert post_command.startswith("ExecStartPost=-"), "otherwise systemd stops the server when the command fails"
    deployment = list(yaml.safe_load_all(render(site, "kubernetes")["hven.yaml"]))[-1]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe"):  # Kubernetes restarts the container if one of them fails
        assert container[probe]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready?exclude=engines"
    assert "option httpchk GET /health/ready?exclude=engines\n" in render(site, "compose")["haproxy.cfg"]


def test_a_site_without_a_state_gets_a_database_and_another_keeps_its_own(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site")
    compose = yaml.safe_load(render(site, "compose")["compose.yaml"])
    assert compose["services"]["blue"]["environment"]["HVEN_STORE"] == "postgresql+psycopg://hven@db/hven"
    assert "db" in compose["services"]
    (site / "var").mkdir()
    (site / "var/hven.sqlite").touch()
    compose = yaml.safe_load(render(site, "compose")["compose.yaml"])
    assert "HVEN_STORE" not in compose["services"]["blue"]["environment"]
    assert "db" not in compose["services"]


def test_the_environment_of_containers_is_valid(tmp_path: Path) -> None:
    compose = yaml.safe_load(render(create_site(tmp_path / "site"), "compose")["compose.yaml"])
    settings = load_settings(tmp_path / "site", compose["services"]["green"]["environment"])
    assert (settings.variant, settings.trusted_proxies) == ("green", ("10.89.77.0/24",))


def test_the_files_for_kubernetes_keep_the_proxies_of_the_site(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site", 'trusted_proxies = ["127.0.0.1", "192.0.2.0/24", "198.51.100.7"]\n')
    deployment = list(yaml.safe_load_all(render(site, "kubernetes")["hven.yaml"]))[-1]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    settings = load_settings(site, {"HVEN_TRUSTED_PROXIES": environment["HVEN_TRUSTED_PROXIES"]})
    assert settings.trusted_proxies == ("192.0.2.0/24", "198.51.100.7/32")


def test_messages_of_all_servers_are_json(tmp_path: Path) -> None:
    """Log collectors follow a request by its id, which messages in text do not have."""
    site = create_site(tmp_path / "site")
    assert "Environment=HVEN_LOG_FORMAT=json\n" in render(site, "systemd")["hven.service"]
    compose = yaml.safe_load(render(site, "compose")["compose.yaml"])
    assert compose["services"]["blue"]["environment"]["HVEN_LOG_FORMAT"] == "json"
    assert "{name: HVEN_LOG_FORMAT, value: json}" in render(site, "kubernetes")["hven.yaml"]


@pytest.mark.parametrize(("proxies", "count"), [(("127.0.0.1/32", "::1/128"), 1), (("10.0.0.0/8",), 0)])
def test_the_doctor_finds_a_cluster_without_proxies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxies: tuple[str, ...], count: int
) -> None:
    site = SimpleNamespace(settings=Settings(directory=tmp_path, trusted_proxies=proxies))
    assert list(CHECK.find(site)) == [], "on other machines, the proxy is usually on the machine itself"
    monkeypatch.setenv(KUBERNETES_VARIABLE, "10.0.0.1")
    assert len(list(CHECK.find(site))) == count


def test_files_that_somebody_changed_are_kept(tmp_path: Path) -> None:
    site, directory = create_site(tmp_path / "site"), tmp_path / "out"
    first = run_hven("deploy", directory, "--to", "systemd", "--site", site).stdout
    assert first.count("written: ") == 2
    assert run_hven("deploy", directory, "--to", "systemd", "--site", site).stdout.count("unchanged: ") == 2
    with (site / "hven.toml").open("a") as settings_file:
        settings_file.write("workers = 5\nport = 8099\n")
    # both are as they were written, and follow the settings
    assert run_hven("deploy", directory, "--to", "systemd", "--site", site).stdout.count("written: ") == 0
    assert "--workers 5 " in (directory / "hven.service").read_text()
    changed = (directory / "hven.service").read_text() + "# mine\n"
    (directory / "hven.service").write_text(changed)
    (directory / "hven.socket").unlink()
    refused = run_hven("deploy", directory, "--to", "systemd", "--site", site, expected_code=1)
    assert "somebody has changed hven.service" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert (directory / "hven.service").read_text() == changed
    assert not (directory / "hven.socket").exists(), "all files or none"
    run_hven("deploy", directory, "--to", "systemd", "--site", site, "--overwrite")
    assert "# mine" not in (directory / "hven.service").read_text()


@pytest.mark.parametrize("kind", ["directory", "link", "binary", "empty", "large"])
def test_what_is_no_file_of_ours_is_kept(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "hven.socket"
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes({"binary": b"\xff\0", "empty": b"", "large": b"x" * (2 << 20)}[kind])
    with pytest.raises(ConflictError, match=r"somebody has changed hven\.socket"):
        write_files([DeploymentFile(name="hven.socket", text="x")], tmp_path, overwrite=False)
    assert os.path.lexists(path)


def test_images_are_pinned_by_their_digests(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site")
    digest = f"sha256:{'a1' * 32}"
    images = [
        "docker.io/library/debian:12-slim",
        "docker.io/library/haproxy:2.6-alpine",
        "docker.io/library/postgres:17",
    ]
    pins = [word for image in images for word in ("--pin", f"{image}@{digest}")]
    run_hven("deploy", tmp_path / "out", "--to", "compose", *pins, "--site", site)
    containerfile = (tmp_path / "out/Containerfile").read_text()
    assert f"\nARG BASE={images[0]}@{digest}\n" in containerfile
    assert f'base.name="{images[0]}"' in containerfile
    services = yaml.safe_load((tmp_path / "out/compose.yaml").read_text())["services"]
    assert [services[name]["image"] for name in ("proxy", "db")] == [f"{image}@{digest}" for image in images[1:]]
    again = run_hven("deploy", tmp_path / "out", "--to", "compose", *pins, "--site", site).stdout
    assert again.count("unchanged: ") == 4


@pytest.mark.parametrize(
    ("pin", "message"),
    [
        ("docker.io/library/debian:12-slim", "not an image with its digest"),
        ("docker.io/library/debian:12-slim@sha256:1", "not an image with its digest"),
        (f"docker.io/library/debian:11@sha256:{'a1' * 32}", "do not use docker.io/library/debian:11"),
    ],
)
def test_wrong_digests_are_refused(tmp_path: Path, pin: str, message: str) -> None:
    words = ("deploy", tmp_path / "out", "--to", "container", "--pin", pin, "--site", create_site(tmp_path / "site"))
    assert message in run_hven(*words, expected_code=1).stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site")
    refused = run_hven("deploy", tmp_path / "out", "--to", "kubernets", "--site", site, expected_code=1)
    assert "kubernetes" in refused.stderr
    assert not (tmp_path / "out").exists()


@given(st.text(max_size=60))
def test_any_text_stays_in_its_place(text: str) -> None:
    assert len(_format_comment(text).splitlines()) <= 1
    try:
        word = _format_unit_word(text)
    except UserError:
        assert not text.isprintable()
        return
    assert "\n" not in word
    if not text.endswith(("\\", " ")) and text:
        (read_word,) = shlex.split(word) if word.startswith('"') else [word]
        assert read_word.replace("$$", "$").replace("%%", "%") == text.replace("$$", "$").replace("%%", "%")


@pytest.mark.outside
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    program = require_program("systemd-analyze")
    run_hven("deploy", tmp_path / "units", "--to", "systemd", "--site", create_site(tmp_path / "a site"))
    service = tmp_path / "units/hven.service"
    service.write_text(service.read_text().replace("/opt/hven/bin/hven", shutil.which("true") or ""))
    messages = judge(program, "verify", "--man=no", service, tmp_path / "units/hven.socket")
    assert "hven." not in messages, messages
    judge(program, "security", "--offline=true", f"--threshold={MAX_EXPOSURE * 10:.0f}", service)


@pytest.mark.outside
def test_kubernetes_accepts_its_file(tmp_path: Path) -> None:
    program = find_judge("kubernetes-validate")
    for number, settings_text in enumerate(("", 'store = "postgresql+psycopg://hven@db/hven"\n')):
        site = create_site(tmp_path / f"site{number}", settings_text)
        run_hven("deploy", tmp_path / f"out{number}", "--to", "kubernetes", "--site", site)
        assert judge(program, "--strict", tmp_path / f"out{number}/hven.yaml").count("passed") == 3


@pytest.mark.outside
def test_linters_accept_the_files_of_containers(tmp_path: Path) -> None:
    run_hven("deploy", tmp_path / "out", "--to", "compose", "--site", create_site(tmp_path / "site"))
    judge(find_judge("hadolint"), tmp_path / "out/Containerfile")
    judge(find_judge("compose-lint"), tmp_path / "out/compose.yaml")


@pytest.mark.outside
def test_dockerfilelint_finds_only_what_does_not_apply(tmp_path: Path) -> None:
    """It wants a tag of the base image, which the argument BASE contains; and it does not know `FROM scratch`."""
    program = shutil.which("dockerfilelint")
    if program is None:
        pytest.skip("dockerfilelint is missing: npm install --global dockerfilelint")
    run_hven("deploy", tmp_path / "out", "--to", "container", "--site", create_site(tmp_path / "site"))
    words = [program, "--output", "json", tmp_path / "out/Containerfile"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    (file,) = json.loads(done.stdout)["files"]
    found = {(issue["line"], issue["title"]) for issue in file["issues"]}
    lines = (tmp_path / "out/Containerfile").read_text().splitlines()
    assert {lines[int(line) - 1].partition(" ")[0] for line, _ in found} <= {"FROM"}, found


@pytest.mark.outside
def test_haproxy_accepts_its_configuration(tmp_path: Path) -> None:
    program = require_program("haproxy")
    run_hven("deploy", tmp_path / "out", "--to", "compose", "--site", create_site(tmp_path / "site"))
    judge(program, "-c", "-f", tmp_path / "out/haproxy.cfg")


def test_each_file_says_what_it_is(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site")
    for target in TEMPLATE_FOLDERS:
        for name, text in render(site, target).items():
            head = text.splitlines()[:2]
            assert head[0].startswith("# Written by hven deploy, checksum "), name
            assert head[1].startswith("# "), name
            assert "[[" not in text.replace("[[ name ]]", ""), name
