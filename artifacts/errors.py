"""Everything that can go wrong and that a person can mend.

    TintypeError                 base: a stable `code`, an HTTP `status`, a command `exit_code`, one sentence
    ├── WrongUse                 a command, option or setting that makes no sense
    │   └── ModelRequired        several models are in production, and none was named
    ├── BadPicture               bytes that cannot become pixels
    │   ├── NotAnImage           the bytes are no picture at all
    │   ├── UnsupportedFormat    a picture, of a kind that is not read here
    │   ├── UnreadablePicture    JPEG, PNG or WebP, and damaged
    │   └── PictureTooLarge      more pixels than the limit
    ├── BadData                  pictures that cannot be trained on
    ├── BadRun                   a training run that is missing or unfinished
    ├── BadModel                 a model made elsewhere that is damaged, or of a kind that cannot be imported
    ├── BadBundle                an exported version that is damaged or altered
    ├── ParityFailed             an export that answers differently from the model that was trained
    ├── UnknownModel             no such model, version or alias
    └── Busy                     another process is at work on the same thing

`serving.errors` adds those that only a server meets. A sentence says what was wrong, what came, what would be right.
"""


class TintypeError(Exception):
    """Base of the tree; `str(error)` is the public sentence."""

    code = "error"
    status = 500
    exit_code = 1


class WrongUse(TintypeError):
    """A command, option or setting that makes no sense."""

    code = "wrong_use"
    status = 400
    exit_code = 2


class ModelRequired(WrongUse):
    """Several models are in production, and none was named."""

    code = "model_required"


class BadPicture(TintypeError):
    """Bytes that cannot become pixels."""

    code = "bad_picture"
    status = 422


class NotAnImage(BadPicture):
    """The bytes are no picture at all."""

    code = "not_an_image"
    status = 415


class UnsupportedFormat(BadPicture):
    """A picture, of a kind that is not read here."""

    code = "unsupported_format"
    status = 415


class UnreadablePicture(BadPicture):
    """JPEG, PNG or WebP by its first bytes, and damaged."""

    code = "unreadable_picture"


class PictureTooLarge(BadPicture):
    """More pixels than the limit."""

    code = "picture_too_large"
    status = 413


class BadData(TintypeError):
    """Pictures that cannot be trained on."""

    code = "bad_data"


class BadRun(TintypeError):
    """A training run that is missing or unfinished."""

    code = "bad_run"


class BadModel(TintypeError):
    """A model made elsewhere that is damaged, or of a kind that cannot be imported."""

    code = "bad_model"


class BadBundle(TintypeError):
    """An exported version that is damaged or altered."""

    code = "bad_bundle"
    status = 503


class ParityFailed(TintypeError):
    """An export that answers differently from the model that was trained."""

    code = "parity_failed"


class UnknownModel(TintypeError):
    """No such model, version or alias."""

    code = "unknown_model"
    status = 404


class Busy(TintypeError):
    """Another process is at work on the same thing."""

    code = "busy"
