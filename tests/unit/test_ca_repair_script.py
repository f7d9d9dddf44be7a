"""repair.sh and backup.sh run for real on files, with a CA that opens a database or does not."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from phoenix.components.step_ca.authority import DATABASE
from phoenix.files import render, text

# A database opens where its file begins with "good" and ends with a line break.
SYSTEMCTL = r"""#!/bin/sh
printf '%s\n' "$*" >>"$TOP/systemctl.log"
case $1 in
restart|start)
    rm -f "$TOP/serving"
    file=$TOP/ca/db/000000.vlog
    [ -e "$TOP/dead" ] && { echo "port 9000 is taken" >>"$TOP/journal"; exit 0; }
    if [ ! -e "$file" ]; then [ -e "$TOP/none_opens" ] || { echo good >"$file"; }; fi
    size=$(stat -c %s "$file" 2>/dev/null)
    if [ "$(head -c 4 "$file" 2>/dev/null)" != good ]; then
        echo "Error opening database of Type badgerv2: garbage" >>"$TOP/journal"
    elif [ -n "$(tail -c 1 "$file")" ]; then
        end=$(grep -n '' "$file" | head -n -1 | wc -l)
        end=$(head -n "$end" "$file" | wc -c)
        {
            echo "badger WARNING: Truncate Needed. File $file size: $size Endoffset: $end"
            echo "Error opening database of Type badgerv2: Value log truncate required"
        } >>"$TOP/journal"
    else echo "Serving HTTPS on :9000 ..." >>"$TOP/journal"; : >"$TOP/serving"; fi ;;
stop) rm -f "$TOP/serving" ;;
is-active) [ -e "$TOP/serving" ] ;;
esac
"""
JOURNALCTL = r"""#!/bin/sh
case "$*" in
*--show-cursor*) echo "-- cursor: $(wc -l <"$TOP/journal")" ;;
*--after-cursor=*) n=${*##*--after-cursor=}; tail -n "+$((${n%% *} + 1))" "$TOP/journal" ;;
*) cat "$TOP/journal" ;;
esac
"""
PROGRAMS = {
    "systemctl": SYSTEMCTL,
    "journalctl": JOURNALCTL,
    "curl": '#!/bin/sh\n[ -e "$TOP/serving" ]\n',
    "chown": "#!/bin/sh\n",
    # The clock of a script that waits goes on by itself.
    "sleep": "#!/bin/sh\n",
    "date": """#!/bin/sh
