import socket
import subprocess
import sys

import pytest

from artifacts.errors import WrongUse
from serving.errors import NoModel
from serving.healthcheck import check
from serving.lanes.redis import link
from tests.real import ROOT, free_port


@pytest.fixture
def environ(redis_server):
    """`environ(role)`: as a container of that role has it."""

    def made(role):
        address, file = f"redis://{role}@127.0.0.1:{redis_server.port}/0", redis_server.secrets / f"redis_{role}"
        return {"TINTYPE_REDIS_URL": address, "TINTYPE_REDIS_PASSWORD_FILE": str(file)}

    return made


def test_a_worker_is_healthy_while_it_gives_signs_of_life(redis_server, environ):
    with link.connect(redis_server.url_of("worker")) as client:
        with pytest.raises(NoModel, match=r"no worker of .* gave a sign of life"):
            check("worker", environ("worker"))
        link.sign(client, f"{socket.gethostname()}-0", "{}")
        check("worker", environ("worker"))
        link.sign_off(client, f"{socket.gethostname()}-0")
        with pytest.raises(NoModel):
            check("worker", environ("worker"))
    assert redis_server.refusals() == []


@pytest.mark.parametrize("role", ["api", "worker", "trainer"])
def test_redis_is_asked_with_the_password_of_the_role(redis_server, environ, role):
    check("redis", environ(role))
    wrong = {**environ(role), "TINTYPE_REDIS_URL": f"redis://nobody@127.0.0.1:{redis_server.port}/0"}
    with pytest.raises(ConnectionError, match="Redis does not answer"):
        check("redis", wrong)
    with pytest.raises(ConnectionError):
        check("redis", {"TINTYPE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})


def test_a_server_that_does_not_answer_is_not_healthy():
    with pytest.raises(OSError, match="refused"):
        check("api", {}, free_port())


def test_another_question_is_refused():
    with pytest.raises(WrongUse, match="must be of api, worker or redis; received 'model'"):
        check("model", {})


def test_as_a_command_it_ends_with_1_and_a_sentence():
    command = [sys.executable, "-m", "serving.healthcheck", "redis"]
    environment = {"PYTHONPATH": str(ROOT), "TINTYPE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("healthcheck: Redis does not answer (")
    assert "Traceback" not in done.stderr
