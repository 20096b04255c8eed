"""What docker-compose.yml and the Dockerfile promise. tests/acceptance/compose.sh sees them run."""

import json
import re
import tomllib

import pytest
import yaml

from artifacts import settings
from serving.jobs.decoders import ALONE_SECONDS, BUNCH_SECONDS
from serving.jobs.models import CHUNK_SECONDS
from serving.queue import QUEUES
from serving.server import GRACE_SECONDS
from tests.real import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", TEXT))  # as it stands where nothing is set
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("tintype/")]
WORKERS = ["worker", "worker-gpu", "worker-tf-serving"]
TRAINERS = ["trainer", "trainer-gpu"]
KEYS = "/var/lib/tintype-keys"
TARGETS = ["serve", "trainer", "worker-gpu", "trainer-gpu"]
UNITS = {"s": 1, "m": 60, "h": 3600}

every_service = pytest.mark.parametrize("name", SERVICES)
every_role = pytest.mark.parametrize("name", ["api", *WORKERS, *TRAINERS])


def seconds(text):
    return int(text[:-1]) * UNITS[text[-1]]


def stage(target):
    """The lines of a stage of the Dockerfile."""
    return re.search(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)[1].splitlines()


@every_service
def test_no_service_is_root_writes_to_its_root_or_gains_rights(name):
    service = SERVICES[name]
    user = service.get("user") or next(line.split()[1] for line in stage(name) if line.startswith("USER"))
    assert re.fullmatch("[1-9][0-9]*:[0-9]+", user)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name == "prometheus" or any(each.partition(":")[0] == "/tmp" for each in service["tmpfs"])  # noqa: S108
    assert "docker.sock" not in str(service["volumes"])


@every_service
def test_every_service_has_limits_a_healthcheck_without_curl_and_comes_back(name):
    service = SERVICES[name]
    assert re.fullmatch("[0-9]+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    if name == "keys":  # a command, not a service
        return
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "curl" not in str(service["healthcheck"]["test"])
    assert seconds(service["healthcheck"]["start_period"]) >= 30


@every_service
def test_only_the_api_and_grafana_are_published_and_on_loopback(name):
    ports = SERVICES[name].get("ports", [])
    assert ports == {"api": ["127.0.0.1:8000:8000"], "grafana": ["127.0.0.1:3000:3000"]}.get(name, [])
    if name in ("redis", "tf-serving"):
        assert SERVICES[name]["networks"] == ["backend"]
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    assert SERVICES[name].get("network_mode") in (None, "none")


@every_role
def test_what_a_role_is_told_to_do_it_may_finish(name):
    service = SERVICES[name]
    assert service["init"] is True  # signals reach the one process that it starts
    assert isinstance(service["command"], list)
    grace = seconds(service["stop_grace_period"])
    read = settings.read({})
    if name == "api":
        assert grace > (read.deadline_ms + read.drain_ms) / 1000 + 2 * GRACE_SECONDS
    else:
        assert grace > max(CHUNK_SECONDS, BUNCH_SECONDS + ALONE_SECONDS)


@every_role
def test_a_role_meets_the_others_with_its_own_password_from_a_file(name):
    service = SERVICES[name]
    role = "worker" if name in WORKERS else "trainer" if name in TRAINERS else "api"
    environment = service["environment"]
    assert environment["TINTYPE_REDIS_URL"] == f"redis://{role}@redis:6379/0"
    assert environment["TINTYPE_REDIS_PASSWORD_FILE"] == f"/run/secrets/redis_{role}"
    assert f"redis_{role}" in service["secrets"]
    assert not {"redis_api", "redis_worker", "redis_trainer"} - {f"redis_{role}"} & set(service["secrets"])
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}


@every_role
def test_every_setting_that_a_role_is_given_is_one(name):
    given = {key.removeprefix(settings.PREFIX) for key in SERVICES[name]["environment"] if key.startswith("TINTYPE_")}
    given |= set(re.findall(r"\bTINTYPE_(\w+)=", DOCKERFILE))
    assert given <= settings.SETTINGS.keys()


@every_role
def test_a_role_keeps_what_must_last_on_volumes_and_never_writes_to_the_pictures(name):
    mounts = {each.split(":")[1]: each.split(":") for each in SERVICES[name]["volumes"]}
    home = "/var/lib/tintype"
    writes = {
        "api": {"models", "jobs", "trainings"}, "trainer": {"models", "runs", "trainings", "cache"}, "worker": {"jobs"},
    }[name.split("-")[0]]  # fmt: skip
    assert {mount[0] for mount in mounts.values() if mount[2:] == []} == writes
    assert mounts["/pictures"] == ["./pictures", "/pictures", "ro"]
    for volume in {"models", *writes}:
        assert mounts[f"{home}/{volume}"][0] == volume
        assert volume in COMPOSE["volumes"]
    tmpfs = next(each for each in SERVICES[name]["tmpfs"] if each.startswith(home))
    assert "uid=10001" in tmpfs


