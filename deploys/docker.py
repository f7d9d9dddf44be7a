"""Docker Engine and its compose plugin on every guest of the group `docker`."""

from pyinfra import host

from deploys import existing_services, systems
from deploys.context import machine, settings, site, site_host
from facts.docker import DockerStart
from operations import removal, serial
from operations.config_tree import config_tree
from operations.docker import daemon
from operations.host_state import question, read_or
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.docker.daemon_json import DAEMON, declared
from phoenix.components.docker.remote_api import DROP_IN, KEPT, DaemonStart, closed
from phoenix.components.restart import restart_always
from phoenix.files import render
from phoenix.shell import fill
from phoenix.site import unit_names
from phoenix.site.systems import docker_packages

KEY = "/etc/apt/keyrings/docker.asc"

alone = "docker" in site_host().left_alone
if "docker" in host.groups and alone:
    removal.component(name="Docker: left alone", tree="docker", volumes=False)
elif "docker" in host.groups:
    with serial.component("Docker", settings().serial):
        existing_services.find_existing()
        systems.check_docker()
        source = settings().docker_packages
        if source == "distribution":
            packages(
                name="Docker: packages",
                names=[*docker_packages(machine().release), "iptables", "curl"],
            )
        else:
            if "packages" not in site_host().left_alone:
                system = machine().release
                config_tree(
                    name="Docker: package source",
                    tree=Tree(
                        component="docker-apt",
                        files={
                            "/etc/apt/sources.list.d/docker.sources": TreeFile(
                                render(
                                    "components/docker/docker.sources.j2",
                                    url=settings().docker_apt_url,
                                    distribution=system["ID"],
                                    release=system["VERSION_CODENAME"],
                                    key=KEY,
                                )
                            )
                        },
                        before=render(
                            "components/docker/apt-key.sh.j2",
                            key=KEY,
                            url=f"{settings().docker_apt_url}/{system['ID']}/gpg",
                            sha256=settings().docker_apt_key_sha256,
                        ),
                    ),
                )
            packages(
                name="Docker: packages",
                names=[
                    "docker-ce",
                    "docker-ce-cli",
                    "containerd.io",
                    "docker-compose-plugin",
                    "curl",
                ],
                new_source=True,
            )
        drop_in, keeps_api = "", settings().taking_over.docker == "keep"
        if settings().taking_over.docker == "replace":
            drop_in = closed(read_or(question(DockerStart), DaemonStart()))
        daemon(
            name="Docker: daemon",
            tree=Tree(
                component="docker",
                files={
                    **restart_always(unit_names.DOCKER),
                    **({DROP_IN: TreeFile(drop_in)} if drop_in else {}),
                    **({KEPT: TreeFile("taking_over\n")} if keeps_api else {}),
                },
                unit=unit_names.DOCKER,
                action="restart",
                validate=fill(
                    'dockerd --validate --config-file "$ROOT"{{ daemon }}', daemon=DAEMON
                ),
                # live-restore is taken up by a reload, and then spares the containers the restart.
                after=fill("systemctl try-reload-or-restart {{ unit }}", unit=unit_names.DOCKER),
                health="docker info >/dev/null",
                deadline=60,
            ),
            desired=declared(site(), site_host(), settings()),
        )
