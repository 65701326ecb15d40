"""Host keys and private keys in all the forms that people paste."""

import base64
import subprocess

import pytest

from fs_sync import keys
from fs_sync.errors import ConfigError

WHAT = "connection 'x', `host_key`"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function that makes a key with ssh-keygen and returns its file."""
    directory = tmp_path_factory.mktemp("keys")

    def make(kind, *options, passphrase=""):
        path = directory / f"key-{len(list(directory.iterdir()))}"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "me@here", "-f", path, *options], check=True)
        return path

    return make


@pytest.fixture(scope="module")
def public(made):
    return " ".join(made("ed25519").with_suffix(".pub").read_text().split()[:2])


def public_of(text, tmp_path):
    path = tmp_path / "plain"
    path.write_text(text)
    path.chmod(0o600)
    found = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", path], capture_output=True, text=True, check=True)
    return found.stdout.split()[:2]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_key_is_taken_in_every_form(made, kind):
    path = made(kind)
    key, comment = path.with_suffix(".pub").read_text().strip().rsplit(" ", 1)
    for text in (key, f" {key} {comment}\n", f"host.example {key}", f"[127.0.0.1]:2222 {key} {comment}\r\n", key.split()[1], [key]):
        assert keys.host_keys(text, WHAT) == (key,), text
    printed = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True).stdout.split()[1]
    assert keys.fingerprint(key) == printed
    assert key in keys.ready_to_paste(key)


def test_several_host_keys_are_all_taken_once(made, public):
    other = " ".join(made("ecdsa").with_suffix(".pub").read_text().split()[:2])
    assert keys.host_keys(f"# ours\n{public}\nhost {other}\n{public}\n", WHAT) == (public, other)
    assert keys.host_keys(f"{public}\\n{other}", WHAT) == (public, other)
    assert keys.host_keys(None, WHAT) == keys.host_keys("", WHAT) == ()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-dss AAAAB3NzaC1kc3MAAACB",
        "@cert-authority * ssh-ed25519 AAAA",
        "SHA256:abc",
        "é",
    ],
)
def test_what_is_no_host_key_is_refused_with_the_form(text):
    with pytest.raises(ConfigError, match="ssh-ed25519 AAAA…") as caught:
        keys.host_keys(text, WHAT)
    assert WHAT in str(caught.value)


def test_a_host_key_that_was_cut_or_has_another_type_is_refused(public):
    for text in (public[:-8], public.replace("ssh-ed25519", "ssh-rsa"), "ssh-ed25519 " + base64.b64encode(b"x" * 40).decode()):
        with pytest.raises(ConfigError):
            keys.host_keys(text, WHAT)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("form", ["OPENSSH", "PEM", "PKCS8"])
@pytest.mark.parametrize("passphrase", ["", "open sesame"])
def test_a_private_key_of_any_form_becomes_plain_openssh(made, tmp_path, kind, form, passphrase):
    if kind == "ed25519" and form == "PEM":
        form = "OPENSSH"
    path = made(kind, *(("-m", form) if form != "OPENSSH" else ()), passphrase=passphrase)
    text = path.read_text()
    expected = path.with_suffix(".pub").read_text().split()[:2]
    mangled = (text, text.replace("\n", "\r\n"), text.rstrip("\n"), f"\n  {text}", text.strip().replace("\n", "\\n"))
    for number, variant in enumerate(mangled if kind == "ed25519" else mangled[:2]):
        plain = keys.private_key(variant, passphrase or None, WHAT)
        assert plain.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n"), number
        assert plain.endswith("-----END OPENSSH PRIVATE KEY-----\n")
        assert public_of(plain, tmp_path) == expected


def test_a_passphrase_that_is_missing_wrong_or_not_needed(made):
    for form in ((), ("-m", "PKCS8")):
        text = made("ecdsa", *form, passphrase="open sesame").read_text()
        with pytest.raises(ConfigError, match="has a passphrase; add it to the extra as `private_key_passphrase`"):
            keys.private_key(text, None, WHAT)
        with pytest.raises(ConfigError, match="`private_key_passphrase` is wrong"):
            keys.private_key(text, "wrong", WHAT)
        assert keys.private_key(made("ecdsa", *form).read_text(), "not needed", WHAT)


def test_what_is_no_private_key_is_refused_without_a_part_of_it(made):
    path = made("ed25519")
    text = path.read_text()
    body = text.splitlines()[2]
    cut = "\n".join([*text.splitlines()[:2], text.splitlines()[-1]])
    putty = "PuTTY-User-Key-File-3: ssh-ed25519\n" + body
    for wrong, rule in (
        (path.with_suffix(".pub").read_text(), "public key"),
        (putty, "puttygen"),
        (body, "BEGIN"),
        (cut, "whole private key"),
    ):
        with pytest.raises(ConfigError, match=rule) as caught:
            keys.private_key(wrong, None, WHAT)
        assert body[:20] not in str(caught.value)
