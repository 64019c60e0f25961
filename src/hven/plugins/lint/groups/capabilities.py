"""Group cap: the capabilities of the service follow TAP, TAPRegExt and ADQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.plugins.lint.capabilities import TAPREGEXT_PREFIX, ServiceCapabilities, ServiceInterface
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import ExaminedTapService

CAPABILITY_CHECKS = parse_lint_checks("""
cap.tap-count | error | TAP 1.1 sec. 2.4 | E_CPT1 E_CPT0
    the service does not declare exactly one capability for TAP
    declare one capability with standardID ivo://ivoa.net/std/TAP
cap.no-standard-interface | error | TAP 1.1 sec. 2.4; VOResource 1.1 | E_CPIF W_CPIF
    the TAP capability has no interface with role std
    write <interface xsi:type="vs:ParamHTTP" role="std" version="1.1">
cap.version | warning | TAP 1.1 sec. 2.4 | E_CPTV W_CPTV
    the interface's version is not 1.1
    write version="1.1" if the service is TAP 1.1
cap.address | warning | TAP 1.1 sec. 2.4 | W_CPUR
    the declared TAP address is not the address that was validated
    declare the address that clients use
cap.address-form | error | VOResource 1.1 accessURL
    an address in the capabilities is not an http(s) URL
    write complete addresses
cap.vosi-address | warning | TAP 1.1 sec. 2 | W_CPUL
    a VOSI document is declared at an address that is not below the TAP address
    serve /capabilities, /tables and /examples next to /sync
cap.no-adql | error | TAP 1.1 sec. 2.7.1; TAPRegExt 1.0 sec. 2.2 | E_NOQL E_ADQX
    ADQL is not declared as a query language
    declare ADQL with its versions
cap.adql-version | warning | TAPRegExt 1.0 sec. 2.2 | E_A2XI W_A2MN W_A2MX W_LVAN
    the ADQL version does not match its ivo-id
    write 2.0 with ivo://ivoa.net/std/ADQL#v2.0, and 2.1 with #v2.1
cap.feature-type | warning | TAPRegExt 1.0 sec. 2.2; ADQL 2.1 sec. 5 | E_KEYX
    a type of language features is unknown
    use the identifiers of ADQL 2.1, in lower case
cap.function-form | error | TAPRegExt 1.0 sec. 2.2.2 | E_UDFE
    a user-defined function is not declared as name(arg TYPE, ...) -> TYPE
    write the complete signature
cap.geometry-name | error | ADQL 2.1 sec. 4.2 | E_GEOX
    a geometry feature is not a geometry function of ADQL
    name only functions of ADQL
cap.upload-method | error | TAPRegExt 1.0 sec. 2.4 | E_UPBD
    an upload method is unknown
    use upload-inline, upload-http, upload-https or upload-ftp
cap.upload-missing | error | TAP 1.1 sec. 2.5 | E_MUPM
    uploads are supported only inline, or only through http
    support both
cap.no-output | error | TAPRegExt 1.0 sec. 2.3 | E_NOOF
    no output format is declared
    declare at least application/x-votable+xml
cap.no-votable | error | TAP 1.1 sec. 2.7.3; DALI 1.1 sec. 3.4.3
    VOTable is not among the output formats
    declare application/x-votable+xml
cap.media-type | error | TAPRegExt 1.0 sec. 2.3 | E_BMIM
    the media type of an output format is not valid
    write type/subtype
cap.output-key | warning | TAPRegExt 1.0 sec. 2.3 | E_XOFK
    an output format has an identifier that TAPRegExt does not define
    use output-votable-td, -binary or -binary2
cap.limit | error | TAPRegExt 1.0 sec. 2.5
    a limit is not a number, or the default limit is above the hard limit
    write integers, with default <= hard
cap.data-model | warning | TAPRegExt 1.0 sec. 2.1
    a data model's identifier is not an IVOA identifier
    write ivo://...
cap.security-method | warning | SSO 2.0; VOResource 1.1 | W_CPSM E_TAP0
    a security method is unknown
    use the identifiers of SSO 2.0
cap.server-header | info | IVOA Note SoftID 1.0 | W_SVR0
    responses have no Server header
    name the software in this header
