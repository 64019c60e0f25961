"""Answer requests at old addresses of the site by the present services, without a redirect.

The addresses are in hven.toml (``[[alias]]``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from hven.plugins.heritage.alias_settings import list_address_aliases
from hven.services.address_rewriting import FORM_REWRITER_SCOPE_KEY, ParameterPairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from hven.model.settings import Settings
    from hven.plugins.heritage.alias_settings import AddressAlias

CONDITION_PLACEHOLDER = "{where}"  # stands in the query of an alias for its conditions
# Scripts for SITools2 write this behind the address of a file. The file is sent as it is.
COMPRESSION_SUFFIX = ";compress=rice"


class OldAddress:
    """An old address of the site, with the parameters that requests for it have."""

    def __init__(self, alias: AddressAlias) -> None:
        self.target = alias.to
        self._new_names = {old.upper(): new for old, new in alias.rename.items()}
        self._fixed_values = dict(alias.set)
        self._query = alias.query
        self._conditions = {old.upper(): condition for old, condition in alias.where.items()}

    def rewrite_form(self, address_parameters: ParameterPairs, body_parameters: ParameterPairs) -> ParameterPairs:
        """Rewrite the parameters of a POST request, those of its address already have their present names."""
        return self.complete_renamed_parameters([*address_parameters, *self.rename_parameters(body_parameters)])

    def rename_parameters(self, parameters: ParameterPairs) -> ParameterPairs:
        """Rename parameters to their present names."""
        return [(self._new_names.get(name.upper(), name), value) for name, value in parameters]

    def rewrite_query_string(self, query: bytes, *, is_post: bool) -> bytes:
        """Rewrite a query string: rename parameters, and add fixed values that the request does not have."""
        if not self._new_names and not self._fixed_values and self._query is None:
            return query
        old_parameters = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)
        parameters = self.rename_parameters(old_parameters)
        if not is_post:  # the parameters of a body are not known yet, and a fixed value could contradict them
            parameters = self.complete_renamed_parameters(parameters)
        return urlencode(parameters).encode()

    def complete_renamed_parameters(self, parameters: ParameterPairs) -> ParameterPairs:
        """Add the fixed values to parameters that have their present names already."""
        given_names = {name.upper() for name, _ in parameters}
        fixed_parameters = [
            (name, value) for name, value in self._fixed_values.items() if name.upper() not in given_names
        ]
        return self._convert_to_adql_query([*parameters, *fixed_parameters])

    def _convert_to_adql_query(self, parameters: ParameterPairs) -> ParameterPairs:
        """Insert the old parameters as conditions into the query of the alias.

        Their values become text literals, whatever they contain.
        """
        if self._query is None:
            return parameters
        conditions = []
        for name, value in parameters:
            condition = self._conditions.get(name.upper())
            if condition is not None and value.strip():
                conditions.append(f"({_fill_condition_template(condition, value)})")
        text = self._query
        if CONDITION_PLACEHOLDER not in text:
            text = f"{text} WHERE {CONDITION_PLACEHOLDER}"
        text = text.replace(CONDITION_PLACEHOLDER, " AND ".join(conditions) or "1 = 1")
        replaced_names = {*self._conditions, "QUERY", "LANG"}
        remaining = [(name, value) for name, value in parameters if name.upper() not in replaced_names]
        return [*remaining, ("LANG", "ADQL"), ("QUERY", text)]


def _fill_condition_template(condition: str, value: str) -> str:
    literal = "'" + value.strip().replace("'", "''") + "'"
    return literal.join(condition.split("?"))


class AddressAliasRewriter:
    """Rewrite path and query string before requests are routed."""

    def __init__(self, settings: Settings) -> None:
        self._exact_aliases: dict[str, OldAddress] = {}
        aliases_by_prefix: dict[str, OldAddress] = {}
        for alias in list_address_aliases(settings):
            if alias.path.endswith("/*"):
                aliases_by_prefix[alias.path[:-1]] = OldAddress(alias)
            else:
                self._exact_aliases[alias.path.rstrip("/") or "/"] = OldAddress(alias)
        self._prefix_aliases = sorted(aliases_by_prefix.items(), key=lambda prefix_and_alias: -len(prefix_and_alias[0]))

    def rewrite_request(self, scope: Scope) -> Scope:
        """Return the request with its present address."""
        path = scope["path"]
        if path.endswith(COMPRESSION_SUFFIX):
            path = path.removesuffix(COMPRESSION_SUFFIX)
            scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        if not (self._exact_aliases or self._prefix_aliases):
            return scope
        alias_and_target = self._find_alias(path)
        if alias_and_target is None:
            return scope
        alias, target = alias_and_target
        target_path, _, target_query = target.partition("?")
        query = alias.rewrite_query_string(scope["query_string"], is_post=scope["method"] == "POST")
        if target_query and query:
            query = target_query.encode() + b"&" + query
        else:
            query = query or target_query.encode()
        return {
            **scope,
            "path": target_path,
            "raw_path": quote(target_path).encode(),
            "query_string": query,
            FORM_REWRITER_SCOPE_KEY: alias.rewrite_form,
        }

    def map_path_prefixes(self) -> Mapping[str, str]:
        """Map prefixes of old addresses to prefixes of present paths."""
        return {prefix: alias.target.removesuffix("*") for prefix, alias in self._prefix_aliases}

    def _find_alias(self, path: str) -> tuple[OldAddress, str] | None:
        """Return the alias of a path, and its present address; None if the path is not an old one."""
        exact_alias = self._exact_aliases.get(path.rstrip("/") or "/")
        if exact_alias is not None:
            return exact_alias, exact_alias.target
        if path.startswith("/ftp:/"):  # a whole address stands behind ours; proxies turn two slashes into one
            path = f"ftp://{path[6:].lstrip('/')}"
        for prefix, alias in self._prefix_aliases:
            if path.startswith(prefix):
                remaining_path = path[len(prefix) :]
                if "?" in alias.target:  # the path becomes a value in the query string
                    remaining_path = quote(remaining_path, safe="")
                return alias, alias.target.removesuffix("*") + remaining_path
        return None
