"""Make the timers' backups now, or prove them: --data backup_now=run or backup_now=prove."""

from deploys.context import setting_errors, site, site_host
from deploys.run_arguments import text
from operations import restic
from phoenix.backup import BackupError
from phoenix.components.restic.files import PROOF, SERVICE
from phoenix.derived.backups import of_host

UNITS = {"run": SERVICE, "prove": PROOF}

with setting_errors():
    action = text("backup_now")
    if action not in UNITS:
        raise BackupError(f"backup_now is {action!r}: write run or prove")
if of_host(site(), site_host()):
    restic.started(name=f"Backups: {'made' if action == 'run' else 'proven'}", unit=UNITS[action])
