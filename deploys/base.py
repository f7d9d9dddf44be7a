"""Every host: packages, time, security updates, the internal resolver, a hardened sshd."""

from pyinfra import host
from pyinfra.api import DeployError

from deploys import ca
from deploys.context import settings, site, site_host
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.declaration.hypervisor_file import time_zone
from phoenix.derived.dns import answer, records
from phoenix.files import render
from phoenix.shell import fill
from phoenix.site.ways import address, routes_of

SSHD = "/etc/ssh/sshd_config.d/10-phoenix.conf"
ROUTES = "phoenix-routes.service"
UPDATES = "/etc/apt/apt.conf.d/60phoenix"

ca.check_names()
# An LXC guest has its host's clock; a machine of its own keeps its own.
time_keeper = [] if site_host().kind == "lxc" else [("systemd-timesyncd", "chrony", "ntpsec")]
proxmox = settings().proxmox
# A machine of Proxmox VE's whose agent is switched on there (phoenix.proxmox.desired).
agent = site_host().kind == "vm" and proxmox.api != "off" and proxmox.guest_agent
packages(
    name="Base: packages",
    names=[
        "bind9-dnsutils", "ca-certificates", "curl", "openssl", "tzdata", "unattended-upgrades",
        *time_keeper, *(["qemu-guest-agent"] if agent else []),
    ],
)  # fmt: skip

zone = time_zone(site(), settings())
server = address(site_host(), site().hypervisor)
known_name = records(site())[0]
files = {
    UPDATES: TreeFile(render("components/base/apt.conf")),
    "/etc/timezone": TreeFile(f"{zone}\n"),
    "/etc/resolv.conf": TreeFile(
        render(
            "components/base/resolv.conf.j2",
            domain=site().domain,
            servers=[str(server), *settings().resolver_fallback],
        )
    ),
}
if site_host().kind == "lxc":
    # Proxmox VE writes a container's resolv.conf at each start unless this file stands beside it.
    files["/etc/.pve-ignore.resolv.conf"] = TreeFile("")
# A host whose default gateway is another router would send there what is for the site's own.
routes = list(routes_of(site(), site_host()))
if routes:
    files[f"/etc/systemd/system/{ROUTES}"] = TreeFile(
        render("components/base/phoenix-routes.service.j2", routes=routes)
    )
config_tree(
    name="Base: security updates, time zone, resolver",
    tree=Tree(
        component="base",
        files=files,
        unit=ROUTES if routes else "",
        action="restart",
        validate=render(
            "components/base/validate.sh.j2",
            updates=UPDATES,
            timezone=zone,
            server=server,
            known=known_name,
            answer=answer(site(), known_name, site_host()),
        ),
        links={"/etc/localtime": f"/usr/share/zoneinfo/{zone}"},
    ),
)

if host.data.get("ssh_password") and not host.data.get("ssh_key"):
    raise DeployError(
        f"{host.name} is reached with a password, which deploys/base.py turns off: put a key of "
        "yours into its authorized_keys and name it as ssh_key"
    )
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
        # A restart ends when sshd listens with these files, and sessions go on (KillMode=process);
        # a reload returns before that, so a login after it would prove nothing, or be refused.
        # systemd refuses a fifth start within ten seconds unless its count is reset.
        after="systemctl reset-failed ssh.service 2>/dev/null; systemctl try-restart ssh.service",
        confirm=settings().ssh_confirm_seconds,
    ),
)
