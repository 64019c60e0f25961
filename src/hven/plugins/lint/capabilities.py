"""Parse the capabilities document of a service into records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.plugins.lint.xml_documents import get_element_text, get_xsi_type

if TYPE_CHECKING:
    from hven.sources.http_client import HttpAnswer

TAP_STANDARD_ID = "ivo://ivoa.net/std/tap"
TAPREGEXT_PREFIX = "ivo://ivoa.net/std/tapregext#"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInterface:
    """An interface with its type, role, version and addresses."""

    kind: str
    role: str
    version: str
    urls: tuple[str, ...]
    uses: tuple[str, ...]
    security: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLanguage:
    """A query language with its versions (version, ivo-id) and features (type, form)."""

    name: str
    versions: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredLimit:
    """A limit: its name, whether it is the default or the hard one, its unit, and its text."""

    name: str
    kind: str
    unit: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCapabilities:
    """The capabilities of a service.

    `standards` has the interfaces by the identifier of the standard in lower case. The other fields are parts of the
    TAP capability.
    """

    root: Any
    answer: HttpAnswer
    standards: tuple[tuple[str, tuple[ServiceInterface, ...]], ...]
    tap_count: int
    interfaces: tuple[ServiceInterface, ...]
    version: str
    data_models: tuple[tuple[str, str], ...]
    languages: tuple[QueryLanguage, ...]
    output_formats: tuple[tuple[str, tuple[str, ...], str], ...]  # mime, aliases, ivo-id
    upload_methods: tuple[str, ...]
    limits: tuple[DeclaredLimit, ...]

    def find_interfaces(self, standard_id_prefix: str) -> tuple[ServiceInterface, ...]:
        """Return the interfaces of a standard, by the start of its identifier in lower case."""
        matching_interfaces: list[ServiceInterface] = []
        for name, interfaces in self.standards:
            if name.startswith(standard_id_prefix):
                matching_interfaces += interfaces
        return tuple(matching_interfaces)

    @property
    def adql_versions(self) -> tuple[str, ...]:
        """The declared versions of ADQL."""
        versions: list[str] = []
        for language in self.languages:
            if language.name.upper() == "ADQL":
                versions += [version for version, _ in language.versions]
        return tuple(versions)

    def has_feature(self, name: str) -> bool:
        """Return whether an optional feature or a function of this name is declared."""
        declared_names: set[str] = set()
        for language in self.languages:
            declared_names.update(form.split("(")[0].strip().lower() for _, form in language.features)
        return name.lower() in declared_names


def parse_capabilities(root: Any, answer: HttpAnswer) -> ServiceCapabilities:
    """Parse a capabilities document; missing elements give empty values."""
    standards = []
    tap_elements = []
    for element in root.findall("{*}capability"):
        standard_id = str(element.get("standardID", "")).strip().lower()
        standards.append((standard_id, tuple(map(_parse_service_interface, element.findall("{*}interface")))))
        if standard_id == TAP_STANDARD_ID:
            tap_elements.append(element)
    if tap_elements:
        tap = tap_elements[0]
    else:
        tap = etree.Element("capability")
    interfaces = tuple(map(_parse_service_interface, tap.findall("{*}interface")))
    standard_versions = [interface.version for interface in interfaces if interface.role == "std"]
    limits: list[DeclaredLimit] = []
    for name in ("retentionPeriod", "executionDuration", "outputLimit", "uploadLimit"):
        for element in tap.findall(f"{{*}}{name}"):
            limits += _parse_declared_limits(element, name)
    return ServiceCapabilities(
        root=root,
        answer=answer,
        standards=tuple(standards),
        tap_count=len(tap_elements),
        interfaces=interfaces,
        version=next(iter(standard_versions), ""),
        data_models=tuple(
            (element.get("ivo-id", ""), get_element_text(element)) for element in tap.findall("{*}dataModel")
        ),
        languages=tuple(map(_parse_query_language, tap.findall("{*}language"))),
        output_formats=tuple(map(_parse_output_format, tap.findall("{*}outputFormat"))),
        upload_methods=tuple(element.get("ivo-id", "") for element in tap.findall("{*}uploadMethod")),
        limits=tuple(limits),
    )


def _parse_declared_limits(element: Any, limit_name: str) -> list[DeclaredLimit]:
    limits = []
    for limit_kind in ("default", "hard"):
        for value in element.findall(f"{{*}}{limit_kind}"):
            unit = value.get("unit", "")
            limits.append(DeclaredLimit(name=limit_name, kind=limit_kind, unit=unit, value=get_element_text(value)))
    return limits


def _parse_output_format(element: Any) -> tuple[str, tuple[str, ...], str]:
    """Return media type, aliases and identifier."""
    aliases = tuple(map(get_element_text, element.findall("{*}alias")))
    return get_element_text(element, "mime"), aliases, element.get("ivo-id", "")


def _parse_service_interface(element: Any) -> ServiceInterface:
    urls = element.findall("{*}accessURL")
    security_methods = element.findall("{*}securityMethod")
    return ServiceInterface(
        kind=get_xsi_type(element),
        role=element.get("role", ""),
        version=element.get("version", ""),
        urls=tuple(map(get_element_text, urls)),
        uses=tuple(url_element.get("use", "") for url_element in urls),
        security=tuple(security_method.get("standardID", "") for security_method in security_methods),
    )


def _parse_query_language(element: Any) -> QueryLanguage:
    versions = [(get_element_text(version), version.get("ivo-id", "")) for version in element.findall("{*}version")]
    features = []
    for feature_list in element.findall("{*}languageFeatures"):
        feature_type = feature_list.get("type", "")
        features += [
            (feature_type, get_element_text(feature, "form")) for feature in feature_list.findall("{*}feature")
        ]
    return QueryLanguage(name=get_element_text(element, "name"), versions=tuple(versions), features=tuple(features))
