"""Versions, pins and tunables of every host. No secrets: those come from phoenix.secrets."""

# Resolvers that the internal name server asks for everything outside the site's own domain.
dns_upstreams = ["9.9.9.9", "149.112.112.112"]

# Drop private addresses in their answers (DNS rebinding). Turn it off only where such answers
# are meant, for example behind an upstream that has internal zones of its own.
dns_stop_rebind = True

# Further name servers in every host's resolv.conf, asked when ours is silent. Empty by choice:
# a public resolver answers "no such name" for internal names, and learns what they are.
resolver_fallback: list[str] = []

timezone = "America/New_York"

# Lifetimes of leaf certificates (Go durations). Each holder renews with a third left.
step_ca_lifetime_minimum = "5m"
step_ca_lifetime_maximum = "24h"
step_ca_lifetime_default = "24h"

# O and the start of CN of root and intermediate, and their lifetime; read once, at initialisation.
step_ca_organisation = "ThinkHeads"
step_ca_years = 10

# The gateway
nginx_hsts_seconds = 31536000
nginx_max_body = "512m"
nginx_read_timeout = "300s"

traefik_dashboard_user = "admin"
# Prometheus metrics of Traefik's entry points at http://127.0.0.1:8081/metrics on its guest. They
# cost CPU time with each request.
traefik_metrics = False

# Seconds in which a new SSH login must succeed after a change to sshd, else it is undone.
ssh_confirm_seconds = 120

# Programs that are no Debian packages. Any URL that the guests can reach will do (https:// or
# file:///): the digests decide. `sha256` is the download's, `binary_sha256` the program's in it.
artifacts = {
    "step-ca": {
        "amd64": {
            "version": "0.30.2",
            "url": "https://github.com/smallstep/certificates/releases/download/v0.30.2/"
            "step-ca_linux_0.30.2_amd64.tar.gz",
            "sha256": "126615795bafe3f2d3f890e2d628fa6e2857315fb48d0671d34b23047cc37d73",
            "member": "step-ca_0.30.2/step-ca",
        },
        "arm64": {
            "version": "0.30.2",
            "url": "https://github.com/smallstep/certificates/releases/download/v0.30.2/"
            "step-ca_linux_0.30.2_arm64.tar.gz",
            "sha256": "43f79d1b0b8cab9895dbadd46b0a014006f682a6b1341e1fadf0be31d4b9f4b4",
            "member": "step-ca_0.30.2/step-ca",
        },
    },
    "traefik": {
        "amd64": {
            "version": "3.7.15",
            "url": "https://github.com/traefik/traefik/releases/download/v3.7.15/"
            "traefik_v3.7.15_linux_amd64.tar.gz",
            "binary_sha256": "34bfdfa88e321ad496d829910c6145a0743eae09cdf290e3e114b137eb948e30",
            "member": "traefik",
        },
        "arm64": {
            "version": "3.7.15",
            "url": "https://github.com/traefik/traefik/releases/download/v3.7.15/"
            "traefik_v3.7.15_linux_arm64.tar.gz",
            "binary_sha256": "f5bfb83924e9645f74f4f89a3a186520ef5265d6d5422c011569dde93cd8c749",
            "member": "traefik",
        },
    },
}

# Docker Engine: "distribution" (Debian's or Ubuntu's packages) or "docker" (Docker's own).
docker_packages = "distribution"
docker_apt_url = "https://download.docker.com/linux"
docker_apt_key_sha256 = "1500c1f56fa9e26b9b8f42452a553675796ade0807cdce11975eb98170b3a570"
docker_log_size = "10m"
docker_log_files = 5

# Container images of the control plane, by pinned tag (or name@sha256:...).
portainer_image = "portainer/portainer-ce:2.39.1"
portainer_agent_image = "portainer/agent:2.39.1"

# Archives (docker save) for sites without a registry: reference -> {"url": ..., "sha256": ...}.
image_archives: dict[str, dict[str, str]] = {}

# Values that replace those of stacks/NAME/phoenix.json: stack -> variable -> value.
stack_variables: dict[str, dict[str, str]] = {}

# Stacks (NAME-ENVIRONMENT) that are to be removed from Portainer; their volumes stay. A stack that
# merely left the configuration goes on running.
stacks_prune: list[str] = []

# To whom backups are encrypted (deploys/backup.py): age recipients ("age1...", of age-keygen) or
# SSH public keys of type ed25519. Empty: with the passphrase in the secret backup_passphrase.
backup_recipients: list[str] = []

# -- Proxmox VE (deploys/proxmox.py) ---------------------------------------------------------------

# "off": guests and firewall are left alone. "ssh": the API of the hypervisor, through our SSH
# connection to it. Or its URL, "https://phoenix.example:8006". On needs the secret
# proxmox_api_token, USER@REALM!ID=SECRET; the README lists the privileges.
proxmox_api = "off"

# How the API's certificate is verified: by its SHA-256 fingerprint, or by a CA. Where both are
# None, the fingerprint is read on the hypervisor by SSH.
proxmox_fingerprint: str | None = None
proxmox_ca_file: str | None = None

# The node where new guests are made; None: the one named as the hypervisor.
proxmox_node: str | None = None

# Where container templates (vztmpl) and disk images (import) lie.
proxmox_template_storage = "local"
proxmox_image_storage = "local"

# Images that the hypervisor may download when they're absent, by the file name in the JSON files:
# {"noble-server-cloudimg-amd64.img": {"url": "https://...", "sha256": "..."}}
proxmox_images: dict[str, dict[str, str]] = {}

# Guests made by hand that Phoenix may change into what is declared, by id. Others that differ
# are refused, with the difference shown; none is ever rebuilt.
proxmox_adopt: list[int] = []

# The login user that cloud-init makes in new VMs: root, since the inventory logs in as root. None:
# the one that each VM's entry names.
proxmox_vm_user: str | None = "root"
# Public keys that new guests accept; empty: the one beside the key that pyinfra uses.
proxmox_ssh_keys: list[str] = []

# Features of every container. systemd of Debian 12 and Ubuntu 24.04 needs nesting.
proxmox_lxc_features = {"nesting": "1"}

# What a guest has beside its entry in the JSON files, by id: node, vlan, features, mount_points
# ({"path", "storage", "size_gb", "backup"}), tags, protection, replicate_to.
proxmox_guests: dict[int, dict[str, object]] = {}

# The firewall of the cluster, the node and the guests, from the site's flows. Rules of others
# stay. "DROP" lets guests out only where a flow says so: not to Debian's mirrors, either.
proxmox_firewall = True
proxmox_firewall_out = "ACCEPT"
# From where SSH and the API stay open, beside the site's network and the address we come from.
proxmox_operator_networks: list[str] = []

# High availability (an existing group of Proxmox VE 8) and how often volumes are replicated.
proxmox_ha_group: str | None = None
proxmox_replication_schedule = "*/15"

# A snapshot around each change of an existing guest, gone back to when the change fails; and the
# original's snapshot "pre-configured" of each new guest.
proxmox_snapshot_before_change = False
proxmox_lifecycle_snapshots = False

# How long one task, a guest's lock, one request, and all guests' SSH may take, in seconds.
proxmox_task_seconds = 900
proxmox_lock_seconds = 120
proxmox_request_seconds = 30
proxmox_ssh_seconds = 300
