"""Refuses a run that would start a stack without its data, before its first step."""

from deploys import stack_parts
from deploys.context import site, site_host
from phoenix.derived import deployments

if site_host() in deployments.stack_hosts(site()):
    stack_parts.refuse_moves(stack_parts.desired_stacks())
