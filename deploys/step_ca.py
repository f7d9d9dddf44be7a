"""The certificate authority of the internal network."""

from pyinfra import host

from deploys import ca, existing_services
from deploys.context import pinned_program, secrets, setting_errors, settings, site, site_host
from deploys.site_secrets import secret
from operations import step_ca, taking_over
from operations.artifact import artifact
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.programs import LIBRARY
from phoenix.components.restart import restart_always
from phoenix.components.step_ca.authority import (
    COPIES,
    DIRECTORY,
    PASSWORD,
    UNIT,
    check_version,
    config,
)
from phoenix.components.step_ca.authority import claims as claims_of
from phoenix.components.step_ca.issuance import TEMPLATE, leaf_template
from phoenix.components.taking_over.existing_services import places
from phoenix.derived import control_plane
from phoenix.derived.certificates import certificates
from phoenix.files import render
from phoenix.shell import fill, in_turn
from phoenix.site import duration
from phoenix.site.secret_names import CA_PASSWORD, ISSUANCE_KEY

CONFIG = f"{DIRECTORY}/config/ca.json"
COPY = f"{LIBRARY}/ca-copy"

if "step_ca" in host.groups:
    ca.check_names()
    existing_services.find_existing()
    with setting_errors():
        program = pinned_program("step-ca")
        check_version(program.version)
        claims = claims_of(settings())
        ca_json = config(site(), claims)
        password = secrets().find(CA_PASSWORD)
        leaf = leaf_template(secret(ISSUANCE_KEY))

    packages(name="Step-CA: packages", names=["openssl", "curl", "ca-certificates", "python3"])
    artifact(name="Step-CA: program", item=program)
    if settings().taking_over.ca == "adopt":
        taking_over.ca_adopted(
            name="Step-CA: keys and certificates of the CA that was here",
            site=site(),
            places=places(site(), site_host()),
            organisation=settings().step_ca_organisation,
            years=settings().step_ca_years,
            password=password,
        )
    else:
        step_ca.initialised(
            name="Step-CA: keys and certificates",
            site=site(),
            organisation=settings().step_ca_organisation,
            years=settings().step_ca_years,
            password=password,
        )
    step_ca.database_opens(
        name="Step-CA: database",
        unit=UNIT,
        port=control_plane.ca(site()).port,
        copies=ca.BACKUPS,
    )
    config_tree(
        name="Step-CA: configuration and service",
        tree=existing_services.replacing_existing(
            "ca",
            Tree(
                component="step-ca",
                files={
                    CONFIG: TreeFile(ca_json),
                    TEMPLATE: TreeFile(leaf, mode="0640", group="step", secret=True),
                    f"/etc/systemd/system/{UNIT}": TreeFile(
                        render(
                            "components/step_ca/step-ca.service.j2",
                            program=f"{program.directory}/program",
                            directory=DIRECTORY,
                            config=CONFIG,
                        )
                    ),
                    **restart_always(UNIT),
                    COPY: TreeFile(ca.copy(), mode="0755"),
                    f"/etc/systemd/system/{COPIES.removesuffix('.timer')}.service": TreeFile(
                        render(
                            "components/step_ca/phoenix-ca-copy.service.j2", unit=UNIT, program=COPY
                        )
                    ),
                    f"/etc/systemd/system/{COPIES}": TreeFile(
                        render("components/step_ca/phoenix-ca-copy.timer")
                    ),
                },
                unit=UNIT,
                enable=(COPIES,),
                action="restart",
                validate=render(
                    "components/step_ca/validate.sh.j2", program=program.directory, config=CONFIG
                ),
                before=ca.stop(),
                # The service of an earlier release read the password itself: it stays as it was
                # until this one is proven to run without.
                health=in_turn(
                    ca.health(claims.default),
                    fill("chown root:root {{ password }}", password=f"{DIRECTORY}/{PASSWORD}"),
                ),
            ),
        ),
    )
    step_ca.declared_names_recorded(
        name="Step-CA: names of certificates",
        names=sorted({name for certificate in certificates(site()) for name in certificate.sans}),
        longest=duration.parse(claims.maximum).total_seconds(),
    )
