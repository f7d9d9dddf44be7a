"""Every host: packages, time, security updates, the internal resolver, a hardened sshd.

What the declaration leaves alone (`leave_alone`) goes back to what it was before Phoenix, and is
not touched again.
"""

from pyinfra import host
from pyinfra.api import DeployError

from deploys import ca, existing_services, systems
from deploys.context import settings, site, site_host
from operations import identity, removal, resolver
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.declaration.hypervisor_file import time_zone
from phoenix.derived.dns import answer, records
from phoenix.files import render
from phoenix.shell import fill
from phoenix.site import unit_names
from phoenix.site.addressing import name_servers, static_routes
from phoenix.site.identity import identity_of

SSHD = "/etc/ssh/sshd_config.d/10-phoenix.conf"
ROUTES = "phoenix-routes.service"
UPDATES = "/etc/apt/apt.conf.d/60phoenix"

ca.check_names()
systems.check_identity()
systems.check()
existing_services.find_existing()
alone = frozenset(site_host().left_alone)
names: list[str | tuple[str, ...]] = ["bind9-dnsutils", "ca-certificates", "curl", "openssl"]
if "time" not in alone:
    names.append("tzdata")
    # An LXC guest has its host's clock; a machine of its own keeps its own.
    names += [] if site_host().kind == "lxc" else [("systemd-timesyncd", "chrony", "ntpsec")]
if "updates" not in alone:
    names.append("unattended-upgrades")
proxmox = settings().proxmox
# A machine of Proxmox VE's whose agent is switched on there (phoenix.proxmox.desired).
if site_host().kind == "vm" and proxmox.api != "off" and proxmox.guest_agent:
    names += [] if alone & {"guest_agent", "proxmox"} else ["qemu-guest-agent"]
packages(name="Base: packages", names=names)
identity.remembered(name="Base: which host this is", identity=identity_of(site(), site_host()))

servers = [asked.address for asked in name_servers(site(), site_host())]
known_name = records(site())[0]
known_address = answer(site(), known_name, site_host())
files = {}
links = {}
validate = []
if "updates" not in alone:
    files[UPDATES] = TreeFile(render("components/base/apt.conf"))
    validate.append(
        fill('apt-config -c "$ROOT"{{ updates }} dump >/dev/null || exit 1\n', updates=UPDATES)
    )
if "time" not in alone:
    zone = time_zone(site(), settings())
    files["/etc/timezone"] = TreeFile(f"{zone}\n")
    links["/etc/localtime"] = f"/usr/share/zoneinfo/{zone}"
    validate.append(render("components/base/timezone.sh.j2", timezone=zone))
if "resolver" not in alone:
    files["/etc/resolv.conf"] = TreeFile(
        render(
            "components/base/resolv.conf.j2",
            domain=site().domain,
            servers=[*map(str, servers), *settings().resolver_fallback],
            several=len(servers) > 1,
        )
    )
    if site_host().kind == "lxc":
        # Proxmox VE writes a container's resolv.conf at each start, unless this stands beside it.
        files["/etc/.pve-ignore.resolv.conf"] = TreeFile("")
    validate.append(
        render(
            "components/base/resolver.sh.j2",
            servers=servers,
            known=known_name,
            answer=known_address,
        )
    )
# A host whose default gateway is another router would send there what is for the site's own.
routes = list(static_routes(site(), site_host()))
if routes:
    files[f"/etc/systemd/system/{ROUTES}"] = TreeFile(
        render("components/base/phoenix-routes.service.j2", routes=routes)
    )
if files:
    config_tree(
        name="Base: security updates, time zone, resolver",
        tree=Tree(
            component="base",
            files=files,
            unit=ROUTES if routes else "",
            action="restart",
            validate="".join(validate),
            links=links,
        ),
    )
else:
    removal.component(name="Base: left alone", tree="base", volumes=False)
if "ssh" in alone:
    removal.component(
        name="Base: SSH left alone",
        tree="ssh",
        volumes=False,
        after=fill("systemctl try-restart {{ unit }}", unit=unit_names.SSH),
    )
elif host.data.get("ssh_password") and not host.data.get("ssh_key"):
    raise DeployError(
        f"{host.name} is reached with a password, which deploys/base.py turns off: put a key of "
        "yours into its authorized_keys and name it as ssh_key; or leave its sshd alone: "
        '"leave_alone": ["ssh"]'
    )
else:
    config_tree(
        name="Base: SSH hardening",
        tree=Tree(
            component="ssh",
            files={SSHD: TreeFile(render("components/base/sshd.conf"), mode="0600")},
            # sshd takes the first value it meets, and reads this file before its main one.
            validate=fill(
                "mkdir -p /run/sshd; t=$(mktemp) || exit 1; trap 'rm -f \"$t\"' EXIT; "
                'cat "$ROOT"{{ sshd }} /etc/ssh/sshd_config >"$t"; sshd -t -f "$t"',
                sshd=SSHD,
            ),
            # A restart ends when sshd listens with these files, and sessions go on
            # (KillMode=process); a reload returns before that, so a login after it would prove
            # nothing, or be refused. systemd refuses a fifth start within ten seconds unless its
            # count is reset.
            after=fill(
                "systemctl reset-failed {{ unit }} 2>/dev/null; systemctl try-restart {{ unit }}",
                unit=unit_names.SSH,
            ),
            confirm=settings().ssh_confirm_seconds,
        ),
    )

if "resolver" in alone:
    resolver.answers(
        name="Base: the host's own resolver",
        domain=site().domain,
        server=" and ".join(map(str, servers)),
        known=known_name.name,
        address=str(known_address),
    )
