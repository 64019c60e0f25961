"""hven.toml and the environment -> one frozen object, handed down as arguments."""

from __future__ import annotations

from hven.model.settings._initialization import create_site_directory
from hven.model.settings._reloadable_settings import ReloadableSettings
from hven.model.settings._secrets import SECRETS_FILE, find_exposed_file_faults, resolve_secret
from hven.model.settings._sections import (
    URL_PATTERN,
    AlertSettings,
    DescriptorPythonLimits,
    PortalSettings,
    ProjectSettings,
    QueryLimits,
    RemoteTapService,
    ScheduleSettings,
    SettingsSection,
    build_setting_metadata,
    define_setting,
)
from hven.model.settings._site_file import (
    SETTINGS_FILE,
    find_missing_portal_item_faults,
    find_unavailable_section_faults,
    load_settings,
)
from hven.model.settings._site_settings import JOB_TYPES_DIRECTORY, Settings
from hven.model.settings._validation import (
    collect_setting_docs,
    iterate_location_specific_settings,
    parse_byte_size_if_text,
)

__all__ = [
    "JOB_TYPES_DIRECTORY",
    "SECRETS_FILE",
    "SETTINGS_FILE",
    "URL_PATTERN",
    "AlertSettings",
    "DescriptorPythonLimits",
    "PortalSettings",
    "ProjectSettings",
    "QueryLimits",
    "ReloadableSettings",
    "RemoteTapService",
    "ScheduleSettings",
    "Settings",
    "SettingsSection",
    "build_setting_metadata",
    "collect_setting_docs",
    "create_site_directory",
    "define_setting",
    "find_exposed_file_faults",
    "find_missing_portal_item_faults",
    "find_unavailable_section_faults",
    "iterate_location_specific_settings",
    "load_settings",
    "parse_byte_size_if_text",
    "resolve_secret",
]
