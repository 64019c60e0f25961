"""What tests of the core and of other packages use of backups."""

from __future__ import annotations

from hven.plugins.backups.archive import write_backup
from hven.plugins.backups.restoration import restore_archive, verify_archive
from hven.plugins.backups.state_copies import StateBackupAccess

BACKUPS = {
    "write": write_backup,
    "verify": verify_archive,
    "restore": restore_archive,
    "StateBackupAccess": StateBackupAccess,
}
