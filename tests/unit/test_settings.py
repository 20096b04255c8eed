import os
from pathlib import Path

import pytest

from artifacts import settings
from artifacts.errors import WrongUse


def test_the_defaults_are_those_of_the_table():
    read = settings.read({"PATH": "/bin", "HOME": "/root"})
    assert read.home == Path("var").absolute()
    assert (read.runs, read.models, read.jobs) == (read.home / "runs", read.home / "models", read.home / "jobs")
    assert (read.device, read.deadline_ms, read.max_body_mb) == ("auto", 10_000, 32)
    assert (read.max_pixels, read.max_pictures, read.queue_depth) == (40_000_000, 256, 1024)


def test_auto_is_a_process_a_core_of_those_that_are_ours_and_four_at_most(monkeypatch):
    for cores, processes in ((1, 1), (3, 3), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert settings.read({}).api_processes == processes
        assert settings.read({"TINTYPE_API_PROCESSES": "auto"}).api_processes == processes
    assert settings.read({"TINTYPE_API_PROCESSES": "9"}).api_processes == 9


def test_every_setting_can_be_set(tmp_path):
    (tmp_path / "password").write_text("secret")
    given = {"HOME": "/srv/t", "DEVICE": "cuda", "API_PROCESSES": "2", "DEADLINE_MS": "3", "MAX_BODY_MB": "4",
             "MAX_PIXELS": "5", "MAX_PICTURES": "6", "QUEUE_DEPTH": "7", "REDIS_URL": "redis://api@host:6379/1",
             "REDIS_PASSWORD_FILE": f"{tmp_path}/password",
             "RUNTIME": "saved_model", "TF_SERVING": "host:8500", "VARIANT": "fp16", "BATCH_DELAY_MS": "8",
             "ACCESS_LOG": "off", "DRAIN_MS": "9", "FOLDERS": "/srv/a:/srv/b", "KEYS": "/etc/keys.json",
             "ASK_KEYS": "always", "KEY": "tintype_secret", "RATE_LIMIT": "10", "RATE_BURST": "11",
             "CORS_ORIGINS": "https://a.example.org,http://localhost:3000", "DRIFT_SECONDS": "12", "JOB_DAYS": "30",
             "WEBHOOK_HOSTS": "hooks.example.org,intranet:9000", "WEBHOOK_SECRET": "/etc/secret"}  # fmt: skip
    assert given.keys() == settings.SETTINGS.keys()
    read = settings.read({f"TINTYPE_{name}": text for name, text in given.items()})
    for name, text in {**given, "REDIS_URL": "redis://api:secret@host:6379/1"}.items():
        assert str(getattr(read, name.lower())) == text
    assert settings.read(read.environ()) == read
    assert settings.read(settings.read({}).environ()) == settings.read({})


def test_folders_are_separated_as_in_path_and_absolute():
    assert settings.read({"TINTYPE_FOLDERS": "/a::b"}).folders == ("/a", str(Path.cwd() / "b"))
    found = settings.read({"TINTYPE_FOLDERS": "s3://bucket/prefix/:/a:gs://other"})
    assert found.folders == ("s3://bucket/prefix", "/a", "gs://other")
    assert settings.read(found.environ()).folders == found.folders
    assert settings.read({}).folders == ()


@pytest.mark.parametrize(
    ("name", "text", "must"),
    [
        ("REDIS_URL", "localhost:6379", "must be an address like redis://"),
        ("REDIS_URL", "http://localhost", "must be an address like redis://"),
        ("FOLDERS", "http://host/a", "must be folders, s3://bucket/prefix or gs://bucket/prefix"),
        ("TF_SERVING", "localhost", "must be host:port, for example localhost:8500"),
        ("BATCH_DELAY_MS", "-1", "must be a whole number from 0 to 10000"),
        ("DRAIN_MS", "1.5", "must be a whole number from 0 to"),
    ],
)
def test_an_address_or_a_time_that_makes_no_sense_is_refused(name, text, must):
    with pytest.raises(WrongUse, match=f"TINTYPE_{name} {must}"):
        settings.read({f"TINTYPE_{name}": text})


def test_an_empty_value_is_the_default():
    assert settings.read({"TINTYPE_MAX_PICTURES": ""}) == settings.read({})


def test_the_home_is_absolute_and_knows_the_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert settings.read({"TINTYPE_HOME": "~/tintype"}).home == Path("/home/ada/tintype")
    assert settings.read({"TINTYPE_HOME": "x"}).home == Path.cwd() / "x"


@pytest.mark.parametrize(
    ("name", "near"),
    [("MAX_PIXEL", "MAX_PIXELS"), ("HOEM", "HOME"), ("max_pictures", "MAX_PICTURES"), ("DEADLINE", "DEADLINE_MS")],
)
def test_an_unknown_name_is_refused_and_the_nearest_named(name, near):
    with pytest.raises(WrongUse, match=rf"TINTYPE_{name} is not a setting; did you mean TINTYPE_\w+\?") as raised:
        settings.read({f"TINTYPE_{name}": "1"})
    if name.isupper():
        assert f"TINTYPE_{near}?" in str(raised.value)


@pytest.mark.parametrize("name", ["", "QQQ", "é"])
def test_even_the_strangest_name_is_refused_with_a_sentence(name):
    with pytest.raises(WrongUse, match="is not a setting"):
        settings.read({f"TINTYPE_{name}": "1"})


def test_the_keys_lie_where_they_are_said_to_or_in_the_home():
    assert settings.read({"TINTYPE_HOME": "/srv/t"}).keys_file == Path("/srv/t/keys.json")
    assert settings.read({"TINTYPE_HOME": "/srv/t", "TINTYPE_KEYS": "etc/keys"}).keys_file == Path.cwd() / "etc/keys"


def test_a_key_is_not_in_what_is_printed_of_the_settings():
    assert "tintype_secret" not in repr(settings.read({"TINTYPE_KEY": "tintype_secret"}))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", " 3", "1e3", "٣", "²", "9" * 5000])
@pytest.mark.parametrize("name", ["API_PROCESSES", "DEADLINE_MS", "MAX_BODY_MB", "MAX_PIXELS", "QUEUE_DEPTH"])
def test_a_number_that_makes_no_sense_is_refused(name, text):
    with pytest.raises(WrongUse, match=rf"TINTYPE_{name} must be a whole number from 1 to [0-9]+; received '{text}'"):
        settings.read({f"TINTYPE_{name}": text})


@pytest.mark.parametrize(
    ("name", "allowed", "given"),
    [
        ("DEVICE", "auto or cpu or cuda or tensorrt", "gpu"),
        ("RUNTIME", "onnx or saved_model or tf_serving", "torch"),
        ("VARIANT", "auto or fp32 or fp16 or int8", "int4"),
    ],
)
def test_a_choice_that_is_not_served_is_refused(name, allowed, given):
    with pytest.raises(WrongUse, match=f"TINTYPE_{name} must be {allowed}; received '{given}'"):
        settings.read({f"TINTYPE_{name}": given})
    for one in allowed.split(" or "):
        assert settings.read({f"TINTYPE_{name}": one})


def test_the_home_of_nobody_is_refused():
    with pytest.raises(WrongUse, match="TINTYPE_HOME must be"):
        settings.read({"TINTYPE_HOME": "~no-such-person/tintype"})
