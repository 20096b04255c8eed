"""The description of the HTTP interface (OpenAPI 3.1): the file, and what each operation says that asks for a key."""

import json
from pathlib import Path
from typing import Any

from serving.access.guard import OPEN, scope_of

FILE = Path(__file__).with_name("openapi.json")
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, asked for wherever others than this machine can reach the server; health needs none.",
}
_REFUSALS = {
    "401": "no API key, or one that is not known, where keys are asked for; WWW-Authenticate says which",
    "403": "an API key that is meant for something else",
    "429": "the API key has made too many requests; Retry-After says when to come back",
}


def describe() -> bytes:
    """The document, as JSON."""
    document = json.loads(FILE.read_bytes())
    document["components"]["securitySchemes"] = {"key": _SCHEME}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path in OPEN:
                operation["security"] = []
            else:
                operation["security"] = [{"key": [scope_of(method.upper(), path)]}, {}]  # {}: where none is asked for
                operation["responses"] = {**{status: _problem(said) for status, said in _REFUSALS.items()},
                                          **operation["responses"]}  # fmt: skip
    return json.dumps(document, ensure_ascii=False).encode()


def _problem(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}},
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
