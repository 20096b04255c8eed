import hashlib
import json
import os
import socket

import pytest

from artifacts import bundle
from artifacts.errors import BadBundle
from artifacts.pixels import PREPROCESSING


@pytest.fixture
def sealed(tmp_path, manifest):
    folder = tmp_path / "3"
    (folder / "variables").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    bundle.seal(folder, {"name": "digits", "version": 3, **manifest})
    return folder


def reseal(folder, **changes):
    """Alter a manifest and its sha256 together, as a program of another version would."""
    path = folder / bundle.MANIFEST
    body = {key: value for key, value in {**json.loads(path.read_bytes()), **changes}.items() if value is not None}
    path.write_text(json.dumps({**body, "sha256": bundle.digest(body)}))


def test_what_was_sealed_verifies_and_says_what_it_is(sealed):
    opened = bundle.verify(sealed)
    assert (opened.name, opened.version, opened.labels, opened.shape) == ("digits", 3, ["dark", "light"], (8, 8, 3))
    assert opened.sha256 == bundle.digest(opened.manifest)
    assert len(opened.sha256) == 64
    assert opened.variant_file("fp32") == sealed / "model.onnx"
    assert opened.golden_file == sealed / "golden.npz"
    assert opened.identity("fp32") == {
        "name": "digits",
        "version": 3,
        "sha256": opened.sha256,
        "variant": "fp32",
    }


def test_the_manifest_lists_every_file_with_size_and_sha256(sealed):
    listed = bundle.read(sealed).manifest["files"]
    assert listed.keys() == {"model.onnx", "variables/variables.index"}
    assert listed["model.onnx"]["bytes"] == 5
    assert listed["model.onnx"]["sha256"] == hashlib.sha256(b"graph").hexdigest()


def test_the_digest_does_not_depend_on_the_order_of_keys(sealed):
    read = bundle.read(sealed).manifest
    assert bundle.digest(dict(reversed(read.items()))) == read["sha256"]


def test_a_manifest_deeper_inside_is_a_file_like_others(sealed, manifest):
    (sealed / "variables" / bundle.MANIFEST).write_text("{}")
    bundle.seal(sealed, {"name": "digits", "version": 3, **manifest})
    assert "variables/manifest.json" in bundle.verify(sealed).manifest["files"]


def flip(sealed):
    (sealed / "model.onnx").write_bytes(b"graqh")


def truncate(sealed):
    (sealed / "model.onnx").write_bytes(b"grap")


def lose(sealed):
    (sealed / "variables" / "variables.index").unlink()


def add(sealed):
    (sealed / "variables" / "extra").write_bytes(b"")


def link(sealed):
    (sealed / "model.onnx").rename(sealed.parent / "elsewhere")
    (sealed / "model.onnx").symlink_to(sealed.parent / "elsewhere")


def link_folder(sealed):
    (sealed / "variables").rename(sealed.parent / "elsewhere")
    (sealed / "variables").symlink_to(sealed.parent / "elsewhere")


def add_link(sealed):
    (sealed / "loop").symlink_to(sealed)


def link_manifest(sealed):
    (sealed / "manifest.json").rename(sealed.parent / "elsewhere")
    (sealed / "manifest.json").symlink_to(sealed.parent / "elsewhere")


def put_a_folder(sealed):
    (sealed / "model.onnx").unlink()
    (sealed / "model.onnx").mkdir()


def put_a_pipe(sealed):
    (sealed / "model.onnx").unlink()
    os.mkfifo(sealed / "model.onnx")


def put_a_socket(sealed):
    (sealed / "model.onnx").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(sealed)
        listener.bind("model.onnx")


