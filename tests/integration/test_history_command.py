"""The command fs-sync-history where no Airflow answers: one line that says what to mend."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fs_sync import cli
from lab.processes import free_port


class Other(BaseHTTPRequestHandler):
    """A server of something else: it knows no login, and answers every question with a page."""

    status, body = 200, b"<html>welcome</html>"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def other() -> Iterator[str]:
    """The address of a server that is no Airflow."""
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main(argv) == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_nobody_answers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.PASSWORD, "secret")
    said = told(capsys, "--url", f"http://127.0.0.1:{free_port()}")
    assert "can't be reached" in said
    assert "check --url" in said


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "http://[::1", "http://127.0.0.1:port", "http://"])
def test_no_address(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(cli.PASSWORD, "secret")
    assert "--url" in told(capsys, "--url", url)


def test_something_else_answers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.setenv(cli.PASSWORD, "secret")
    assert "gives no token for a password (404)" in told(capsys, "--url", other)
    monkeypatch.setenv(cli.TOKEN, "token")
    assert "not as Airflow 3.3 does: <html>welcome</html>" in told(capsys, "--url", other)
    for answer in ({}, {"assets": 7}, {"assets": [7], "total_entries": 1}, [], None):
        monkeypatch.setattr(Other, "body", json.dumps(answer).encode())
        assert "Airflow 3.3 does; check --url" in told(capsys, "--url", other).replace(": [];", ";").replace(": null;", ";")
    for status in (403, 500):
        monkeypatch.setattr(Other, "status", status)
        assert f"{status}" in told(capsys, "--url", other)


@pytest.mark.parametrize("token", ["tökén", "a\nb"])
def test_what_is_no_token(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, other: str, token: str) -> None:
    monkeypatch.setenv(cli.TOKEN, token)
    assert f"what stands in {cli.TOKEN} is no token" in told(capsys, "--url", other)


@pytest.mark.parametrize("last", ["0", "-1", "x", "61", "1.5", "٣"])
def test_a_wrong_number_of_runs(capsys: pytest.CaptureFixture[str], last: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--last", last])
    assert ended.value.code == 2
    assert "whole number from 1 to 60" in capsys.readouterr().err
