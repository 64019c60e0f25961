"""What this package adds: accounts of people at institutes, the settings of providers, and the log-in in browsers."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="institute_log_in",
    title="Log in with the account of an institute (OpenID Connect)",
    protocols={"institute_login": "hven.plugins.institute_log_in.login_service"},
    settings={"identity": "hven.plugins.institute_log_in.settings:IDENTITY_SECTION"},
    translations="hven.plugins.institute_log_in:texts",
    external_accounts="hven.plugins.institute_log_in.institute_accounts:InstituteAccounts",
)