@pytest.mark.parametrize(
    ("sabotage", "sentence"),
    [
        (flip, r"model\.onnx was altered after the export"),
        (truncate, r"model\.onnx was altered after the export"),
        (lose, r"missing or strange: variables/variables\.index"),
        (add, r"missing or strange: variables/extra"),
        (link, r"model\.onnx is a symbolic link; a bundle holds plain files only"),
        (link_folder, r"variables is a symbolic link"),
        (add_link, r"loop is a symbolic link"),
        (link_manifest, r"manifest\.json is a symbolic link"),
        (put_a_folder, r"missing or strange: model\.onnx"),
        (put_a_pipe, r"model\.onnx"),
        (put_a_socket, r"model\.onnx"),
    ],
)
def test_a_sabotaged_bundle_is_refused_with_a_sentence(sealed, monkeypatch, sabotage, sentence):
    monkeypatch.chdir(sealed)
    sabotage(sealed)
    with pytest.raises(BadBundle, match=sentence):
        bundle.verify(sealed)


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[]", "3", "null", '"text"', "{}", '{"sha256": 1}', '{"sha256": "0"}', "\xff", "[" * 100_000],
)
def test_a_manifest_that_is_missing_or_garbage_is_refused(sealed, text):
    if text is None:
        (sealed / "manifest.json").unlink()
    else:
        (sealed / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(BadBundle, match=r"manifest\.json (cannot be read|was altered)"):
        bundle.read(sealed)


def test_an_altered_manifest_is_refused(sealed):
    path = sealed / "manifest.json"
    path.write_text(path.read_text().replace('"dark"', '"dork"'))
    with pytest.raises(BadBundle, match=r"manifest\.json was altered after the export: its sha256 differs"):
        bundle.read(sealed)


def test_another_schema_is_refused(sealed):
    reseal(sealed, schema_version=2)
    with pytest.raises(BadBundle, match=r"has schema\w* 2; this version reads 1"):
        bundle.read(sealed)


def test_other_rules_of_preprocessing_are_refused(sealed):
    reseal(sealed, preprocessing={**PREPROCESSING, "version": 2})
    with pytest.raises(BadBundle, match="made under other rules of preprocessing; export the run again"):
        bundle.read(sealed)


def test_the_rules_may_be_worded_otherwise(sealed):
    reseal(sealed, preprocessing={"version": PREPROCESSING["version"]})
    assert bundle.read(sealed).name == "digits"


@pytest.mark.parametrize(
    "field", ["schema_version", "name", "version", "labels", "input", "preprocessing", "variants", "metrics", "files"]
)
def test_a_manifest_that_lacks_a_field_is_refused(sealed, field):
    reseal(sealed, **{field: None})
    with pytest.raises(BadBundle, match=field):
        bundle.verify(sealed)


def test_a_listed_file_outside_the_bundle_is_refused(sealed):
    (sealed.parent / "secret").write_bytes(b"graph")
    listed = bundle.read(sealed).manifest["files"]
    for name in ("../secret", str(sealed.parent / "secret"), "variables/../model.onnx", "variables//variables.index"):
        reseal(sealed, files={**listed, name: listed["model.onnx"]})
        with pytest.raises(BadBundle, match="files must name plain relative paths inside the bundle; received '"):
            bundle.verify(sealed)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("../3/model.onnx", "must have as file a plain relative path in the bundle"),
        ("/etc/passwd", "must have as file a plain relative path in the bundle"),
        ("./model.onnx", "must have as file a plain relative path in the bundle"),
        ("manifest.json", "must have as file one that files lists"),
        ("model.int8.onnx", "must have as file one that files lists"),
        ("variables", "must have as file one that files lists"),
    ],
)
def test_a_variant_whose_file_is_not_among_the_sealed_ones_is_refused(sealed, file, sentence):
    reseal(sealed, variants={"fp32": {"file": "model.onnx", "best_batch": 4}, "int8": {"file": file, "best_batch": 4}})
    with pytest.raises(BadBundle, match=f"the variant 'int8' {sentence}.*; received '{file}'; export the run again"):
        bundle.verify(sealed)


@pytest.mark.parametrize(
    "field", ["name", "version", "labels", "input", "preprocessing", "variants", "metrics", "files"]
)
@pytest.mark.parametrize("wrong", [0, "", [], {}, True, [[]], {"a": []}])
def test_a_field_of_a_wrong_kind_is_refused_though_its_sha256_is_right(sealed, field, wrong):
    reseal(sealed, **{field: wrong})
    with pytest.raises(BadBundle, match=rf"manifest\.json: .*{field}.*; export the run again"):
        bundle.verify(sealed)


def test_a_huge_manifest_is_refused_before_it_is_parsed(sealed):
    path = sealed / bundle.MANIFEST
    path.write_text(path.read_text().ljust(bundle.MANIFEST_BYTES))
    assert bundle.read(sealed).name == "digits"
    path.write_text(path.read_text() + "{")
    with pytest.raises(BadBundle, match=r"manifest\.json has 50,000,001 bytes; a manifest has at most 50,000,000"):
        bundle.read(sealed)


def test_a_pipe_is_refused_and_not_waited_for(sealed):
    put_a_pipe(sealed)
    listed = bundle.read(sealed).manifest["files"]
    reseal(sealed, files={**listed, "model.onnx": {"sha256": hashlib.sha256(b"").hexdigest(), "bytes": 0}})
    with pytest.raises(BadBundle, match=r"model\.onnx is a pipe, socket or device; a bundle holds plain files only"):
        bundle.verify(sealed)
    (sealed / bundle.MANIFEST).unlink()
    os.mkfifo(sealed / bundle.MANIFEST)
    with pytest.raises(BadBundle, match=r"manifest\.json cannot be read \(there is no plain file of this name\)"):
        bundle.read(sealed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(sealed):
    (sealed / "model.onnx").chmod(0)
    with pytest.raises(BadBundle, match=r"model\.onnx"):
        bundle.verify(sealed)
