import json
import shutil
import subprocess
import sys

import pytest

from artifacts.pictures import Pictures
from artifacts.store import Store
from tests.real import ROOT, Home


def test_the_front_door_opens_no_room_until_it_is_asked_to():
    script = (
        "import sys, tintype;"
        "heavy = 'training exporters serving keras tensorflow onnxruntime flask pyarrow sklearn'.split();"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["deploy", "cats"], 1, "there is no model 'cats'; the models are: digits"),
        (["deploy", "digits@9"], 1, "digits has no version 9; its versions are: 1"),
        (["deploy", "Digits!"], 2, "received 'Digits!'"),
        (["rollback", "digits"], 1, "no previous version"),
        (["export", "nothing"], 1, "there is no run 'nothing'"),
        (["export", "latest", "--precision", "int4"], 2, "must be some of fp32,fp16,int8; received 'int4'"),
        (["export", "latest", "--allow", "int8,"], 2, "received 'int8,'"),
        (["export", "latest", "--name", "A!"], 2, "received 'A!'"),
        (["profile", "cats"], 1, "there is no model 'cats'; the models are: digits"),
        (["profile", "digits@9"], 1, "digits has no version 9; its versions are: 1"),
        (["train", "digits", "--preset", "resnet21"], 2, "there is no preset 'resnet21'"),
        (["train", "digits", "--preset", "cnn", "--set", "epoch=3"], 2, "did you mean epochs"),
        (["train", "digits", "--preset", "cnn", "--set", "epochs"], 2, "key=value"),
        (["train", "digits", "--preset", "cnn", "--set", "epochs=none"], 2, "'none'"),
        (["train", "no-such-folder", "--preset", "cnn"], 2, "no-such-folder"),
        (["serve", "--port", "99999"], 2, "from 1 to 65535; received '99999'"),
        (["serve", "--host", "nowhere.invalid"], 2, "cannot serve on nowhere.invalid:8000"),
        (["predict", "no-such-file.png"], 2, "there is no file no-such-file.png"),
        (["predict", "README.md", "--model", "digits@canary"], 1, "no alias 'canary'"),
        (["classify", "no-such-folder"], 2, "no-such-folder is not a folder"),
        (["models", "cats"], 1, "there is no model 'cats'"),
        (["nonsense"], 2, "invalid choice"),
        (["serve", "--host", "256.1.1.1"], 2, "256.1.1.1"),
    ],
)
def test_a_mistake_gets_a_sentence_and_no_traceback(home, arguments, code, says):
    done = home.run(*arguments, cwd=ROOT)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unwritable_home_is_said_before_the_training(home, tmp_path):
    (tmp_path / "file").write_text("")
    other = type(home)(tmp_path / "file" / "home")
    for arguments in (["train", "digits"], ["export", "latest"]):
        done = other.run(*arguments)
        assert done.returncode == 2
        assert "cannot write to" in done.stderr
        assert "set TINTYPE_HOME" in done.stderr
        assert "epoch" not in done.stderr


def test_with_two_models_in_production_one_has_to_be_named(home, pictures, tmp_path, publish_again):
    shutil.copytree(home.path / "models", tmp_path / "models")
    (tmp_path / "a.png").write_bytes(pictures.encoded[0])
    other = type(home)(tmp_path)
    publish_again(Store(tmp_path / "models"), "pets")
    other.json("deploy", "pets")
    done = other.run("predict", tmp_path / "a.png")
    assert (done.returncode, "name one of: digits, pets" in done.stderr) == (2, True)
    assert other.json("predict", tmp_path / "a.png", "--model", "pets")["model"]["name"] == "pets"


def test_closed_streams_are_no_defect(home):
    command = f'exec "{sys.executable}" "{ROOT / "tintype.py"}" models'
    for closing in (">&-", "2>&-", ">/dev/full"):
        done = subprocess.run(
            ["sh", "-c", f"{command} {closing}"], env=home.environment, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr, closing
        assert (done.returncode == 0) == (closing != ">/dev/full")


def test_predicting_leaves_nothing_in_the_persons_home_folder(home, pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.encoded[0])
    (tmp_path / "person").mkdir()
    environment = {**home.environment, "HOME": str(tmp_path / "person"), "XDG_CACHE_HOME": ""}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, str(ROOT / "tintype.py"), "predict", str(tmp_path / "a.png")]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert list((tmp_path / "person").iterdir()) == []


