"""phoenix-backup run for real, with stand-ins for restic, Docker and systemd."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from phoenix.files import text
from tests.unit.test_check_script import fault, stand_in

PART = "stack:wiki"
# A folder per snapshot; what it was called with is noted, so that a test can look.
RESTIC = r"""
echo "restic $*" >>"$T/calls"
fatal() { echo "Fatal: $*" >&2; exit 1; }
[ -z "${FAIL_RESTIC:-}" ] || case "$*" in *"$FAIL_RESTIC"*) fatal "$FAIL_RESTIC refused" ;; esac
[ "$(cat "$RESTIC_PASSWORD_FILE")" = right ] || fatal "wrong password or no key found"
repo=$RESTIC_REPOSITORY
while [ "$1" = -o ]; do shift 2; done
case $1 in
cat) [ -e "$repo/config" ] ||
    fatal "unable to open config file
Is there a repository at the following location?" ;;
init) mkdir -p "$repo" && : >"$repo/config" ;;
backup) n=$(ls "$repo" | wc -l); id=0000000$n; mkdir "$repo/$id"
    for from; do :; done; tar -C / -cf "$repo/$id/tar" "${from#/}" && echo "snapshot $id saved" ;;
stats) echo '{"total_size":1024}' ;;
restore) tar -C "$5" -xpf "$repo/$3/tar" ;;
snapshots) echo '[]' ;;
unlock | forget) ;;
esac
"""
SYSTEMCTL = r"""
echo "systemctl $*" >>"$T/calls"
case $1 in is-active) [ -e "$T/active" ] ;; start) touch "$T/active" ;; stop) rm "$T/active" ;; esac
"""
DOCKER = r"""
echo "docker $*" >>"$T/calls"
for last; do :; done
case "$1 $2" in
"volume inspect") place=$T/volumes/$last/_data
    [ -d "$T/volumes/$last" ] && case $* in *Mountpoint*) echo "$place" ;; esac ;;
"volume create") mkdir -p "$T/volumes/$last/_data" ;;
"ps -q") [ -z "${FAIL_PS:-}" ] || exit 1
    case $* in *notes_data*) end=2 ;; *) end= ;; esac
    [ ! -e "$T/running$end" ] && [ ! -e "$T/listed" ] || echo "c${end:-1}" ;;
"inspect -f") shift 3
    for id; do [ "$id" != c1 ] || [ -e "$T/running" ] || echo c1; done
    rm -f "$T/listed" ;;
"ps -aq") [ -e "$T/removed" ] || echo c1 ;;
"stop c1") rm "$T/running"; [ -z "${LISTS_LATE:-}" ] || touch "$T/listed" ;;
"stop c2") rm "$T/running2" ;;
"start c9") exit 1 ;;
"start c2") touch "$T/running2" ;;
"start c1") [ -z "${FAIL_START:-}" ] && touch "$T/running" ;;
"exec -i") shift 3; "$@" ;;
exec*) shift 2; "$@" ;;
esac
"""


class Guest:
    """A host with one stack, and its backups below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc, self.var = root / "etc", root / "var"
        self.state = self.var / "state"
        self.etc.mkdir()
        self.data = root / "volumes/wiki_data/_data"
        self.data.mkdir(parents=True)
        (self.data / "page").write_text("hello\n")
        (self.data / "page").chmod(0o640)
        (self.data / "link").symlink_to("page")
        (root / "running").touch()
        (root / "active").touch()
        self.program = root / "phoenix-backup"
        self.program.write_text(text("components/restic/phoenix-backup"))
        (root / "bin").mkdir()
        for name, body in {"restic": RESTIC, "systemctl": SYSTEMCTL, "docker": DOCKER,
                           "sleep": ":", "nice": 'shift 2; exec "$@"'}.items():  # fmt: skip
            path = root / "bin" / name
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)
        (self.etc / "backup.password").write_text("right\n")
        self.state.mkdir(parents=True)  # as the sync leaves it (deploys/restic.py)
        (self.state / "since").touch()
        self.config()
        self.parts(f"{PART}\tvolume\tdata\twiki_data\twiki")

    def config(self, **values: str) -> None:
        keys = {"HOST": "worker", "REPOSITORY": f"{self.root}/target/worker",
                "FOLDER": f"{self.root}/target", "MOUNTED": "", "SFTP": "",
                "KEEP": "'--keep-daily 7'", **values}  # fmt: skip
        (self.etc / "backup.conf").write_text("".join(f"{k}={v}\n" for k, v in keys.items()))

    def parts(self, *lines: str) -> None:
        (self.etc / "backup.parts").write_text("".join(f"{line}\n" for line in lines))

    def __call__(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(self.program), *words], capture_output=True, text=True, timeout=60,
            check=False,
            env={**os.environ, "T": str(self.root), "PHOENIX_BACKUP_ETC": str(self.etc),
                 "PHOENIX_BACKUP_VAR": str(self.var),
                 "PATH": f"{self.root}/bin:{os.environ['PATH']}", **more},
        )  # fmt: skip

    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    def snapshot(self) -> str:
        return (self.state / f"{PART}.good").read_text().split()[1]

    def check(self, part: str = PART, days: str = "2") -> str:
        return fault(self.root, "backup_is_good", part, days, PHOENIX_BACKUP_STATE=str(self.state))


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_services_stop_for_the_copy_and_run_again_before_restic_works(guest: Guest) -> None:
    done = guest("run")
    assert done.returncode == 0, done.stderr
    calls = guest.calls()
    stop, start = calls.index("docker stop c1"), calls.index("docker start c1")
    (saved,) = [n for n, call in enumerate(calls) if call.startswith("restic backup")]
    assert stop < start < saved
    assert f"--tag {PART}" in calls[saved]
    assert "--keep-last 1 --keep-daily 7 --prune" in calls[-1]
    assert not (guest.var / "copy" / PART).exists()
    assert "right" not in "".join(calls)
    assert guest.check() == ""


