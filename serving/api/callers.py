"""Who asks for a change, as the audit has it."""

from flask import Request

from artifacts.audit import Note, checked
from serving.records import RECORD, Record


def note(request: Request, why: str) -> Note:
    """The one who sent a request: the name of its key; where no keys are asked for, the address that it came from.

    Raises:
        WrongUse: the reason is too long.
    """
    record: Record = request.environ[RECORD]
    return Note(record.caller or request.remote_addr or "unknown", checked(why))
