"""Servers that take alerts: a mail server with a login, and an HTTP server for webhooks; each keeps what it got."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from lab.processes import free_port


@dataclass
class Mail:
    """A mail server: its port, its only login, and the mails that it got."""

    port: int
    login: str
    password: str = field(repr=False)
    got: list[EmailMessage] = field(default_factory=list)


@dataclass
class Hook:
    """An HTTP server: its port, what it answers with, and the requests that it got (path, authorization, JSON body)."""

    port: int
    answer: int = 200
    got: list[tuple[str, str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def mail(login: str, password: str) -> Iterator[Mail]:
    """Run a mail server on loopback until the end of the block; it takes mails from its login alone."""
    made = Mail(free_port(), login, password)

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            made.got.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            return "250 taken"

    def allowed(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (login.encode(), password.encode())
        return AuthResult(success=right)

    controller = Controller(
        Handler(), hostname="127.0.0.1", port=made.port, authenticator=allowed, auth_required=True, auth_require_tls=False
    )
    controller.start()
    try:
        yield made
    finally:
        controller.stop()


@contextlib.contextmanager
def hook() -> Iterator[Hook]:
    """Run an HTTP server on loopback until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made.got.append((self.path, self.headers.get("Authorization", ""), json.loads(body)))
            self.send_response(made.answer)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Hook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Listen on a port of loopback until the end of the block, and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]
