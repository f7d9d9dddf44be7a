"""A person's own sites of Nginx on a host."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.nginx.existing_sites import PATTERNS, OwnSite, SitesError, parse
from phoenix.components.nginx.nginx_conf import CONFIG
from phoenix.files import text
from phoenix.shell import Script

_SITES = Script(
    "nginx-sites", text("components/config_tree/package_file.sh", "components/nginx/sites.sh")
)


class OwnSites(HostFact[tuple[OwnSite, ...]]):
    """Files with servers that a person wrote, and whether nginx reads them.

    Args:
        base: the folder of the gateway's configuration tree.
    """

    @override
    def command(self, base: str) -> StringCommand:
        return marked(script(_SITES, base, CONFIG, *PATTERNS))

    @override
    def parse(self, lines: list[str]) -> tuple[OwnSite, ...]:
        try:
            return parse(lines)
        except SitesError as error:
            raise FactProcessError(str(error)) from error
