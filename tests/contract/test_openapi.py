import json
import re

import pytest
from openapi_spec_validator import validate

from artifacts import settings
from artifacts.errors import TintypeError
from serving.access.keys import SCOPES
from serving.api.app import create_app
from serving.api.negotiation import CSV, JSON
from serving.errors import NotAcceptable
from serving.records import RECORD, Record
from serving.telemetry.routes import QUIET

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
    "KeyRequired": ("key_required", 401),
    "InvalidKey": ("invalid_key", 401),
    "InsufficientScope": ("insufficient_scope", 403),
    "RateLimited": ("rate_limited", 429),
    "NotAcceptable": ("not_acceptable", 406),
    "WrongMediaType": ("wrong_media_type", 415),
    "TooSlow": ("too_slow", 408),
    "TooLarge": ("too_large", 413),
    "QueueFull": ("queue_full", 429),
    "UnknownJob": ("unknown_job", 404),
    "UnknownTraining": ("unknown_training", 404),
    "NotFinished": ("not_finished", 409),
    "Worse": ("worse", 409),
    "Incomparable": ("incomparable", 409),
    "KeyReused": ("key_reused", 422),
    "NotNow": ("not_now", 503),
    "NoModel": ("no_model", 503),
    "Draining": ("draining", 503),
    "NoRuntime": ("no_runtime", 503),
    "EngineFailed": ("engine_failed", 500),
    "Poisoned": ("poisoned", 500),
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


def test_every_operation_but_health_says_which_key_it_asks_for(document):
    for (path, _), operation in operations(document).items():
        if path.startswith("/health/"):
            assert operation["security"] == []
        else:
            ((scope,),) = (each["key"] for each in operation["security"] if each)
            assert scope in SCOPES
            assert operation["responses"].keys() >= {"401", "403", "429"}
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_operation_has_an_id_of_its_own(document):
    ids = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(ids)) == len(ids)


def test_predict_names_the_parameters_that_it_takes(app, document):
    parameters = document["paths"]["/predict"]["post"]["parameters"]
    named = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    assert named == {"model", "alias", "version", "top_k", "sticky"}
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
        ("/models/none/aliases/production", "PUT", "/models/{name}/aliases/{alias}"),
        ("/models/none/rollback", "POST", "/models/{name}/rollback"),
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


def test_every_answer_names_its_request_as_the_document_says(app, document):
    client = app.test_client()
    for path in ("/openapi.json", "/health/live", "/models", "/none", "/metrics"):
        assert client.get(path, headers={"X-Request-Id": "my-id"}).headers["X-Request-Id"] == "my-id"
    for operation in operations(document).values():
        for response in operation["responses"].values():
            assert "X-Request-Id" in response["headers"]


def test_the_routes_that_are_not_logged_are_routes(app):
    assert {rule.rule for rule in app.url_map.iter_rules()} >= QUIET


def test_an_answer_that_cannot_be_given_is_refused_as_the_document_says(app, document):
    assert document["paths"]["/predict"]["post"]["responses"].keys() >= {"200", "406"}
    assert set(document["paths"]["/predict"]["post"]["responses"]["200"]["content"]) == {JSON, CSV}
    with app.test_request_context(environ_base={RECORD: Record("id", 0.0, 0.0)}):
        refused = app.make_response(app.handle_user_exception(NotAcceptable("a sentence")))
    assert (refused.status_code, refused.get_json()["code"]) == (406, "not_acceptable")
