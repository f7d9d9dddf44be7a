"""The start page's server: Nginx on the loopback of each Traefik's guest, behind it.

The page itself is written by each verification (deploys/verify.py).
"""

from pyinfra import host

from deploys import existing_services
from deploys.context import site
from operations import removal, serial
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix import files
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.restart import restart_always
from phoenix.derived import home
from phoenix.files import render
from phoenix.shell import fill
from phoenix.site import unit_names

CONFIG = "/etc/phoenix/home.conf"

if "traefik" in host.groups and any(service.kind == "home" for service in site().services):
    existing_services.find_existing()
    packages(name="Home: packages", names=["nginx", "curl"])
    with serial.component("Home", serial.ALL):
        config_tree(
            name="Home: files and service",
            tree=Tree(
                component="home",
                files={
                    CONFIG: TreeFile(
                        render(
                            "components/home/nginx.conf.j2",
                            address=home.ADDRESS,
                            policy=home.CONTENT_SECURITY_POLICY,
                            page=home.PAGE,
                            static=home.STATIC,
                        )
                    ),
                    "/etc/tmpfiles.d/phoenix-home.conf": TreeFile(
                        f"d {home.PAGE} 0755 root root\n"
                    ),
                    f"/etc/systemd/system/{home.UNIT}": TreeFile(
                        render("components/home/phoenix-home.service.j2", config=CONFIG)
                    ),
                    **restart_always(home.UNIT),
                    **{
                        f"{home.STATIC}/{name}": TreeFile(files.data(f"components/home/{name}"))
                        for name in ("style.css", "icon.svg", "empty.html")
                    },
                },
                unit=home.UNIT,
                action="restart",
                # Its own prefix: a check must not touch the directories of the service that runs.
                validate=fill(
                    "t=$(mktemp -d) || exit 1; trap 'rm -rf \"$t\"' EXIT; "
                    'nginx -t -q -p "$t" -e stderr -c "$ROOT"{{ config }}',
                    config=CONFIG,
                ),
                # The package's own service would serve a page of its own on every address.
                before=fill("systemctl mask -q --now {{ unit }}", unit=unit_names.NGINX),
                health=fill("curl -fsS --max-time 2 -o /dev/null {{ url }}/", url=home.URL),
            ),
        )
elif "traefik" in host.groups:
    removal.component(name="Home: left alone", tree="home", volumes=False)