def test_secrets_are_files_that_make_secrets_makes_and_stand_in_no_environment():
    made = set(re.findall(r"\b(redis_\w+|\w+_admin|metrics_key)\b", (ROOT / "deploy" / "secrets.sh").read_text()))
    assert COMPOSE["secrets"].keys() == made
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|TOKEN|KEY", key) or str(value).startswith(("/run/secrets/", KEYS)), (
                key
            )
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "!secrets" not in (ROOT / ".dockerignore").read_text()


def test_the_api_asks_for_the_keys_that_only_the_command_for_them_writes():
    made, asked = SERVICES["keys"], SERVICES["api"]
    assert made["entrypoint"] == ["tintype", "keys"]
    assert made["network_mode"] == "none"
    assert f"keys:{KEYS}" in made["volumes"]
    assert f"keys:{KEYS}:ro" in asked["volumes"]
    assert made["environment"]["TINTYPE_KEYS"] == asked["environment"]["TINTYPE_KEYS"] == f"{KEYS}/keys.json"
    assert [name for name, service in SERVICES.items() if KEYS in str(service["volumes"])] == ["api", "keys"]
    assert "0.0.0.0" in asked["command"]  # where keys are asked for  # noqa: S104
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped["authorization"] == {"credentials_file": "/run/secrets/metrics_key"}
    assert SERVICES["prometheus"]["secrets"] == ["metrics_key"]


def test_every_queue_has_a_service_that_reads_it():
    read = [part for name in OURS for part in SERVICES[name].get("command", [])]
    assert set(QUEUES) <= set(",".join(map(str, read)).split(","))


def test_profiles_stay_off_unless_asked_for():
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert [name for name, of in profiles.items() if of is None] == ["redis", "api", "worker", "trainer"]
    for name in ("worker-gpu", "trainer-gpu"):
        (device,) = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_tensorflow_serving_has_the_store_where_its_file_says_and_the_version_of_its_messages():
    served = SERVICES["tf-serving"]
    (volume,) = served["volumes"]
    assert volume == "models:/var/lib/tintype/models:ro"
    assert "--model_config_file=/var/lib/tintype/models/tf_serving.config" in served["command"]
    assert any(each.startswith("--model_config_file_poll_wait_seconds=") for each in served["command"])
    pinned = re.search(r"^tensorflow-serving-api==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert served["image"] == f"tensorflow/serving:{pinned}"
    environment = SERVICES["worker-tf-serving"]["environment"]
    assert (environment["TINTYPE_RUNTIME"], environment["TINTYPE_TF_SERVING"]) == ("tf_serving", "tf-serving:8500")


def test_grafana_finds_its_source_and_the_dashboard_where_they_are_mounted():
    mounts = [each.split(":") for each in SERVICES["grafana"]["volumes"]]
    for mount in mounts:
        if mount[0].startswith("."):
            assert (ROOT / mount[0]).exists()
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/tintype.yml").read_text())["providers"]
    assert [f"{provider['options']['path']}/tintype.json", "ro"] in [mount[1:] for mount in mounts]
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert scraped[0]["static_configs"] == [{"targets": ["api:8000"]}]


@pytest.mark.parametrize("name", OURS)
def test_every_image_is_built_from_a_target_that_runs_as_nobody_in_exec_form(name):
    build = SERVICES[name]["build"]
    assert build["context"] == "."
    lines = stage(build["target"])
    assert "STOPSIGNAL SIGTERM" in lines
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", next(line for line in lines if line.startswith("USER")))
    assert json.loads(next(line for line in lines if line.startswith("CMD")).removeprefix("CMD "))


def test_images_install_what_the_constraints_pin_and_no_index_is_named():
    install = (ROOT / "deploy" / "install.sh").read_text()
    assert "--constraint constraints.txt" in install
    assert not re.search(r"https?://|index-url|find-links", DOCKERFILE + install)
    extras = {target: re.findall(r"\./install\.sh ([\w -]+)", "\n".join(stage(target))) for target in TARGETS}
    assert extras["serve"] == ["serve telemetry "]  # no TensorFlow
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {each for (names,) in extras.values() for each in names.split()} <= known.keys()
