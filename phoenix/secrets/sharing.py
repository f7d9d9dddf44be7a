"""The secrets of a site handed from one operator to another, or to a team."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phoenix import bounded
from phoenix.secrets import age, catalog, sops
from phoenix.secrets.errors import SecretError, flat_strings
from phoenix.secrets.store import SecretStore
from phoenix.site.model import Site

FILE_NAME = "secrets.sops.json"
"""A project's SOPS file, where the inventory names none."""


@dataclass(frozen=True)
class Started:
    """What `start` did.

    Attributes:
        file: the SOPS file.
        key: the file with this person's age key.
        recipient: its public half, which others may know.
        created: those of the files that were created now.
        moved: names of the secrets that the new file holds.
    """

    file: Path
    key: Path
    recipient: str
    created: tuple[Path, ...]
    moved: tuple[str, ...]


def start(
    site: Site, store: SecretStore, file: Path, key: Path,
    registries: catalog.Registries = catalog.NO_REGISTRIES,
) -> Started:  # fmt: skip
    """Have the site's secrets in a SOPS file from now on: those that this machine keeps.

    What is there already stays as it is: the key, the rules in `.sops.yaml`, the file. No value is
    generated: the first sync does that, when it has asked the site what it holds.

    Args:
        site: whose secrets go into the file.
        store: where they are kept until now.
        file: the SOPS file to make.
        key: where this person's age key is, or is to be.
        registries: the setting of that name.

    Raises:
        SecretError: sops is not installed or refuses, or the key cannot be used.
    """
    if shutil.which("sops") is None:
        raise SecretError(f"sops is not installed here: {sops.INSTALL}")
    recipient = age.public_key(key)
    created = []
    if recipient is None:
        recipient = age.make_key(key)
        created.append(key)
    moved: tuple[str, ...] = ()
    if not file.exists():
        rules = file.with_name(sops.CONFIG)
        created += [file] if rules.exists() else [rules, file]
        local = store.of_this_machine()
        known = catalog.uses(site, registries)
        values = {use.name: local[use.name] for use in known if use.name in local}
        sops.create(file, values, recipient)
        moved = tuple(values)
    return Started(file, key, recipient, tuple(created), moved)


def export(
    site_name: str, site: Site, store: SecretStore, to: Sequence[str],
    registries: catalog.Registries = catalog.NO_REGISTRIES,
) -> tuple[bytes, tuple[str, ...]]:  # fmt: skip
    """An age file with every secret of the site that this machine knows.

    Args:
        site_name: what `import_` compares, so that no site gets another's.
        site: whose secrets.
        store: where they are looked up, with all its sources.
        to: age public keys of those who may read it.

    Returns:
        The file, as text of age, and the names of the secrets in it.

    Raises:
        SecretError: there is none, a source cannot be read, or a recipient cannot be used.
    """
    values = {}
    for use in catalog.uses(site, registries):
        value = store.present(use.name)
        if value is not None:
            values[use.name] = value.get_secret_value()
    if not values:
        raise SecretError("this machine knows no secret of the site: there is nothing to export")
    text = json.dumps({"site": site_name, "secrets": json.dumps(values, sort_keys=True)})
    return age.encrypt(text.encode(), to), tuple(values)


def read(file: Path, site_name: str, key: Path) -> dict[str, str]:
    """The secrets in a file of `export`.

    Args:
        file: the file.
        site_name: the site that they must be of.
        key: the file with this person's private age key.

    Raises:
        SecretError: it cannot be read or decrypted, or is another site's.
    """
    try:
        data = bounded.read(file)
    except OSError as error:
        raise SecretError(f"{file} cannot be read: {error.strerror or error}") from None
    content = flat_strings(age.decrypt(data, key, str(file)).decode(errors="replace"), str(file))
    if content.keys() != {"site", "secrets"}:
        raise SecretError(f"{file} holds no secrets of `secrets export`")
    if content["site"] != site_name:
        raise SecretError(f"{file} holds the secrets of {content['site']}, and this is {site_name}")
    return flat_strings(content["secrets"], str(file))


@dataclass(frozen=True)
class Imported:
    """What `import_` did: `names` were new or replaced here; `aside` keeps a former store."""

    names: tuple[str, ...]
    aside: Path | None


def import_(values: dict[str, str], store: SecretStore, *, replace: bool) -> Imported:
    """Keep secrets from another operator: in the SOPS file where there is one, else in the store.

    Args:
        values: the secrets by name.
        store: where they are kept.
        replace: take those over that are kept here with another value.

    Raises:
        SecretError: some are kept with another value, and `replace` is not given.
    """
    added, other = store.differences(values)
    if other and not replace:
        raise SecretError(
            f"{store.place} has other values of {', '.join(other)}, and nothing was changed: find "
            "out which the site has, and give --replace to take those of the file"
        )
    imported = (*added, *other)
    aside = store.merge({name: values[name] for name in imported}) if imported else None
    return Imported(imported, aside)


def write_private(file: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read.

    Raises:
        SecretError: it is there already, or cannot be written.
    """
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SecretError(f"the file cannot be written: {error}") from None
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
