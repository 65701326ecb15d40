"""A server of somebody else's beside the stack: a login by password, and SFTP."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from tests.e2e.stack.compose import CHECKSUMS, HOST_IMAGE, docker

MAKE = """
    cat >/secrets/password && chmod 0400 /secrets/password
    ssh-keygen -q -t ed25519 -N '' -C '' -f /secrets/ssh_host_ed25519_key && cp /secrets/ssh_host_ed25519_key.pub /secrets/authorized_keys
    chown 1000:1000 /secrets/ssh_host_ed25519_key && cat /secrets/ssh_host_ed25519_key.pub"""
FILL = 'mkdir -p ~/outbox/deep && head -c 3000 /dev/urandom >~/outbox/deep/first && echo "it\'s" >~/outbox/"it\'s"'


@dataclass(frozen=True)
class Server:
    """The server's container: its name is its address in the network of the stack."""

    name: str
    password: str
    host_key: str

    def sh(self, script: str) -> str:
        return docker("exec", "-u", "1000", "-e", "HOME=/home/files", self.name, "sh", "-euc", script)

    def checksums(self) -> dict[str, str]:
        lines = self.sh(CHECKSUMS.format(path="~/outbox")).splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

    def remove(self) -> None:
        docker("rm", "-f", self.name, check=False)


@contextlib.contextmanager
def server(project: str) -> Iterator[Server]:
    """Run a server in the network of a copy of the stack, which need not be there yet, until the end of the block."""
    name, network = f"{project}-files", f"{project}_default"
    made = Server(name, f'it\'s #1 "$HOME" {secrets.token_hex(8)}', "")
    volume = ("-v", f"{name}:/secrets")
    labels = (f"com.docker.compose.project={project}", "com.docker.compose.network=default")
    try:
        docker("volume", "create", name)
        key = docker("run", "--rm", "-i", "-u", "0", *volume, HOST_IMAGE, "sh", "-euc", MAKE, input=f"{made.password}\n").strip()
        docker("network", "create", *(word for label in labels for word in ("--label", label)), network)
        asked = ("-u", "0", "-e", "HOST_PASSWORD_FILE=/secrets/password", "--network", network)
        docker("run", "-d", "--name", name, *asked, *volume, HOST_IMAGE)
        made.sh(FILL)
        yield Server(name, made.password, key)
    finally:
        made.remove()
        docker("volume", "rm", "-f", name, check=False)
        docker("network", "rm", "-f", network, check=False)
