"""Backups by a timer: restic on each host that has something to back up."""