def test_a_snapshot_is_restored_to_prove_it_once(guest: Guest) -> None:
    guest("run")
    assert guest("prove").returncode == 0
    assert (guest.state / f"{PART}.proven").read_text().split()[1] == guest.snapshot()
    before = len(guest.calls())
    assert guest("prove").returncode == 0
    assert guest.calls()[before:] == []
    assert not (guest.var / "scratch").exists()


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("echo changed >data/data/page", "a file differs"),
        ("chmod 600 data/data/page", "an entry differs"),
        ("rm data/data/link", "an entry differs"),
        ("rm digests", "the lists of its contents are missing"),
    ],
)
def test_a_snapshot_that_does_not_restore_whole_is_no_proof(
    guest: Guest, harm: str, message: str
) -> None:
    guest("run")
    archive = guest.root / f"target/worker/{guest.snapshot()}/tar"
    apart = guest.root / "apart"
    apart.mkdir()
    subprocess.run(["tar", "-C", apart, "-xpf", archive], check=True)
    subprocess.run(["sh", "-c", harm], check=True, cwd=f"{apart}{guest.var}/copy/{PART}")
    subprocess.run(["tar", "-C", apart, "-cf", archive, "."], check=True)
    assert guest("prove").returncode == 1
    assert message in (guest.state / f"{PART}.unproven").read_text()
    assert message in guest.check()
    refused = guest("restore", PART, guest.snapshot(), "replace")
    assert refused.returncode == 1
    assert message in refused.stderr
    assert (guest.data / "page").read_text() == "hello\n"


@pytest.mark.parametrize("word", ["backup", "cat config", "init"])
def test_what_restic_refuses_is_told_in_its_words_and_services_run(guest: Guest, word: str) -> None:
    assert guest("run", FAIL_RESTIC=word).returncode == 1
    assert f"Fatal: {word} refused" in guest.check()
    assert (guest.root / "running").exists()
    assert guest("run").returncode == 0
    assert guest.check() == ""


@pytest.mark.parametrize("told", ["", "subprocess ssh: Host key verification failed."])
def test_why_ssh_ends_is_told_also_where_restic_has_not_read_it(guest: Guest, told: str) -> None:
    """restic logs what its ssh says beside its work, and may end before it does."""
    guest.config(SFTP="'-p 22 backups@nas -s sftp'", FOLDER="")
    stand_in(
        guest.root / "bin", "restic",
        f"[ -z '{told}' ] || echo '{told}' >&2\n"
        "echo 'Fatal: unable to start the sftp session, error: file already closed' >&2; exit 1",
    )  # fmt: skip
    stand_in(
        guest.root / "bin", "ssh",
        f'echo "ssh $*" >>"{guest.root}/calls"; echo Host key verification failed. >&2; exit 255',
    )  # fmt: skip
    assert guest("run").returncode == 1
    assert guest.check().count("Host key verification failed.") == 1
    assert "unable to start the sftp session" in guest.check()
    asked = [f"ssh -i {guest.etc}/backup.ssh -p 22 backups@nas -s sftp"]
    assert (guest.root / "calls").exists() == (not told)
    assert told or guest.calls() == asked


