import json
import re

import pytest
from openapi_spec_validator import validate

import serving.errors  # noqa: F401 - so that its classes are in the tree
from artifacts import settings
from artifacts.errors import TintypeError
from serving.api.app import create_app

CODES = {  # promised to every program that reads them: an entry may be added and never changed
    "ModelRequired": ("model_required", 400),
    "TintypeError": ("error", 500),
    "WrongUse": ("wrong_use", 400),
    "BadPicture": ("bad_picture", 422),
    "NotAnImage": ("not_an_image", 415),
    "UnsupportedFormat": ("unsupported_format", 415),
    "UnreadablePicture": ("unreadable_picture", 422),
    "PictureTooLarge": ("picture_too_large", 413),
    "BadData": ("bad_data", 500),
    "BadRun": ("bad_run", 500),
    "BadModel": ("bad_model", 500),
    "BadBundle": ("bad_bundle", 503),
    "ParityFailed": ("parity_failed", 500),
    "UnknownModel": ("unknown_model", 404),
    "Busy": ("busy", 500),
    "BadRequest": ("bad_request", 400),
    "NoPicture": ("no_picture", 400),
    "WrongMediaType": ("wrong_media_type", 415),
    "TooLarge": ("too_large", 413),
    "QueueFull": ("queue_full", 429),
    "NoModel": ("no_model", 503),
    "EngineFailed": ("engine_failed", 500),
    "DeadlineExceeded": ("deadline_exceeded", 504),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return create_app(settings.read({"TINTYPE_HOME": str(tmp_path_factory.mktemp("home"))}))


@pytest.fixture(scope="module")
def document(app):
    return json.loads(app.test_client().get("/openapi.json").data)


def tree(root):
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def operations(document):
    return {
        (path, method.upper()): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_is_openapi(document):
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_the_document_names_every_route_and_no_other(app, document):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert operations(document).keys() == routes


def test_every_operation_has_an_id_of_its_own(document):
    ids = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(ids)) == len(ids)


def test_predict_names_the_parameters_that_it_takes(app, document):
    named = {parameter["name"] for parameter in document["paths"]["/predict"]["post"]["parameters"]}
    assert named == {"model", "alias", "version", "top_k"}
    refused = app.test_client().post("/predict?modle=a", data=b"x", content_type="image/png")
    assert refused.get_json()["detail"] == "there is no parameter 'modle'; did you mean 'model'?"


def test_every_error_of_an_empty_store_is_a_problem_that_the_document_describes(app, document):
    client = app.test_client()
    for path, method, template in (
        ("/predict", "POST", "/predict"),
        ("/predict?version=0", "POST", "/predict"),
        (f"/predict?version={'9' * 5000}", "POST", "/predict"),
        ("/predict?model=..%2f", "POST", "/predict"),
        ("/models/none", "GET", "/models/{name}"),
        ("/models/NONE", "GET", "/models/{name}"),
        ("/models/a%00", "GET", "/models/{name}"),
        ("/health/ready", "GET", "/health/ready"),
    ):
        answer = client.open(path, method=method, data=b"x", content_type="image/png")
        assert answer.status_code >= 400
        assert answer.content_type == "application/problem+json"
        assert str(answer.status_code) in operations(document)[template, method]["responses"], path
        body = answer.get_json()
        assert body.keys() == set(document["components"]["schemas"]["Problem"]["required"])
        assert body["status"] == answer.status_code


@pytest.mark.parametrize(
    ("path", "method", "code"), [("/none", "GET", "not_found"), ("/predict", "GET", "method_not_allowed")]
)
def test_what_is_not_there_is_a_problem_too(app, path, method, code):
    answer = app.test_client().open(path, method=method)
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["code"] == code


def test_the_codes_of_the_errors_are_stable():
    found = {
        error.__name__: (error.code, error.status)
        for error in tree(TintypeError)
        if error.__module__ in ("artifacts.errors", "serving.errors")
    }
    assert found == CODES


def test_no_two_errors_share_a_code():
    codes = [code for code, _ in CODES.values()]
    assert len(set(codes)) == len(codes)
