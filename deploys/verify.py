"""Prove every hop, from the guest that makes each connection; exit 1 names the first broken one."""

from deploys.context import site
from operations.verification import judge, probe

probe(name="Verify: checks", site=site())
judge(name="Verify: verdict")
