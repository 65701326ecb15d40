"""The lab of the tests that drive the real scripts: one for each worker, with every kind of target."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.place import laboratory
from lab.servers import rsync_only, sftp_only
from tests.integration import driver


@pytest.fixture(scope="session")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, driver.End]]:
    """Every backend with each kind of target that it serves; a worker of xdist has a directory, and so servers, of its own."""
    base = tmp_path_factory.mktemp("lab")
    with laboratory(base) as place, sftp_only(base / "sftp") as sftp, rsync_only(base / "rsync") as rsync:
        yield driver.ends(place, sftp, rsync)


@pytest.fixture
def end(ends: dict[str, driver.End], request: pytest.FixtureRequest) -> driver.End:
    """One of the ends, named by an indirect parameter."""
    return ends[request.param]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty directory to copy from."""
    path = tmp_path / "source"
    path.mkdir()
    return path
