"""GET / : the page to drop a picture on. GET /openapi.json: the interface for programs."""

from pathlib import Path

from flask import Blueprint, Response

PAGE = Path(__file__).parents[1] / "web" / "console.html"
OPENAPI = Path(__file__).with_name("openapi.json")


def blueprint() -> Blueprint:
    """Two files, read once."""
    routes = Blueprint("console", __name__)
    page, openapi = PAGE.read_bytes(), OPENAPI.read_bytes()

    @routes.get("/")
    def console() -> Response:
        return Response(page, content_type="text/html; charset=utf-8")

    @routes.get("/openapi.json")
    def interface() -> Response:
        return Response(openapi, content_type="application/json")

    return routes