def test_retention_that_fails_is_told_by_itself(guest: Guest) -> None:
    assert guest("run", FAIL_RESTIC="forget").returncode == 1
    assert guest.check() == ""
    state = {"PHOENIX_BACKUP_STATE": str(guest.state)}
    assert "forget refused" in fault(guest.root, "backups_are_kept", **state)
    guest("run")
    assert fault(guest.root, "backups_are_kept", **state) == ""


def test_no_other_repository_is_begun_where_the_first_one_has_gone(guest: Guest) -> None:
    guest("run")
    (guest.root / "target").rename(guest.root / "gone")
    assert guest("run").returncode == 1
    assert "no other is begun in its place" in guest.check()
    assert not (guest.root / "target/worker").exists()


def test_nothing_is_written_where_the_declared_mount_is_missing(guest: Guest) -> None:
    guest.config(MOUNTED=str(guest.root / "target"))
    assert guest("run").returncode == 1
    assert "nothing is mounted at" in guest.check()
    assert not (guest.root / "target").exists()


def test_a_dump_is_taken_from_a_running_service_and_an_empty_one_fails(guest: Guest) -> None:
    guest.parts(
        f"{PART}\tdump\tdb\twiki\tprintf 'a b'", f"{PART}\tload\tdb\twiki\ttee {guest.root}/loaded"
    )
    assert guest("run").returncode == 0
    assert "docker stop c1" not in guest.calls()
    done = guest("restore", PART, guest.snapshot())
    assert done.returncode == 0, done.stderr
    assert (guest.root / "loaded").read_text() == "a b"
    guest.parts(f"{PART}\tdump\tdb\twiki\ttrue")
    assert guest("run").returncode == 1
    assert "the dump of db is empty" in guest.check()
    (guest.root / "running").unlink()
    guest("run")
    assert "service db of wiki does not run" in guest.check()


def test_a_lost_volume_comes_back_with_owners_modes_and_links(guest: Guest) -> None:
    guest("run")
    owner = (guest.data / "page").stat()
    subprocess.run(["rm", "-rf", guest.root / "volumes"], check=True)
    (guest.root / "running").unlink()
    done = guest("restore", PART, guest.snapshot())
    assert done.returncode == 0, done.stderr
    assert (guest.data / "page").read_text() == "hello\n"
    assert (guest.data / "page").stat().st_mode == owner.st_mode
    assert (guest.data / "link").readlink() == Path("page")
    assert any("com.docker.compose.volume=data" in call for call in guest.calls())
    assert not list(guest.data.parent.glob(".restore.*"))


def test_data_in_the_way_are_refused_or_kept_beside(guest: Guest) -> None:
    guest("run")
    (guest.data / "page").write_text("newer\n")
    refused = guest("restore", PART, guest.snapshot())
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    assert (guest.data / "page").read_text() == "newer\n"
    assert guest("restore", PART, guest.snapshot(), "replace").returncode == 0
    assert (guest.data / "page").read_text() == "hello\n"
    (aside,) = (guest.var / "before").glob(f"{PART}.*")
    assert (aside / "data/page").read_text() == "newer\n"
    assert (guest.root / "running").exists()


def test_what_a_dead_run_has_stopped_is_started_by_the_next_look(guest: Guest) -> None:
    failed = guest("run", FAIL_START="yes")
    assert failed.returncode == 1
    assert "does not start again after the copy" in guest.check()
    assert not (guest.root / "running").exists()
    assert guest("again").returncode == 0
    assert (guest.root / "running").exists()
    assert not (guest.var / "stopped").exists()


def test_the_ca_is_exported_as_a_restore_takes_it(guest: Guest, tmp_path: Path) -> None:
    place = tmp_path / "ca"
    for folder in ("certs", "secrets", "db"):
        (place / folder).mkdir(parents=True)
    (place / "secrets/password").write_text("word\n")
    make = (
        "openssl req -x509 -newkey ed25519 -keyout k -passout file:secrets/password -subj /CN=a "
        "-out certs/root_ca.crt -days 2 2>/dev/null; mv k secrets/intermediate_ca_key;"
        "cp certs/root_ca.crt certs/intermediate_ca.crt; echo x >db/1; echo configuration >ca.json"
    )
    subprocess.run(["sh", "-c", make], check=True, cwd=place)
    guest.parts("ca\tunit\tstep-ca.service", f"ca\tfolder\tca\t{place}\tcerts secrets db")
    assert guest("run").returncode == 0
    assert "systemctl stop step-ca.service" in guest.calls()
    assert (guest.root / "active").exists()
    assert guest("prove").returncode == 0
    _, snapshot = (guest.state / "ca.good").read_text().split()
    done = guest("export", "ca", snapshot)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(done.stdout))) as tar:
        names = {name for name in tar.getnames() if "/" not in name}
    assert names == {"certs", "secrets", "db"}
    (place / "secrets/password").write_text("another\n")
    guest("run")
    assert guest("prove").returncode == 1
    assert "do not fit together" in guest.check("ca")


