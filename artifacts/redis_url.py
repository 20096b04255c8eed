"""A Redis address (redis://user@host:6379/0) whose password lies in a file, so that it stands in no environment."""

import re
from pathlib import Path
from urllib.parse import quote

_PARTS = re.compile(r"(?P<scheme>\w+://)(?:(?P<user>[^/?#:@]*)(?P<password>:[^/?#]*)?@)?(?P<rest>.*)", re.DOTALL)


def with_password(url: str, file: str) -> str:
    """The address with the password that is the file's text, less white space around it.

    Raises:
        ValueError: what is wrong, as the end of a sentence: there is no address, it has a password already, or the
            file cannot be read or is empty.
    """
    if not (parts := _PARTS.fullmatch(url)):
        raise ValueError("needs TINTYPE_REDIS_URL, such as redis://user@host:6379/0, which is not set")
    if parts["password"]:
        raise ValueError("and TINTYPE_REDIS_URL both give a password; leave it out of the address")
    try:
        password = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ValueError(f"must be a file that can be read; {file}: {why}") from None
    if not password:
        raise ValueError(f"must be a file with a password; {file} is empty")
    return f"{parts['scheme']}{parts['user'] or ''}:{quote(password, safe='')}@{parts['rest']}"


def without_password(url: str) -> str:
    """The address as it was before."""
    parts = _PARTS.fullmatch(url)
    if not parts or not parts["password"]:
        return url
    return f"{parts['scheme']}{parts['user']}{'@' if parts['user'] else ''}{parts['rest']}"