def test_debug_shows_the_traceback_as_well(home):
    done = home.run("deploy", "cats", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("tintype: there is no model 'cats'")


def test_a_misspelt_setting_stops_every_command(home):
    misspelt = {**home.environment, "TINTYPE_HOEM": "x"}
    command = [sys.executable, str(ROOT / "tintype.py"), "models"]
    done = subprocess.run(command, env=misspelt, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean TINTYPE_HOME?" in done.stderr


def test_models_lists_what_the_design_fixes(home):
    (entry,) = [each for each in home.json("models") if each["name"] == "digits"]
    assert set(entry) == {"name", "version", "aliases", "sha256", "labels", "variants", "metrics"}
    assert entry["aliases"] == ["production"]


def test_presets_lists_what_the_design_fixes(home):
    entries = home.json("presets")
    assert {each["name"] for each in entries} >= {"mlp-32", "cnn", "cnn-stride2-bn", "resnet20v1"}
    assert all(set(each) == {"name", "model", "parameters", "input", "data", "expected"} for each in entries)


def test_runs_lists_finished_runs(home):
    entries = home.json("runs")
    assert entries[-1]["name"] == "digits"
    assert entries[-1]["accuracy"] > 0.9


def test_deploy_and_rollback_move_the_alias(home, tmp_path, publish_again):
    shutil.copytree(home.path / "models", tmp_path / "models")
    other = type(home)(tmp_path)
    assert publish_again(Store(tmp_path / "models")).version == 2
    assert other.json("deploy", "digits")["aliases"] == {"production": 2, "previous": 1}
    assert other.json("rollback", "digits")["aliases"] == {"production": 1, "previous": 2}
    assert other.json("deploy", "digits@2", "--alias", "canary")["aliases"]["canary"] == 2
    assert other.run("deploy", "digits@2").stdout.splitlines() == [
        "digits@2 is in production",
        str(tmp_path / "models/digits/2"),
    ]


def test_predict_prints_what_the_server_answers(home, server, pictures, tmp_path):
    good, bad = tmp_path / "a.png", tmp_path / "b.png"
    good.write_bytes(pictures.encoded[0])
    bad.write_bytes(b"no picture")
    answer = home.json("predict", good, bad)
    served = server.predict(pictures.encoded[0])[1]
    assert answer["model"] == served["model"]
    assert answer["predictions"][0]["label"] == served["predictions"][0]["label"]
    assert answer["predictions"][0]["confidence"] == pytest.approx(served["predictions"][0]["confidence"], abs=1e-5)
    assert answer["predictions"][1]["error"]["code"] == "not_an_image"
    done = home.run("predict", bad)
    assert done.returncode == 1
    assert "this is not a picture" in done.stdout


def with_variant(home, variant):
    other = Home(home.path)
    other.environment["TINTYPE_VARIANT"] = variant
    return other


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8"])
def test_predict_answers_in_the_variant_that_is_set(whole, pictures, tmp_path, variant):
    (tmp_path / "a.png").write_bytes(pictures.encoded[0])
    golden = Pictures.load(whole.path / "models" / "digits" / "1" / "golden.npz")
    answer = with_variant(whole, variant).json("predict", tmp_path / "a.png")
    expected = golden.answers.get(variant, golden.probabilities)[0]
    (prediction,) = answer["predictions"]
    assert answer["model"]["variant"] == variant
    assert prediction["label"] == str(expected.argmax())
    assert prediction["confidence"] == pytest.approx(float(expected.max()), abs=1e-5)


def test_a_variant_that_was_not_exported_is_said_so(home, pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.encoded[0])
    without = with_variant(home, "int8")
    for arguments in (["predict", tmp_path / "a.png"], ["classify", tmp_path, "--out", tmp_path / "out"]):
        done = without.run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        says = "digits@1 has no int8 (the export was not asked for it); set TINTYPE_VARIANT to one of: fp32"
        assert done.stderr.splitlines()[-1] == f"tintype: {says}"


def test_a_run_leaves_what_the_design_fixes(home):
    (run,) = (home.path / "runs").iterdir()
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "model.keras", "config.toml", "labels.json", "history.csv", "metrics.json", "report.html", "split.json",
        "environment.json",
    }  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    for split in ("validation", "test"):
        assert set(metrics[split]) >= {"accuracy", "loss", "per_class", "confusion_matrix"}
