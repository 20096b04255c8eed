"""What docker-compose.yml's Redis lets each role do. That they can work with it, every test with workers shows."""

import hashlib
import subprocess
import threading

import pytest
import redis
from celery.contrib.testing.worker import start_worker

from artifacts import settings
from serving.queue import TRAIN, celery_app
from tests.real import ROOT

ROLES = ("api", "worker", "trainer")
OF_NOBODY = ["CONFIG GET *", "FLUSHALL", "KEYS *", "ACL LIST", "MONITOR", "SHUTDOWN", "SAVE", "DEBUG SLEEP 0",
             "SUBSCRIBE a", "CLIENT LIST", "MODULE LIST", "REPLICAOF a 1", "SCRIPT FLUSH", "GET mine", "SET mine 1",
             "RANDOMKEY"]  # fmt: skip
OF_OTHERS = {
    "health": ["GET tintype:workers", "LPUSH tintype:celery:batch 1", "EVAL return(1) 0"],
    "api": ["XREADGROUP GROUP g c STREAMS tintype:online >", "RPUSH tintype:replies:1 1", "ZADD tintype:workers 1 a",
            "SET tintype:worker:a 1", "BRPOP tintype:celery:batch 1", "HGET tintype:celery:unacked a",
            "EVAL return(redis.call('RPUSH',KEYS[1],'1')) 1 tintype:replies:1"],
    "worker": ["XADD tintype:online * a 1", "LPOP tintype:replies:1", "BLPOP tintype:replies:1 1",
               "EVAL return(redis.call('XADD',KEYS[1],'*','a','1')) 1 tintype:online"],
    "trainer": ["XLEN tintype:online", "XADD tintype:online * a 1", "XREADGROUP GROUP g c STREAMS tintype:online >",
                "LPOP tintype:replies:1", "RPUSH tintype:replies:1 1", "GET tintype:online:pictures",
                "ZADD tintype:workers 1 a", "EVAL return(redis.call('GET',KEYS[1])) 1 tintype:online:pictures"],
}  # fmt: skip


def client(server, role):
    if role == "health":
        return redis.Redis(port=server.port, username="health")
    return redis.Redis.from_url(server.url_of(role))


@pytest.mark.parametrize(("role", "line"), [(role, line) for role, lines in OF_OTHERS.items() for line in lines])
def test_a_role_is_refused_what_is_another_ones(redis_server, role, line):
    with (
        client(redis_server, role) as asking,
        pytest.raises(redis.ResponseError, match=r"NOPERM|[Nn]o permission|can't"),
    ):
        asking.execute_command(*line.split(" "))
    assert {user for user, _ in redis_server.refusals()} == {role}


@pytest.mark.parametrize("role", ["health", *ROLES])
def test_no_role_may_look_around_or_change_the_server(redis_server, role):
    with client(redis_server, role) as asking:
        assert asking.ping()
        for line in OF_NOBODY:
            with pytest.raises(redis.exceptions.NoPermissionError):
                asking.execute_command(*line.split(" "))
    redis_server.refusals()


def test_nobody_comes_in_without_a_password_or_with_that_of_another(redis_server, tmp_path):
    made = (redis_server.secrets / "redis_users").read_text().splitlines()
    assert made[0].startswith("user default off ")
    assert [line.split()[1] for line in made] == ["default", "health", *ROLES]
    for role in ROLES:
        of_another = (redis_server.secrets / f"redis_{ROLES[ROLES.index(role) - 1]}").read_text()
        for password in (None, "", of_another):
            asking = redis.Redis(port=redis_server.port, username=role, password=password, retry=None)
            with asking, pytest.raises(redis.AuthenticationError):
                asking.ping()
    redis_server.refusals()


def test_secrets_are_made_once_at_random_for_their_owner_alone_and_redis_gets_digests(tmp_path):
    def make(name):
        subprocess.run([ROOT / "deploy" / "secrets.sh", tmp_path / name], check=True, stdout=subprocess.DEVNULL)
        return {path.name: path.read_text() for path in (tmp_path / name).iterdir()}

    first, again, other = make("secrets"), make("secrets"), make("other")
    assert first == again
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert first["metrics_key"] == ""  # until somebody makes one
    passwords = {name: text for name, text in first.items() if name not in ("redis_users", "metrics_key")}
    assert passwords.keys() == {"grafana_admin", *(f"redis_{role}" for role in ROLES)}
    assert len(set(passwords.values()) | {other[name] for name in passwords}) == 2 * len(passwords)
    assert min(map(len, passwords.values())) == 64
    for role in ROLES:
        assert passwords[f"redis_{role}"] not in first["redis_users"]
        assert (
            f"user {role} on #{hashlib.sha256(passwords[f'redis_{role}'].encode()).hexdigest()} "
            in first["redis_users"]
        )


def test_the_configuration_loses_at_most_a_second_and_evicts_nothing(redis_server):
    with redis_server.client() as asking:
        told = asking.config_get()
    assert (told["appendonly"], told["appendfsync"], told["save"]) == ("yes", "everysec", "")
    assert told["maxmemory-policy"] == "noeviction"
    assert int(told["maxmemory"]) == 512 * 2**20


def test_a_trainer_takes_what_the_api_leaves_for_it(redis_server):
    def app(role):
        return celery_app(settings.read({"TINTYPE_REDIS_URL": redis_server.url_of(role)}))

    taken, done = [], threading.Event()
    trainer = app("trainer")
    trainer.conf.worker_hijack_root_logger = False

    def train(number):
        taken.append(number)
        done.set()

    trainer.task(train, name="tests.train", shared=False)
    with start_worker(
        trainer, pool="solo", queues=[TRAIN], perform_ping_check=False, shutdown_timeout=30, loglevel="ERROR"
    ):
        app("api").send_task("tests.train", (7,), queue=TRAIN, ignore_result=True)
        assert done.wait(30)
    assert taken == [7]
    assert redis_server.refusals() == []
