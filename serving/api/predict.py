"""POST /predict: pictures in, labels out.

query -> model -> uploads -> predictor -> JSON or CSV

One picture as the raw body seldom comes here: `serving.api.direct` answers it before Flask sees it.
"""

from flask import Blueprint, Response, request

from artifacts.settings import Settings
from serving.api import query
from serving.api.negotiation import kind, render
from serving.api.predictor import Predictor
from serving.api.uploads import uploads
from serving.records import RECORD, Record

PATH = "/predict"
STICKY = "Tintype-Key"  # the header of requests that belong together: see `serving.api.query.Query.sticky`


def blueprint(predictor: Predictor, settings: Settings) -> Blueprint:
    """The route, for every kind of request."""
    routes = Blueprint("predict", __name__)

    @routes.post(PATH)
    def predict() -> Response:
        record: Record = request.environ[RECORD]
        wanted = query.parse(request.environ["QUERY_STRING"])
        kind(request.headers.get("Accept"))  # refused now, and not after all the work
        model = predictor.model(wanted, record)
        pictures = uploads(request, settings.max_pictures)
        body = predictor.answer(model, wanted, request.headers.get(STICKY, ""), pictures, record)
        return render(body, request.headers.get("Accept"))

    return routes