[ "$*" = +%s ] || exec /bin/date "$@"
n=$(cat "$TOP/clock" 2>/dev/null || echo 0)
echo $((n + 20)) | tee "$TOP/clock"
""",
}
GOOD = "good, and a header of some length\nrecord\n"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("bin", "ca/db", "ca/certs", "copies"):
        (tmp_path / name).mkdir(parents=True)
    for name, program in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(program)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "journal").write_text("")
    return tmp_path


def run(top: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", program.replace("/run/lock/phoenix-step-ca", f"{top}/lock"), "x", *words],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": f"{top / 'bin'}:{os.environ['PATH']}", "TOP": str(top)},
    )  # fmt: skip


def repair(top: Path) -> subprocess.CompletedProcess[str]:
    program = text(DATABASE, "components/step_ca/repair.sh")
    return run(top, program, str(top / "ca"), "step-ca.service", "9000", str(top / "copies"))


def database(top: Path) -> Path:
    return top / "ca/db/000000.vlog"


def torn_files(top: Path) -> list[str]:
    return [file.read_text() for file in sorted(top.glob("copies/torn-*/000000.vlog"))]


def copy(top: Path, name: str, content: str) -> None:
    (top / "copies" / name).mkdir()
    (top / "copies" / name / "000000.vlog").write_text(content)


def test_a_torn_end_is_cut_off_and_the_whole_is_kept(top: Path) -> None:
    database(top).write_text(f"{GOOD}half a rec")
    copy(top, "20260101T000000Z", f"{GOOD}older\n")
    done = repair(top)
    assert done.returncode == 0, done
    assert "the same without its last 10 bytes" in done.stdout
    assert database(top).read_text() == GOOD
    assert torn_files(top) == [f"{GOOD}half a rec"]
    assert (top / "serving").exists()


@pytest.mark.parametrize("content", ["garbage", "", None])
def test_the_newest_copy_that_opens_takes_its_place(top: Path, content: str | None) -> None:
    if content is None:
        (top / "ca/db").rmdir()
    else:
        database(top).write_text(content)
    copy(top, "20260101T000000Z", f"{GOOD}oldest\n")
    copy(top, "20260102T000000Z", f"{GOOD}older\n")
    copy(top, "20260103T000000Z", "torn as well")
    done = repair(top)
    assert done.returncode == 0, done
    assert "/copies/20260102T000000Z" in done.stdout
    assert database(top).read_text() == f"{GOOD}older\n"
    assert torn_files(top) == ([] if content is None else [content])
    assert len(list(top.glob("copies/2026*"))) == 3, "copies stay"


def test_without_a_copy_an_empty_one_is_made(top: Path) -> None:
    database(top).write_text("garbage")
    done = repair(top)
    assert done.returncode == 0, done
    assert "an empty one: clients register anew" in done.stdout
    assert torn_files(top) == ["garbage"]
    assert (top / "serving").exists()


def test_a_database_that_opens_after_all_is_left_alone(top: Path) -> None:
    database(top).write_text(GOOD)
    (top / "journal").write_text("Error opening database of Type badgerv2: once\n")
    done = repair(top)
    assert (done.returncode, torn_files(top)) == (0, [])
    assert "the CA opens its database" in done.stdout
    assert database(top).read_text() == GOOD


def test_a_ca_that_is_dead_for_another_reason_keeps_its_database(top: Path) -> None:
    database(top).write_text("garbage, but nobody read it")
    (top / "dead").write_text("")
    assert repair(top).returncode == 0
    assert database(top).read_text() == "garbage, but nobody read it"
    assert torn_files(top) == []


def test_where_nothing_opens_the_old_one_is_put_back(top: Path) -> None:
    database(top).write_text("garbage")
    (top / "none_opens").write_text("")
    done = repair(top)
    assert done.returncode == 5, done
    assert "THE CA OPENS NO DATABASE" in done.stderr
    assert database(top).read_text() == "garbage"


def test_an_interrupted_repair_is_begun_again(top: Path) -> None:
    (top / "ca/db").rmdir()
    (top / "ca/db.new").mkdir()
    (top / "ca/db.new/000000.vlog").write_text("half copied")
    copy(top, "20260101T000000Z", GOOD)
    assert repair(top).returncode == 0
    assert database(top).read_text() == GOOD
    assert not (top / "ca/db.new").exists()


def stand_in(top: Path, name: str, body: str) -> None:
    (top / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
    (top / "bin" / name).chmod(0o755)


def test_a_disk_that_fills_up_puts_no_half_database_in_place(top: Path) -> None:
    """Half a copy opened, or an empty one after it, as if that were all that the CA knew."""
    database(top).write_text("garbage")
    copy(top, "20260101T000000Z", f"{GOOD}older\n")
    stand_in(
        top, "cp",
        'case $* in *db.new) mkdir -p "$3"; echo good >"$3/000000.vlog"; '
        'echo "cp: No space left on device" >&2; exit 1 ;; esac\nexec /bin/cp "$@"',
    )  # fmt: skip
    done = repair(top)
    assert done.returncode == 6, done
    assert "No space left on device" in done.stderr
    assert database(top).read_text() == "garbage"
    assert not (top / "ca/db.new").exists()
    (top / "bin/cp").unlink()
    assert repair(top).returncode == 0
    assert database(top).read_text() == f"{GOOD}older\n"


def test_a_kill_while_the_old_one_is_removed_loses_nothing(top: Path) -> None:
    """What was left of it opened as an empty database, and no copy was looked at."""
    database(top).write_text("garbage")
    copy(top, "20260101T000000Z", f"{GOOD}older\n")
    stand_in(
        top, "rm",
        'case $* in *"/ca/db"|*"/ca/db.old") [ -d "$2" ] && /bin/rm "$2/000000.vlog" && '
        'kill -9 "$PPID" && exit ;; esac\nexec /bin/rm "$@"',
    )  # fmt: skip
    assert repair(top).returncode == -9
    (top / "bin/rm").unlink()
    assert repair(top).returncode == 0
    assert database(top).read_text() == f"{GOOD}older\n"
    assert not (top / "ca/db.old").exists()


def test_a_kill_between_the_two_renames_loses_nothing(top: Path) -> None:
    database(top).write_text(f"{GOOD}half a rec")
    stand_in(top, "mv", 'case $* in *"db.new "*) kill -9 "$PPID"; exit ;; esac\nexec /bin/mv "$@"')
    assert repair(top).returncode == -9
    (top / "bin/mv").unlink()
    assert repair(top).returncode == 0
    assert database(top).read_text() == GOOD


def test_three_torn_databases_are_kept(top: Path) -> None:
    for day in range(1, 5):
        copy(top, f"torn-2026010{day}T000000Z", str(day))
    database(top).write_text("garbage")
    assert repair(top).returncode == 0
    assert torn_files(top) == ["3", "4", "garbage"]


def backup(top: Path, when: str) -> subprocess.CompletedProcess[str]:
    program = render(
        "components/step_ca/backup.sh.j2",
        unit="step-ca.service", directory=str(top / "ca"), to=str(top / "copies"), when=when,
    )  # fmt: skip
    return run(top, program)


def test_a_running_ca_is_copied_where_its_database_has_changed(top: Path) -> None:
    database(top).write_text(GOOD)
    assert backup(top, "idle").returncode == 0
    assert list((top / "copies").glob("[!.]*")) == [], "it does not run: its files may be torn"
    (top / "serving").write_text("")
    assert backup(top, "idle").returncode == 0
    (first,) = (top / "copies").glob("[!.]*")
    assert (first / "000000.vlog").read_text() == GOOD
    first.rename(top / "copies/20260101T000000Z")
    assert backup(top, "idle").returncode == 0
    assert len(list((top / "copies").glob("[!.]*"))) == 1, "nothing was written since"
    with database(top).open("a") as file:
        file.write("more\n")
    assert backup(top, "idle").returncode == 0
    assert sorted(len(log.read_text()) for log in top.glob("copies/*/000000.vlog")) == [41, 46]
    assert "stop" not in (top / "systemctl.log").read_text()


def test_the_timer_and_a_change_copy_one_after_the_other(top: Path) -> None:
    """Both fill the same folder: the second took it away from the first, and a sync failed."""
    database(top).write_text(GOOD)
    (top / "serving").write_text("")
    change = render(
        "components/step_ca/backup.sh.j2",
        unit="step-ca.service", directory=str(top / "ca"), to=str(top / "copies"), when="stopped",
    )  # fmt: skip
    (top / "change.sh").write_text(change)
    (top / "bin/cp").write_text(
        "#!/bin/sh\n"
        '/bin/cp "$@" || exit 1\n'
        'mkdir "$TOP/begun" 2>/dev/null || exit 0\n'
        '{ sh "$TOP/change.sh" >"$TOP/change.log" 2>&1 && touch "$TOP/changed"; } 9>&- &\n'
        "/bin/sleep 0.5\n"
    )
    (top / "bin/cp").chmod(0o755)
    done = backup(top, "idle")
    assert done.returncode == 0, done.stdout + done.stderr
    deadline = 100
    while not (top / "changed").exists() and deadline:
        deadline -= 1
        time.sleep(0.1)
    assert (top / "changed").exists(), (top / "change.log").read_text()
    copies = sorted((top / "copies").glob("2*"))
    assert [(folder / "000000.vlog").read_text() for folder in copies] == [GOOD, GOOD]


def test_a_database_that_is_always_written_gives_no_copy(top: Path) -> None:
    database(top).write_text(GOOD)
    (top / "serving").write_text("")
    (top / "bin/sleep").write_text('#!/bin/sh\necho more >>"$TOP/ca/db/000000.vlog"\n')
    done = backup(top, "idle")
    assert done.returncode == 1
    assert "no copy" in done.stdout
    assert list((top / "copies").glob("[!.]*")) == []


@pytest.mark.parametrize("when", ["idle", "stopped"])
def test_a_disk_that_is_full_is_told_and_keeps_no_half_copy(top: Path, when: str) -> None:
    """It was told as a database that is always being written."""
    database(top).write_text(GOOD)
    (top / "serving").write_text("")
    (top / "bin/sleep").write_text("#!/bin/sh\n")
    full = "for to; do :; done; mkdir -p $to; echo 'cp: No space left on device' >&2; exit 1"
    (top / "bin/cp").write_text(f"#!/bin/sh\n{full}\n")
    (top / "bin/cp").chmod(0o755)
    done = backup(top, when)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "always being written" not in done.stdout
    assert not (top / "copies/.part").exists()


def test_eight_copies_are_kept_and_torn_ones_beside_them(top: Path) -> None:
    for day in range(10, 20):
        copy(top, f"202601{day}T000000Z", str(day))
    copy(top, "torn-20260101T000000Z", "torn")
    database(top).write_text(GOOD)
    (top / "serving").write_text("")
    assert backup(top, "stopped").returncode == 0
    names = sorted(path.name for path in (top / "copies").glob("[!.]*"))
    assert len(names) == 9, names
    assert names[0] == "20260113T000000Z"
    assert names[-1] == "torn-20260101T000000Z"
    assert not (top / "serving").exists(), "it is stopped for the copy"