def test_old_ones_are_warned_of_and_a_first_one_is_awaited(guest: Guest) -> None:
    (guest.state / "since").unlink()
    assert "no backup was made yet" in guest.check()  # nobody knows since when one is awaited
    since, old = guest.state / "since", time.time() - 3 * 86400
    since.touch()
    assert guest.check() == ""
    os.utime(since, (old, old))
    assert "no backup was made yet" in guest.check()
    assert guest.check().startswith("~")
    (guest.state / f"{PART}.good").write_text(f"{int(old)} abc\n")
    assert "the newest backup is of" in guest.check()
    assert guest.check(days="4") == ""
    (guest.state / f"{PART}.good").write_text(f"{int(time.time())} abc\n")
    assert "no backup was restored to prove it since never" in guest.check()
    (guest.state / f"{PART}.proven").write_text(f"{int(time.time())} abc\n")
    assert guest.check() == ""


OTHER = "stack:notes"


@pytest.fixture
def two(guest: Guest) -> Guest:
    """With a second stack."""
    guest.parts(
        f"{PART}\tvolume\tdata\twiki_data\twiki", f"{OTHER}\tvolume\tdata\tnotes_data\tnotes"
    )
    (guest.root / "volumes/notes_data/_data").mkdir(parents=True)
    (guest.root / "running2").touch()
    return guest


def test_a_part_whose_service_stays_down_hides_in_no_other_one(two: Guest) -> None:
    assert two("run", FAIL_START="yes").returncode == 1
    assert "container c1" in two.check()
    assert two.check(OTHER) == ""
    assert (two.root / "running2").exists()
    # The next one starts it, though other parts were paused since.
    assert two("prove").returncode == 0
    assert (two.root / "running").exists()
    assert not (two.var / "stopped").exists()


def test_a_service_that_a_killed_restore_has_stopped_runs_after_the_next_one(guest: Guest) -> None:
    guest("run")
    (guest.root / "running").unlink()
    (guest.var / "stopped").write_text("container c1\n")  # as a kill in the middle leaves it
    assert guest("restore", PART, guest.snapshot(), "replace").returncode == 0
    assert (guest.root / "running").exists()
    assert not (guest.var / "stopped").exists()


def test_a_service_of_another_that_stays_down_stops_no_restore(guest: Guest) -> None:
    guest.parts(
        f"{PART}\tvolume\tdata\twiki_data\twiki", f"{PART}\tdump\tdb\twiki\tprintf dumped",
        f"{PART}\tload\tdb\twiki\ttee {guest.root}/loaded",
    )  # fmt: skip
    guest("run")
    (guest.var / "stopped").write_text("container c9\n")
    done = guest("restore", PART, guest.snapshot(), "replace")
    assert done.returncode == 0, done.stderr
    assert (guest.root / "loaded").read_text() == "dumped"
    assert (guest.root / "running").exists()
    assert (guest.var / "stopped").read_text() == "container c9\n"


def test_a_container_that_was_made_anew_is_not_waited_for(guest: Guest) -> None:
    guest("run", FAIL_START="yes")
    (guest.root / "removed").touch()
    assert guest("again", FAIL_START="yes").returncode == 0
    assert not (guest.var / "stopped").exists()


def test_a_container_that_docker_lists_though_it_has_stopped_was_not_started(guest: Guest) -> None:
    """Docker's list is brought up to date after `docker stop` has ended."""
    done = guest("run", LISTS_LATE="yes")
    assert done.returncode == 0, done.stderr
    assert not (guest.root / "listed").exists(), "it was asked what it says of that container"
    assert guest.check() == ""


def test_nothing_is_copied_while_docker_does_not_list_what_runs(guest: Guest) -> None:
    assert guest("run", FAIL_PS="yes").returncode == 1
    assert "Docker does not list its containers" in guest.check()
    assert not any(call.startswith("restic backup") for call in guest.calls())


