"""GET / : the page to drop a picture on. GET /openapi.json: the interface for programs."""

from pathlib import Path

from flask import Blueprint, Response

from serving.api.interface import describe

WEB = Path(__file__).parents[1] / "web"
PAGE, KEY_PAGE = WEB / "console.html", WEB / "key.html"


def blueprint() -> Blueprint:
    """Two documents, made once."""
    routes = Blueprint("console", __name__)
    page, openapi = PAGE.read_bytes(), describe()

    @routes.get("/")
    def console() -> Response:
        return Response(page, content_type="text/html; charset=utf-8")

    @routes.get("/openapi.json")
    def interface() -> Response:
        return Response(openapi, content_type="application/json")

    return routes
