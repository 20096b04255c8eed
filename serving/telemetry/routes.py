"""Paths -> the rules of the application: a client can make up any number of paths, and labels must be bounded."""

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map

OTHER = "other"  # what no rule stands for
# Asked for every few seconds by machines: counted in the metrics, and left out where each request has its own line.
QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})


class Routes:
    """The rules of a Flask application (`app.url_map`)."""

    def __init__(self, rules: Map) -> None:
        self._exact = {rule.rule for rule in rules.iter_rules() if not rule.arguments}
        self._rules = rules.bind("localhost")

    def of(self, path: str, method: str) -> str:
        """The rule that a path falls under, such as `/models/<name>`, or `other`."""
        return path if path in self._exact else self._match(path, method)

    def _match(self, path: str, method: str) -> str:
        try:
            return str(self._rules.match(path, method, return_rule=True)[0].rule)
        except MethodNotAllowed as error:
            allowed = next(iter(error.valid_methods or ()), None)
            return self._match(path, allowed) if allowed else OTHER
        except HTTPException:
            return OTHER
