"""The home folder, looked at before a command works for minutes."""

import tempfile

from artifacts.errors import WrongUse
from artifacts.settings import Settings


def check_writable(settings: Settings) -> None:
    """See before the work, and not after it, that its result can be kept.

    Raises:
        WrongUse: it cannot.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        why = f"cannot write to {settings.home}: {error.strerror}"
        raise WrongUse(f"{why}; set TINTYPE_HOME to a folder that you can write to") from None
