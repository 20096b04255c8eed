"""What a client asks for beside its pictures: `?model=&alias=|version=&top_k=&sticky=`."""

import difflib
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from artifacts.store import check_name
from serving.answers import TOP_K
from serving.errors import BadRequest

PARAMETERS = ("model", "alias", "version", "top_k", "sticky")


class Query(NamedTuple):
    """The parameters, checked."""

    model: str | None
    version: int | None
    alias: str | None
    top_k: int
    sticky: str = ""  # requests with the same one are all answered by the canary, or none of them

    @property
    def plain(self) -> bool:
        """Whether it names no version, so that a canary may answer."""
        return not self.version and not self.alias


@lru_cache(maxsize=1024)  # clients ask for the same again and again
def parse(query_string: str) -> Query:
    """The parameters of a query string; of those that come twice the first counts.

    Raises:
        BadRequest, InvalidName: one is unknown or makes no sense.
    """
    given = dict(reversed(parse_qsl(query_string, keep_blank_values=True)))
    for name in given:
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0)[0]
            raise BadRequest(f"there is no parameter {name!r}; did you mean {near!r}?")
    model, alias = given.get("model"), given.get("alias")
    version = _whole(given, "version")
    if version and alias:
        raise BadRequest(f"give a version or an alias, not both; received version={version} and alias={alias}")
    return Query(
        check_name(model) if model else None, version, alias, _whole(given, "top_k") or TOP_K, given.get("sticky", "")
    )


def _whole(given: dict[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < 1:
        raise BadRequest(f"{name} must be a whole number of at least 1; received {text[:40]!r}")
    return int(text)
