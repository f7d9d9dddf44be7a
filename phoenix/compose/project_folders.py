"""The working directories of compose projects on a Docker host, by who deploys them.

Docker keeps the directory of a project with each of its containers (the label
com.docker.compose.project.working_dir), so it tells who deployed one.
"""

PORTAINER_PROJECTS = "/data/compose/"
"""Portainer's data directory in its container: containers that Portainer deployed have their
working directory there. Such containers without a stack come from a server that was rebuilt."""
PHOENIX_PROJECTS = "/etc/phoenix/"
"""Where the compose files are that Phoenix itself runs, those of stacks without Portainer too."""
HOST_PROJECTS = f"{PHOENIX_PROJECTS}compose/"
"""Where stacks that are deployed without Portainer have their directories on their host."""
