"""A real home folder: digits trained, exported and deployed once for all tests of this tier."""

import pytest

import tintype
from artifacts.pictures import Pictures
from artifacts.run import find
from tests.real import Home, serving


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """digits@1 in production; tests may add models and jobs to it, and leave digits as it is."""
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINTYPE_HOME", str(path))
        assert tintype.main(["train", "digits", "--preset", "digits", "--epochs", "6"]) == 0
        assert tintype.main(["export", "latest"]) == 0
        assert tintype.main(["deploy", "digits"]) == 0
    return Home(path)


@pytest.fixture(scope="session")
def pictures(home):
    """Held-out digits, encoded."""
    return Pictures.load(find(home.path / "runs", "latest").pictures_file)


@pytest.fixture(scope="session")
def server(home):
    """A client of a server that all tests of this tier share."""
    with serving(home) as (_, client):
        yield client
