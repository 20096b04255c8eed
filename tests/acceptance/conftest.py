"""What the tests under fault share: a model in production, pictures whose answers are known, a deployment."""

import subprocess
from contextlib import ExitStack

import pytest

from tests import load
from tests.deployment import Deployment, undelayed_redis
from tests.hosts import three_hosts
from tests.real import Home

PICTURES = 300


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A home with digits@1 in production."""
    home = Home(tmp_path_factory.mktemp("digits"))
    home.json("train", "digits", "--preset", "digits", "--epochs", "6")
    home.json("export", "latest", "--precision", "fp32")
    home.json("deploy", "digits")
    return home


@pytest.fixture(scope="session")
def known(digits):
    """Pictures, each with an answer that no other has."""
    return load.samples(digits.path / "models" / "digits" / "1", PICTURES)


@pytest.fixture
def deploy(digits, tmp_path):
    """Make a deployment with a Redis of its own; all of it is ended afterwards."""
    made = []

    def deployment(**settings):
        redis = undelayed_redis(tmp_path / f"redis-{len(made)}").start()
        made.append(Deployment(digits, redis, tmp_path, **settings))
        return made[-1]

    yield deployment
    for each in made:
        each.end()
        each.redis.stop()


@pytest.fixture
def tell(capsys):
    """Print a figure, whatever pytest does with the output."""

    def told(sentence):
        with capsys.disabled():
            print(f"\n{sentence}", end="", flush=True)  # noqa: T201

    return told


@pytest.fixture
def hosts():
    """Three names of hosts, as `three_hosts` joins them."""
    with ExitStack() as stack:
        try:
            names = stack.enter_context(three_hosts())
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces are not allowed here: {getattr(error, 'stderr', None) or error}")
        yield names