""")
FUNCTION_FEATURE_TYPE = f"{TAPREGEXT_PREFIX}features-udf"
GEOMETRY_FEATURE_TYPE = f"{TAPREGEXT_PREFIX}features-adqlgeo"
FEATURE_TYPES = {
    FUNCTION_FEATURE_TYPE,
    GEOMETRY_FEATURE_TYPE,
    f"{TAPREGEXT_PREFIX}features-adql-string",
    f"{TAPREGEXT_PREFIX}features-adql-common-table",
    f"{TAPREGEXT_PREFIX}features-adql-sets",
    f"{TAPREGEXT_PREFIX}features-adql-type",
    f"{TAPREGEXT_PREFIX}features-adql-conditional",
    f"{TAPREGEXT_PREFIX}features-adql-unit",
    f"{TAPREGEXT_PREFIX}features-adql-offset",
    f"{TAPREGEXT_PREFIX}features-adql-bitwise",
}
GEOMETRY_FUNCTIONS = {
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
FUNCTION_SIGNATURE_PATTERN = re.compile(r"\s*[A-Za-z]\w*\s*\(.*\)\s*->\s*\S.*", re.DOTALL)
UPLOAD_METHODS = {f"{TAPREGEXT_PREFIX}upload-{method}" for method in ("inline", "http", "https", "ftp")}
REQUIRED_UPLOAD_METHODS = {f"{TAPREGEXT_PREFIX}upload-inline", f"{TAPREGEXT_PREFIX}upload-http"}
OUTPUT_FORMAT_IDS = {f"{TAPREGEXT_PREFIX}output-votable-{encoding}" for encoding in ("td", "binary", "binary2")}
URL_PATTERN = re.compile(r"https?://[^\s/]+\S*")
MEDIA_TYPE_PATTERN = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;\s*[\w-]+\s*=\s*(\"[^\"]*\"|[^\s;\"]+)\s*)*")
SECURITY_METHODS = {
    "ivo://ivoa.net/sso#basicaa",
    "ivo://ivoa.net/sso#tls-with-password",
    "ivo://ivoa.net/sso#tls-with-certificate",
    "ivo://ivoa.net/sso#cookie",
    "ivo://ivoa.net/sso#oauth",
    "ivo://ivoa.net/sso#saml2.0",
    "ivo://ivoa.net/sso#openid",
}
ADQL_VERSION_IDS = {"2.0": "ivo://ivoa.net/std/adql#v2.0", "2.1": "ivo://ivoa.net/std/adql#v2.1"}


def _check_capabilities(service: ExaminedTapService, collector: FindingCollector) -> None:
    capabilities = service.capabilities
    if capabilities.tap_count != 1:
        collector.add_finding("cap.tap-count", f"the service declares {capabilities.tap_count} TAP capabilities")
    if capabilities.tap_count:
        _check_tap_interfaces(service, collector, capabilities)
        _check_query_languages(collector, capabilities)
        _check_output_formats(collector, capabilities)
        _check_upload_methods(collector, capabilities)
        _check_data_model_ids(collector, capabilities)
        _check_declared_limits(collector, capabilities)
    for _, interfaces in capabilities.standards:
        for interface in interfaces:
            _check_declared_interface(collector, interface)
    if not capabilities.answer.headers.get("server"):
        collector.add_finding("cap.server-header")


def _check_declared_interface(collector: FindingCollector, interface: ServiceInterface) -> None:
    for url in interface.urls:
        if not URL_PATTERN.fullmatch(url):
            collector.add_finding("cap.address-form", value=url)
    for method in interface.security:
        if method and method.lower() not in SECURITY_METHODS:
            collector.add_finding("cap.security-method", value=method)


def _check_tap_interfaces(
    service: ExaminedTapService, collector: FindingCollector, capabilities: ServiceCapabilities
) -> None:
    standard_interfaces = [interface for interface in capabilities.interfaces if interface.role == "std"]
    if not standard_interfaces:
        collector.add_finding("cap.no-standard-interface")
        return
    if all(interface.version != "1.1" for interface in standard_interfaces):
        version = standard_interfaces[0].version
        collector.add_finding("cap.version", f"its version is {version or 'missing'}", value=version)
    base_urls = []
    for interface in standard_interfaces:
        base_urls += [url.rstrip("/") for url in interface.urls]
    if service.url not in base_urls:
        declared_url = base_urls[0] if base_urls else "none"
        collector.add_finding("cap.address", f"{service.url} was validated", value=declared_url)
    if not base_urls:
        return
    for name in ("capabilities", "tables"):
        allowed_urls = [f"{base_url}/{name}" for base_url in base_urls]
        for interface in capabilities.find_interfaces(f"ivo://ivoa.net/std/vosi#{name}"):
            for url in interface.urls:
                if url.rstrip("/") not in allowed_urls:
                    collector.add_finding("cap.vosi-address", name, value=url)


def _check_query_languages(collector: FindingCollector, capabilities: ServiceCapabilities) -> None:
    adql = [language for language in capabilities.languages if language.name.upper() == "ADQL"]
    if not adql:
        collector.add_finding("cap.no-adql")
    for language in adql:
        for version, ivoid in language.versions:
            expected_ivoid = ADQL_VERSION_IDS.get(version, ivoid.lower())
            if ivoid.lower() != expected_ivoid or not version:
                collector.add_finding("cap.adql-version", f"version {version!r}", value=ivoid)
    for language in capabilities.languages:
        for kind, form in language.features:
            _check_language_feature(collector, kind, form)


def _check_language_feature(collector: FindingCollector, declared_type: str, form: str) -> None:
    """Check a language feature: its type and, for functions, its form."""
    feature_type = declared_type.lower()
    if feature_type.startswith(TAPREGEXT_PREFIX) and feature_type not in FEATURE_TYPES:
        collector.add_finding("cap.feature-type", value=declared_type)
    elif feature_type == FUNCTION_FEATURE_TYPE:
        if not FUNCTION_SIGNATURE_PATTERN.fullmatch(form):
            collector.add_finding("cap.function-form", value=form)
    elif feature_type == GEOMETRY_FEATURE_TYPE and form.strip().upper() not in GEOMETRY_FUNCTIONS:
        collector.add_finding("cap.geometry-name", value=form)


def _check_output_formats(collector: FindingCollector, capabilities: ServiceCapabilities) -> None:
    media_types = [mime.lower() for mime, _, _ in capabilities.output_formats]
    if not media_types:
        collector.add_finding("cap.no-output")
    elif not any("votable" in media_type or media_type.startswith("text/xml") for media_type in media_types):
        collector.add_finding("cap.no-votable")
    for mime, _, ivoid in capabilities.output_formats:
        if not MEDIA_TYPE_PATTERN.fullmatch(mime):
            collector.add_finding("cap.media-type", value=mime)
        if ivoid.lower().startswith(TAPREGEXT_PREFIX) and ivoid.lower() not in OUTPUT_FORMAT_IDS:
            collector.add_finding("cap.output-key", value=ivoid)


def _check_upload_methods(collector: FindingCollector, capabilities: ServiceCapabilities) -> None:
    declared_methods = {upload_method.lower() for upload_method in capabilities.upload_methods}
    for upload_method in capabilities.upload_methods:
        if upload_method.lower().startswith(TAPREGEXT_PREFIX) and upload_method.lower() not in UPLOAD_METHODS:
            collector.add_finding("cap.upload-method", value=upload_method)
    if declared_methods and not declared_methods.issuperset(REQUIRED_UPLOAD_METHODS):
        collector.add_finding("cap.upload-missing", value=", ".join(sorted(declared_methods)))


def _check_data_model_ids(collector: FindingCollector, capabilities: ServiceCapabilities) -> None:
    for ivoid, _ in capabilities.data_models:
        if not ivoid.lower().startswith("ivo://"):
            collector.add_finding("cap.data-model", value=ivoid)


def _check_declared_limits(collector: FindingCollector, capabilities: ServiceCapabilities) -> None:
    limits_by_name: dict[str, dict[str, int]] = {}
    for declared_limit in capabilities.limits:
        if not declared_limit.value.isdigit():
            detail = f"{declared_limit.name}/{declared_limit.kind}"
            collector.add_finding("cap.limit", detail, value=declared_limit.value)
            continue
        name = f"{declared_limit.name} {declared_limit.unit}".strip()
        limits = limits_by_name.setdefault(name, {})
        limits[declared_limit.kind] = int(declared_limit.value)
    for name, limits in limits_by_name.items():
        if len(limits) == 2 and limits["default"] > limits["hard"] > 0:
            limits_text = f"default {limits['default']}, hard {limits['hard']}"
            collector.add_finding("cap.limit", name, value=limits_text)


GROUP = CheckGroup(name="cap", title="Capabilities", checks=CAPABILITY_CHECKS, run=_check_capabilities)