def test_a_backup_that_cannot_be_noted_is_no_good_one(guest: Guest) -> None:
    assert guest("run", FAIL_START="yes").returncode == 1
    (guest.state / f"{PART}.good").mkdir()  # as one where a full disk lets nothing be written
    again = guest("run")
    assert again.returncode == 1
    assert "cannot be noted" in again.stderr
    assert (guest.state / f"{PART}.failure").exists()


@pytest.mark.parametrize("moved", [False, True])
def test_a_restore_that_was_killed_is_finished_by_the_next(guest: Guest, moved: bool) -> None:
    guest("run")
    left = guest.data.parent / ".restore.AAAAAA"
    (left / "data").mkdir(parents=True)
    if moved:  # between the two renames
        guest.data.rename(left / "old")
    refused = guest("restore", PART, guest.snapshot())
    assert "holds data: nothing was changed" in refused.stderr
    assert (guest.data / "page").read_text() == "hello\n"
    assert guest("restore", PART, guest.snapshot(), "replace").returncode == 0
    assert [entry.name for entry in guest.data.parent.iterdir()] == ["_data"]


def test_a_volume_whose_folder_is_gone_comes_back(guest: Guest) -> None:
    guest("run")
    subprocess.run(["mv", guest.data, guest.root / "apart"], check=True)
    done = guest("restore", PART, guest.snapshot())
    assert done.returncode == 0, done.stderr
    assert (guest.data / "page").read_text() == "hello\n"


def test_a_restore_that_fails_leaves_no_half_copies(guest: Guest) -> None:
    guest("run")
    (guest.var / "before").write_text("in the way, as a full disk is\n")
    failed = guest("restore", PART, guest.snapshot(), "replace")
    assert failed.returncode == 1
    assert "was not restored" in failed.stderr
    assert [entry.name for entry in guest.data.parent.iterdir()] == ["_data"]
    assert (guest.data / "page").read_text() == "hello\n"
    assert (guest.root / "running").exists()
    assert not (guest.var / "scratch").exists()


def test_a_restore_that_puts_nothing_back_is_none(guest: Guest) -> None:
    guest("run")
    guest.parts(f"{PART}\tvolume\tpages\twiki_data\twiki")  # its key was renamed since
    refused = guest("restore", PART, guest.snapshot(), "replace")
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert not (guest.var / "scratch").exists()
    guest.parts(
        f"{PART}\tvolume\tpages\twiki_pages\twiki", f"{PART}\tvolume\tdata\twiki_data\twiki"
    )
    result = guest("restore", PART, guest.snapshot(), "replace")
    assert result.returncode == 0
    assert "volume wiki_pages stays as it is" in result.stdout


def test_dumps_that_nothing_loads_are_a_person_s_to_use(guest: Guest) -> None:
    guest.parts(f"{PART}\tdump\tdb\twiki\tprintf dumped")
    guest("run")
    done = guest("restore", PART, guest.snapshot())
    assert done.returncode == 0
    assert "yours to use" in done.stderr


def test_a_refused_restore_leaves_no_copy_of_the_data(guest: Guest) -> None:
    guest("run")
    assert guest("restore", PART, guest.snapshot()).returncode == 1
    assert not (guest.var / "scratch").exists()


def test_an_export_that_ends_in_the_middle_fails(guest: Guest) -> None:
    place = guest.root / "portainer"
    place.mkdir()
    (place / "portainer.key").write_text("key\n")
    guest.parts(f"portainer\tfolder\tportainer\t{place}\tportainer.key")
    guest("run")
    _, snapshot = (guest.state / "portainer.good").read_text().split()
    assert guest("export", "portainer", snapshot).returncode == 0
    gzip = guest.root / "bin/gzip"
    gzip.write_text("#!/bin/sh\nhead -c 10\nexit 1\n")
    gzip.chmod(0o755)
    failed = guest("export", "portainer", snapshot)
    assert failed.returncode == 1
    assert "was not read to its end" in failed.stderr


def test_copies_of_a_part_that_is_not_declared_any_more_go(guest: Guest) -> None:
    (guest.var / "copy/stack:former").mkdir(parents=True)
    guest("run")
    assert list((guest.var / "copy").iterdir()) == []


def test_who_only_looks_locks_no_repository(guest: Guest) -> None:
    guest("list")
    assert guest.calls() == ["restic snapshots --json --no-lock"]
