"""The wheel stands alone: built and installed elsewhere, it renders the scripts from the templates inside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from fs_sync import scripts
from fs_sync.credentials import Target
from fs_sync.form import Run
from fs_sync.route import Kind, parse

REPOSITORY = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).parent / "uv"
ROUTE = {"routes": [{"name": "a", "source": {"path": "/it's here"}, "target": {"path": "/dst"}, "exclude": ["*.tmp"]}]}
TARGET = {"kind": "ssh", "conn_id": "c", "auth": "key", "host": "h", "login": "l", "host_keys": ["ssh-ed25519 AAAA"]}

# Without `site` no .pth file is read, so the repository is not on the path.
RENDER = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import fs_sync
from fs_sync import scripts, templates
from fs_sync.credentials import Target
from fs_sync.form import Run
from fs_sync.route import Kind, parse
target = json.loads(sys.argv[4])
kind = Kind("rsync", "ssh")
route = parse(sys.argv[3], {}, kind, Run(), "n")[0].route
text = scripts.render("plan", route, Target(**{**target, "host_keys": tuple(target["host_keys"])}), kind)
print(json.dumps({"package": fs_sync.__file__, "templates": str(templates.directory()), "script": text}))
"""


def run(*argv: object, cwd: Path) -> str:
    """Run a program away from the repository, and return what it prints."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "UV_", "VIRTUAL_ENV"))}
    environment = {**inherited, "UV_OFFLINE": "1", "UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(cwd / "cache")}
    done = subprocess.run([str(word) for word in argv], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory where the wheel is installed."""
    place = tmp_path_factory.mktemp("package")
    run(UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", place / "dist", REPOSITORY, cwd=place)
    (wheel,) = (place / "dist").glob("*.whl")
    run(UV, "pip", "install", "--no-deps", "--python", sys.executable, "--target", place / "installed", wheel, cwd=place)
    return place / "installed"


def test_the_wheel_has_every_module_and_every_template(installed: Path) -> None:
    package, templates = REPOSITORY / "include" / "fs_sync", REPOSITORY / "templates"
    wanted = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    wanted |= {str("templates" / path.relative_to(templates)) for path in templates.rglob("*") if path.is_file()}
    found = {str(path.relative_to(installed / "fs_sync")) for path in (installed / "fs_sync").rglob("*") if path.is_file()}
    assert {name for name in found if not name.endswith(".pyc")} == wanted


def test_the_wheel_brings_the_command(installed: Path) -> None:
    assert (installed / "bin" / "fs-sync-history").is_file()


def test_it_renders_from_its_own_templates(installed: Path, tmp_path: Path) -> None:
    site = sysconfig.get_paths()["purelib"]
    said = json.loads(run(sys.executable, "-I", "-S", "-c", RENDER, installed, site, json.dumps(ROUTE), json.dumps(TARGET), cwd=tmp_path))
    assert said["package"] == str(installed / "fs_sync" / "__init__.py")
    assert said["templates"] == str(installed / "fs_sync" / "templates")
    kind = Kind("rsync", "ssh")
    route = parse(json.dumps(ROUTE), {}, kind, Run(), "n")[0].route
    assert route is not None
    target = Target("ssh", "c", "key", host="h", login="l", host_keys=("ssh-ed25519 AAAA",))
    assert said["script"] == scripts.render("plan", route, target, kind)
