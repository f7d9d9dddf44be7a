"""The root's key in an encrypted file: proven when it is made, and of this root when it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from phoenix.backup import BackupError, Cipher, cipher, decryptor
from phoenix.backup.root_key import WHAT, opener, save
from phoenix.secrets import age
from tests.unit.test_x509 import Authority

FIRST, SECOND = Authority("First"), Authority("Second")


def root(authority: Authority) -> str:
    return authority.root.public_bytes(Encoding.PEM).decode()


def key(authority: Authority) -> SecretStr:
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SecretStr(authority.root_key.private_bytes(*form).decode())


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, str]:
    """A private key's file, and its public half."""
    path = tmp_path / "key.txt"
    return path, age.make_key(path)


def saved(tmp_path: Path, encrypted: Cipher) -> Path:
    return save(root(FIRST), key(FIRST), tmp_path / "usb", "a.example", encrypted)


def test_file_holds_the_key_for_who_has_the_identity_alone(
    tmp_path: Path, identity: tuple[Path, str]
) -> None:
    file = saved(tmp_path, cipher([identity[1]], None, WHAT))
    assert file.name.startswith("phoenix-root-a.example-")
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in file.read_bytes()
    opens = opener(file, decryptor(identity[0], None, WHAT, "certs_root_identity"))
    assert opens(root(FIRST)) == key(FIRST)
    other = tmp_path / "other.txt"
    age.make_key(other)
    with pytest.raises(BackupError, match=f"does not open {WHAT}"):
        opener(file, decryptor(other, None, WHAT))(root(FIRST))


@pytest.mark.long
def test_a_passphrase_will_do(tmp_path: Path) -> None:
    word = SecretStr("a passphrase")
    file = saved(tmp_path, cipher([], word, WHAT))
    assert opener(file, decryptor(None, word, WHAT))(root(FIRST)) == key(FIRST)


def test_key_of_another_root_is_no_use(tmp_path: Path, identity: tuple[Path, str]) -> None:
    file = saved(tmp_path, cipher([identity[1]], None, WHAT))
    with pytest.raises(BackupError, match="the key of another root"):
        opener(file, decryptor(identity[0], None, WHAT))(root(SECOND))


def test_what_is_not_the_root_s_key_is_never_written(
    tmp_path: Path, identity: tuple[Path, str]
) -> None:
    encrypted = cipher([identity[1]], None, WHAT)
    for other_key, why in ((key(SECOND), "not the key of"), (SecretStr("junk"), "cannot be read")):
        with pytest.raises(BackupError, match=why):
            save(root(FIRST), other_key, tmp_path / "usb", "a.example", encrypted)
    assert not (tmp_path / "usb").exists()


def test_file_that_does_not_open_gets_no_name(tmp_path: Path, identity: tuple[Path, str]) -> None:
    """Before anything is removed: a cipher that writes what nobody can read."""
    whole = cipher([identity[1]], None, WHAT)
    other = cipher([age.make_key(tmp_path / "another")], None, WHAT)
    with pytest.raises(BackupError, match="does not open"):
        saved(tmp_path, Cipher(whole.encrypt, other.decrypt, ""))
    assert list((tmp_path / "usb").iterdir()) == []


def test_file_that_is_there_is_left_alone(tmp_path: Path, identity: tuple[Path, str]) -> None:
    encrypted = cipher([identity[1]], None, WHAT)
    file = saved(tmp_path, encrypted)
    content = file.read_bytes()
    with pytest.raises(BackupError, match="is there already"):
        saved(tmp_path, encrypted)
    assert file.read_bytes() == content


@pytest.mark.parametrize("content", [b"junk", b""])
def test_other_files_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    decrypt = decryptor(None, SecretStr("a passphrase"), WHAT)
    with pytest.raises(BackupError, match="not encrypted with age"):
        opener(tmp_path / "f", decrypt)(root(FIRST))
    with pytest.raises(BackupError, match="cannot be read"):
        opener(tmp_path / "none", decrypt)(root(FIRST))
