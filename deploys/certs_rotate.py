"""Replace the CA's intermediate or its root (--data certs_rotate=root, intermediate, continue).

`abandon` drops a rotation that has not changed the CA's keys yet. With --data certs_permit=DOMAINS
(or networks, with commas) the next intermediate vouches for these too, before a site moves there.

One run makes all steps, each when the one before it is proven on every host. It can be ended at
any moment, and run again: with `continue` it goes on and begins nothing new. Between its steps
`deploys/all.py` keeps both roots trusted and changes nothing else.

A root's key that is offline (deploys/certs_root.py) is given by --data certs_root_key=FILE, with
--data certs_root_identity=KEY for what opens it.

With --data certs_rotate_prepare=true it ends when every host trusts both roots, so that other
clients can be given the next one before it is used.
"""

from pyinfra import host

from deploys import ca
from deploys.context import secrets, setting_errors, settings, site, site_host
from deploys.run_arguments import flag, listed, path, text
from operations import rotation
from operations.trust import root_trusted
from phoenix.backup import decryptor, root_key
from phoenix.components import registries
from phoenix.components.ca_rotation import ABANDON, check_setting
from phoenix.components.step_ca.authority import UNIT
from phoenix.site.secret_names import BACKUP_PASSPHRASE

request = text("certs_rotate")
with setting_errors():
    check_setting(request)
    opens = None
    prepare_alone = flag("certs_rotate_prepare")
    if file := path("certs_root_key"):
        decrypt = decryptor(
            path("certs_root_identity"),
            secrets().find(BACKUP_PASSPHRASE),
            root_key.WHAT,
            "certs_root_identity",
        )
        opens = root_key.opener(file, decrypt)

abandoning = request == ABANDON
if "step_ca" in host.groups and abandoning:
    rotation.abandoned(
        name="Rotation: abandoned",
        site=site(),
        unit=UNIT,
        health=ca.health(settings().step_ca_lifetime_default),
    )
elif "step_ca" in host.groups:
    rotation.prepared(
        name="Rotation: next keys",
        site=site(),
        request=request,
        organisation=settings().step_ca_organisation,
        years=settings().step_ca_years,
        opens=opens,
        permit=listed("certs_permit"),
    )
in_zone = registries.of_the_zone(site(), site_host(), settings())
root_trusted(name="Rotation: present and next root trusted", site=site(), registries=in_zone)
rotation.trust_proven(name="Rotation: trust is proven", site=site())
if not (prepare_alone or abandoning):
    if "step_ca" in host.groups:
        rotation.switched(
            name="Rotation: the CA signs with the next keys",
            site=site(),
            unit=UNIT,
            stop=ca.stop(),
            health=ca.health(settings().step_ca_lifetime_default),
        )
    rotation.renewed(name="Rotation: certificates of the new chain", site=site())
    rotation.served(name="Rotation: the new chain is served", site=site(), phase="switched")
    if "step_ca" in host.groups:
        rotation.finished(name="Rotation: every host is on the new chain", site=site())
    root_trusted(name="Rotation: the newest root alone trusted", site=site(), registries=in_zone)
    rotation.served(name="Rotation: all ports serve it still", site=site(), phase="")
