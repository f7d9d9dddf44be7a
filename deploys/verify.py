"""Check every hop, from the guest that makes each connection; exit 1 names the first cause."""

from pyinfra import host

from deploys.context import site
from operations.home import start_page
from operations.verification import judge, run_checks

run_checks(name="Verify: checks", site=site())
if "traefik" in host.groups:
    start_page(name="Verify: start page", site=site())  # before the verdict: it tells of faults
judge(name="Verify: verdict", site=site())
