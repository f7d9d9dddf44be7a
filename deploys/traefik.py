"""The internal proxy: routes every declared service by its Host header, dashboard included.

Of several one is changed after the other: where the first does not prove itself, the second stays.
"""

from pyinfra import host

from deploys import acme, existing_services, traefik_tree
from deploys.context import pinned_program, setting_errors, settings, site, site_host
from deploys.site_secrets import secret
from facts.external import PinnedLeaves
from operations import moves, serial
from operations.artifact import artifact
from operations.certificates import acme_certificate
from operations.config_tree import config_tree
from operations.host_state import question, read_or
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.restart import restart_always
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.files import render
from phoenix.secrets.store import htpasswd
from phoenix.shell import fill, join
from phoenix.site.secret_names import DASHBOARD_PASSWORD

if "traefik" in host.groups and (certificate := acme.certificate("traefik")):
    moves.refuse_before_run(site())
    with setting_errors():
        program = pinned_program("traefik")
        own = traefik_tree.own_traefik()
        static = traefik.static_config(
            site(), on=site_host(), metrics=settings().traefik_metrics, entry_points=own.used
        )
        password = secret(DASHBOARD_PASSWORD)
        login = htpasswd(settings().traefik_dashboard_user, password)
        users, named = traefik.users_of(
            site(), lambda login: htpasswd(login.user, secret(login.secret))
        )
        ends = [
            (service.external.host, str(service.port))
            for service in traefik.pinned(site())
            if service.external
        ]
        leaves = (
            read_or(question(PinnedLeaves, folder=traefik.EXTERNAL, ends=ends), {}) if ends else {}
        )
        routes, marker = traefik.dynamic_config(
            site(),
            "".join((login, *users.values())),
            leaves,
            on=site_host(),
            beside=bool(own.dynamic),
        )

    existing_services.find_existing()
    with serial.component("Traefik", serial.ALL):
        packages(name="Traefik: packages", names=["curl", "iproute2", "lego", "openssl"])
        artifact(name="Traefik: program", item=program)
        config_tree(
            name="Traefik: configuration and service",
            tree=existing_services.replacing_existing(
                "traefik",
                Tree(
                    component=traefik_tree.COMPONENT,
                    files={
                        traefik.STATIC: TreeFile(static),
                        traefik.CHECK: TreeFile(render("components/traefik/check.sh"), mode="0755"),
                        "/etc/sysusers.d/phoenix-traefik.conf": TreeFile(
                            f'u {traefik.USER} - "Traefik"\n'
                        ),
                        "/etc/tmpfiles.d/phoenix-traefik.conf": TreeFile(
                            f"d {traefik.DYNAMIC} 0755 root root\n"
                        ),
                        f"/etc/systemd/system/{traefik.UNIT}": TreeFile(
                            render(
                                "components/traefik/traefik.service.j2",
                                program=f"{program.directory}/program",
                                config=traefik.STATIC,
                            )
                        ),
                        **restart_always(traefik.UNIT),
                    },
                    unit=traefik.UNIT,
                    action="restart",
                    validate=fill(
                        'sh "$ROOT"{{ check }} {{ program }}/program "$ROOT"{{ static }}',
                        check=traefik.CHECK,
                        program=program.directory,
                        static=traefik.STATIC,
                    ),
                    health=fill(
                        "curl -fsS --max-time 2 http://{{ local }}/ping", local=traefik.LOCAL
                    ),
                ),
            ),
        )
        config_tree(
            name="Traefik: renewal",
            tree=acme.tree(
                certificate,
                owner=traefik.USER,
                reload=join("systemctl", "try-reload-or-restart", traefik.UNIT),
                restart=join("systemctl", "try-restart", traefik.UNIT),
            ),
        )
        acme_certificate(name="Traefik: certificate", certificate=certificate.name)
        config_tree(
            name="Traefik: routes",
            tree=traefik_tree.dynamic(
                "traefik-routes",
                {
                    f"{traefik.DYNAMIC}/phoenix.yml": TreeFile(routes),
                    **{
                        path: TreeFile(lines, mode="0640", group=traefik.USER, secret=True)
                        for path, lines in {traefik.USERS_FILE: login, **users}.items()
                    },
                    **{
                        path: TreeFile(content)
                        for path, content in {**named, **traefik.proofs(site(), leaves)}.items()
                    },
                },
                marker,
                first=traefik.FORMER.line(*traefik.former_names(site(), site_host())),
            ),
        )
