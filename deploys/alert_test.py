"""Send a test to every place where the watcher sends alarms; nothing is changed."""

from deploys.context import site, site_host
from operations.watch import alarms_tried

if site_host() == site().watcher:
    alarms_tried(name="Alarms: a test")
