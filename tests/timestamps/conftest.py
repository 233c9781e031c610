"""Two authorities of the local kind, shared by the module, and a log that is sealed on demand."""

import threading
from contextlib import contextmanager
from shutil import copyfile

import pytest

from keyvault.settings import AuthoritySettings
from keyvault.timestamps.local import LocalAuthority, create
from tests.witness.sealed import opened


@contextmanager
def authority(folder, name):
    ca = create(folder, name)
    server = LocalAuthority(("127.0.0.1", 0), folder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield AuthoritySettings(name=name, url=url, ca=ca, timeout=5)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    with authority(tmp_path_factory.mktemp("t") / "first", "first") as made:
        yield made


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    with authority(tmp_path_factory.mktemp("t") / "second", "second") as made:
        yield made


@pytest.fixture
def log(tmp_path, sqlite_template):
    path = tmp_path / "log.db"
    copyfile(sqlite_template, path)
    with opened(f"sqlite:///{path}") as made:
        yield made
