"""SSH keys as text: host keys of any form a Connection may hold, private keys of any form made plain OpenSSH."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fs_sync.errors import ConfigError

HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
MAY_FOLLOW = "ssh-ed25519 AAAA…"


def host_keys(text: object, what: str) -> tuple[str, ...]:
    """
    Given the `host_key` of a Connection, return its keys as "type base64". Raise ConfigError if one can't be read.

    A line may be "type base64", a known_hosts line with the host before it, or the bare base64; `what` names the place.
    """
    if text is None or text == "":
        return ()
    if isinstance(text, list | tuple):
        lines: Sequence[object] = text
    else:
        lines = str(text).replace("\\n", "\n").splitlines()
    found = [_host_key(str(line), what) for line in lines if str(line).strip() and not str(line).lstrip().startswith("#")]
    return tuple(dict.fromkeys(found))


def fingerprint(key: str) -> str:
    """The SHA256 fingerprint of a "type base64" key, as ssh prints it."""
    blob = base64.b64decode(key.split()[-1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def key_type(key: str) -> str:
    """The type of a "type base64" key."""
    return key.split()[0]


def own_fingerprint(key: str) -> str:
    """The command that shows the fingerprint of such a key on the server itself."""
    kind = next(name for name in ("ed25519", "ecdsa", "rsa") if name in key_type(key))
    return f"ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub"


def ready_to_paste(key: str) -> str:
    """What to add to a Connection's extra for this key."""
    return f'{{"host_key": "{key}"}}'


def private_key(text: str, passphrase: str | None, what: str) -> str:
    """
    Given a private key in any usual form, return it as OpenSSH text without a passphrase, which ssh-add reads from a pipe.

    Raise ConfigError, which never holds a part of the key, if it can't be read; `what` names the place.
    """
    plain = _lines(text)
    _refuse_other_forms(plain, what)
    password = passphrase.encode() if passphrase else None
    load = serialization.load_ssh_private_key if "BEGIN OPENSSH PRIVATE KEY" in plain else serialization.load_pem_private_key
    try:
        try:
            key = load(plain.encode(), password)
        except TypeError:
            if password is None:
                raise ConfigError(f"{what} has a passphrase; add it to the extra as `private_key_passphrase`") from None
            key = load(plain.encode(), None)  # a passphrase that the key doesn't need is no fault
    except (ValueError, UnsupportedAlgorithm):
        wrong = "or `private_key_passphrase` is wrong; " if password else ""
        raise ConfigError(f"{what} can't be read; {wrong}it must be a whole private key, RSA, ECDSA or Ed25519, PEM or OpenSSH") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{what} is of a kind that ssh no longer takes; use an Ed25519, ECDSA or RSA key")
    if load is serialization.load_ssh_private_key and _is_plain(plain):
        return plain  # written anew it would not be the same text: a part of it is random
    try:
        encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    except ValueError:
        raise ConfigError(f"{what} is on a curve that ssh does not know; use nistp256, nistp384 or nistp521") from None
    return encoded.decode()


def public_key(private: str) -> str:
    """Given a private key as `private_key` returns it, return its public one as "type base64"."""
    key = serialization.load_ssh_private_key(private.encode(), None)
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _host_key(line: str, what: str) -> str:
    words = line.split()
    if words[0].startswith("@"):
        raise ConfigError(f"{what}: the marker {words[0]!r} is not taken; give the server's own key as {MAY_FOLLOW!r}")
    for place, word in enumerate(words):
        if word in HOST_KEY_TYPES:
            if place + 1 == len(words):
                raise ConfigError(f"{what}: {word!r} has no key after it; the form is {MAY_FOLLOW!r}")
            encoded = words[place + 1]
            if _blob_type(encoded) != word:
                raise ConfigError(f"{what}: {encoded[:20]!r}… is not a whole {word} key; the form is {MAY_FOLLOW!r}")
            return f"{word} {encoded}"
    inside = _blob_type(words[0]) if len(words) == 1 else None
    if inside in HOST_KEY_TYPES:
        return f"{inside} {words[0]}"
    shown = line.strip()[:40]
    raise ConfigError(f"{what}: {shown!r} is not a host key; the form is {MAY_FOLLOW!r}, of type {', '.join(HOST_KEY_TYPES)}")


def _blob_type(encoded: str) -> str | None:
    """The type written inside a key, or None if it is no key; the last field must end where the key ends."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    fields = []
    at = 0
    while at + 4 <= len(blob):
        size = int.from_bytes(blob[at : at + 4], "big")
        fields.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(blob) or len(fields) < 2:
        return None
    return fields[0].decode("ascii", "replace")


def _is_plain(openssh: str) -> bool:
    """Whether a whole OpenSSH key has no passphrase: its cipher, the first field, is none."""
    blob = base64.b64decode("".join(openssh.split("-----")[2].split()))
    return blob.startswith(b"openssh-key-v1\0\0\0\0\4none")


def _lines(text: str) -> str:
    plain = text.strip().replace("\r\n", "\n").replace("\r", "\n")
    if "\n" not in plain:
        plain = plain.replace("\\n", "\n")  # a key pasted into JSON with its line ends escaped twice
    return "\n".join(line.strip() for line in plain.split("\n")) + "\n"


def _refuse_other_forms(plain: str, what: str) -> None:
    if plain.startswith("PuTTY-User-Key-File"):
        raise ConfigError(f"{what} is a PuTTY key; convert it with `puttygen key.ppk -O private-openssh -o key`")
    if re.match(r"(ssh|ecdsa|sk)-\S+ AAAA", plain):
        raise ConfigError(f"{what} is a public key; the private one is wanted")
    if "PRIVATE KEY-----" not in plain:
        raise ConfigError(f"{what} is not a private key; it begins with `-----BEGIN … PRIVATE KEY-----` on a line of its own")
