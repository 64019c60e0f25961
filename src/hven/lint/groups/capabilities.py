"""Group cap: what the service says that it can is said as TAP, TAPRegExt and ADQL want it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.lint.capabilities import REGEXT, Capabilities
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group

if TYPE_CHECKING:
    from hven.lint.service import Service

CHECKS = table_of_checks(
    ("cap.tap-count", "error", "TAP 1.1 sec. 2.4", "there must be exactly one capability for TAP",
     "declare one with standardID ivo://ivoa.net/std/TAP", "E_CPT1 E_CPT0"),
    ("cap.no-standard-interface", "error", "TAP 1.1 sec. 2.4; VOResource 1.1", "the TAP capability has no interface with role std",
     'write <interface xsi:type="vs:ParamHTTP" role="std" version="1.1">', "E_CPIF W_CPIF"),
    ("cap.version", "warning", "TAP 1.1 sec. 2.4", "the interface does not say version 1.1", 'write version="1.1" if the service is TAP 1.1', "E_CPTV W_CPTV"),
    ("cap.address", "warning", "TAP 1.1 sec. 2.4", "the declared address of TAP is not the one that was asked",
     "declare the address that clients use", "W_CPUR"),
    ("cap.address-form", "error", "VOResource 1.1 accessURL", "an address in the capabilities is no http(s) URL", "write whole addresses", ""),
    ("cap.vosi-address", "warning", "TAP 1.1 sec. 2", "a VOSI document is declared elsewhere than below the TAP address",
     "serve /capabilities, /tables and /examples beside /sync", "W_CPUL"),
    ("cap.no-adql", "error", "TAP 1.1 sec. 2.7.1; TAPRegExt 1.0 sec. 2.2", "no query language ADQL is declared", "declare ADQL with its versions", "E_NOQL E_ADQX"),
    ("cap.adql-version", "warning", "TAPRegExt 1.0 sec. 2.2", "the version of ADQL and its ivo-id do not belong together",
     "write 2.0 with ivo://ivoa.net/std/ADQL#v2.0, 2.1 with #v2.1", "E_A2XI W_A2MN W_A2MX W_LVAN"),
    ("cap.feature-type", "warning", "TAPRegExt 1.0 sec. 2.2; ADQL 2.1 sec. 5", "a type of language features is not known",
     "use the identifiers of ADQL 2.1, in lower case", "E_KEYX"),
    ("cap.function-form", "error", "TAPRegExt 1.0 sec. 2.2.2", "a user-defined function is not declared as name(arg TYPE, ...) -> TYPE",
     "write the whole signature", "E_UDFE"),
    ("cap.geometry-name", "error", "ADQL 2.1 sec. 4.2", "a geometry feature is no geometry function of ADQL", "name functions of ADQL only", "E_GEOX"),
    ("cap.upload-method", "error", "TAPRegExt 1.0 sec. 2.4", "an upload method is not known", "upload-inline, upload-http, upload-https, upload-ftp", "E_UPBD"),
    ("cap.upload-missing", "error", "TAP 1.1 sec. 2.5", "uploads are offered, but not both inline and by http", "offer both", "E_MUPM"),
    ("cap.no-output", "error", "TAPRegExt 1.0 sec. 2.3", "no output format is declared", "declare application/x-votable+xml at least", "E_NOOF"),
    ("cap.no-votable", "error", "TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3", "VOTable is not among the output formats", "declare application/x-votable+xml", ""),
    ("cap.media-type", "error", "TAPRegExt 1.0 sec. 2.3", "an output format's media type is none", "write type/subtype", "E_BMIM"),
    ("cap.output-key", "warning", "TAPRegExt 1.0 sec. 2.3", "an output format has an identifier that TAPRegExt does not define",
     "output-votable-td, -binary or -binary2", "E_XOFK"),
    ("cap.limit", "error", "TAPRegExt 1.0 sec. 2.5", "a limit is no number, or the default is above the hard limit", "write whole numbers, default <= hard", ""),
    ("cap.data-model", "warning", "TAPRegExt 1.0 sec. 2.1", "a data model's identifier is none", "write ivo://...", ""),
    ("cap.security-method", "warning", "SSO 2.0; VOResource 1.1", "a security method is not known", "use the identifiers of SSO 2.0", "W_CPSM E_TAP0"),
    ("cap.server-header", "info", "IVOA Note SoftID 1.0", "answers have no Server header", "say which software it is", "W_SVR0"),
)  # fmt: skip
FEATURES = {REGEXT + f"features-{one}" for one in (
    "udf", "adqlgeo", "adql-string", "adql-common-table", "adql-sets", "adql-type", "adql-conditional", "adql-unit", "adql-offset", "adql-bitwise",
)}  # fmt: skip
GEOMETRY = {
    "AREA",
    "BOX",
    "CENTROID",
    "CIRCLE",
    "CONTAINS",
    "COORD1",
    "COORD2",
    "COORDSYS",
    "DISTANCE",
    "INTERSECTS",
    "POINT",
    "POLYGON",
    "REGION",
}
UDF = re.compile(r"\s*[A-Za-z]\w*\s*\(.*\)\s*->\s*\S.*", re.DOTALL)
UPLOADS = {REGEXT + f"upload-{one}" for one in ("inline", "http", "https", "ftp")}
OUTPUTS = {REGEXT + f"output-votable-{one}" for one in ("td", "binary", "binary2")}
MEDIA = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;\s*[\w-]+\s*=\s*(\"[^\"]*\"|[^\s;\"]+)\s*)*")
SECURITY = {
    f"ivo://ivoa.net/sso#{one}"
    for one in ("basicaa", "tls-with-password", "tls-with-certificate", "cookie", "oauth", "saml2.0", "openid")
}
VERSIONS = {"2.0": "ivo://ivoa.net/std/adql#v2.0", "2.1": "ivo://ivoa.net/std/adql#v2.1"}


def _run(service: Service, notes: Notes) -> None:
    found = service.capabilities
    if found.taps != 1:
        notes.tell("cap.tap-count", f"there are {found.taps}")
    if found.taps:
        _interfaces(service, notes, found)
        _languages(notes, found)
        _outputs(notes, found)
        _limits(notes, found)
    for _, interfaces in found.standards:
        for one in interfaces:
            for url in one.urls:
                if not re.fullmatch(r"https?://[^\s/]+\S*", url):
                    notes.tell("cap.address-form", value=url)
            for method in one.security:
                if method and method.lower() not in SECURITY:
                    notes.tell("cap.security-method", value=method)
    if not found.answer.headers.get("server"):
        notes.tell("cap.server-header")


def _interfaces(service: Service, notes: Notes, found: Capabilities) -> None:
    standard = [one for one in found.interfaces if one.role == "std"]
    if not standard:
        notes.tell("cap.no-standard-interface")
        return
    if all(one.version != "1.1" for one in standard):
        notes.tell("cap.version", f"it says {standard[0].version or 'nothing'}", value=standard[0].version)
    urls = [url.rstrip("/") for one in standard for url in one.urls]
    if service.url not in urls:
        notes.tell("cap.address", f"{service.url} was asked", value=urls[0] if urls else "none")
    for name in ("capabilities", "tables"):
        for one in found.of(f"ivo://ivoa.net/std/vosi#{name}"):
            for url in one.urls:
                if urls and all(url.rstrip("/") != f"{base}/{name}" for base in urls):
                    notes.tell("cap.vosi-address", name, value=url)


def _languages(notes: Notes, found: Capabilities) -> None:
    adql = [one for one in found.languages if one.name.upper() == "ADQL"]
    if not adql:
        notes.tell("cap.no-adql")
    for one in adql:
        for version, ivoid in one.versions:
            if ivoid.lower() != VERSIONS.get(version, ivoid.lower()) or not version:
                notes.tell("cap.adql-version", f"version {version!r}", value=ivoid)
    for one in found.languages:
        for kind, form in one.features:
            bare = kind.lower()
            if bare.startswith(REGEXT) and bare not in FEATURES:
                notes.tell("cap.feature-type", value=kind)
            elif bare == REGEXT + "features-udf" and not UDF.fullmatch(form):
                notes.tell("cap.function-form", value=form)
            elif bare == REGEXT + "features-adqlgeo" and form.strip().upper() not in GEOMETRY:
                notes.tell("cap.geometry-name", value=form)


def _outputs(notes: Notes, found: Capabilities) -> None:
    if not found.outputs:
        notes.tell("cap.no-output")
    elif not any("votable" in mime.lower() or mime.lower().startswith("text/xml") for mime, _, _ in found.outputs):
        notes.tell("cap.no-votable")
    for mime, _, ivoid in found.outputs:
        if not MEDIA.fullmatch(mime):
            notes.tell("cap.media-type", value=mime)
        if ivoid.lower().startswith(REGEXT) and ivoid.lower() not in OUTPUTS:
            notes.tell("cap.output-key", value=ivoid)
    known = {one.lower() for one in found.uploads}
    for one in found.uploads:
        if one.lower().startswith(REGEXT) and one.lower() not in UPLOADS:
            notes.tell("cap.upload-method", value=one)
    if known and not {REGEXT + "upload-inline", REGEXT + "upload-http"} <= known:
        notes.tell("cap.upload-missing", value=", ".join(sorted(known)))
    for ivoid, _ in found.models:
        if not ivoid.lower().startswith("ivo://"):
            notes.tell("cap.data-model", value=ivoid)


def _limits(notes: Notes, found: Capabilities) -> None:
    known: dict[str, dict[str, int]] = {}
    for one in found.limits:
        if not one.value.isdigit():
            notes.tell("cap.limit", f"{one.name}/{one.which}", value=one.value)
        else:
            known.setdefault(f"{one.name} {one.unit}".strip(), {})[one.which] = int(one.value)
    for name, pair in known.items():
        if len(pair) == 2 and pair["default"] > pair["hard"] > 0:
            notes.tell("cap.limit", name, value=f"default {pair['default']}, hard {pair['hard']}")


GROUP = Group(name="cap", title="Capabilities", checks=CHECKS, run=_run)
