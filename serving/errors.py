"""What can go wrong only while serving; the rest of the tree stands in `artifacts.errors`.

TintypeError
├── BadRequest           400  a request that makes no sense
│   └── NoPicture        400  a request without a picture
├── KeyRequired          401  no API key, where one is asked for
│   └── InvalidKey       401  one that is not known
├── InsufficientScope    403  an API key that is meant for something else
├── RateLimited          429  more requests than an API key may make
├── NotAcceptable        406  an answer of a kind that is not given
├── WrongMediaType       415  a body of a kind that is not taken
├── TooSlow              408  a body that does not come
├── TooLarge             413  more bytes or pictures than the limits
├── QueueFull            429  too many pictures wait; come back
├── UnknownJob           404  no job of this id
├── UnknownTraining      404  no training of this id
├── NotFinished          409  a job that has no results yet, or that is at work
├── Worse                409  a version that is not good enough for production
├── Incomparable         409  a version that cannot be compared with what is in production
├── KeyReused            422  an Idempotency-Key that came with another request before
├── NoModel              503  nothing can answer
├── NotNow               503  the machine cannot for now: no room, no handles, a folder that is not mounted
├── Draining             503  the server was told to stop
├── WrongUse
│   └── NoRuntime        503  the runtime or device that the settings ask for is not to be had here
├── EngineFailed         500  the runtime raised: a defect
│   └── Poisoned         500  several workers died of the request
└── DeadlineExceeded     504  no answer in time
"""

from artifacts.errors import TintypeError, WrongUse


class BadRequest(TintypeError):
    """A request that makes no sense."""

    code = "bad_request"
    status = 400


class NoPicture(BadRequest):
    """A request without a picture."""

    code = "no_picture"


class KeyRequired(TintypeError):
    """No API key, where one is asked for (RFC 6750, 3)."""

    code = "key_required"
    status = 401
    challenge = 'Bearer realm="tintype"'


class InvalidKey(KeyRequired):
    """An API key that is not known: mistyped, or revoked."""

    code = "invalid_key"
    challenge = 'Bearer realm="tintype", error="invalid_token"'


class InsufficientScope(TintypeError):
    """An API key that is meant for something else."""

    code = "insufficient_scope"
    status = 403

    def __init__(self, sentence: str, scope: str) -> None:
        super().__init__(sentence)
        self.challenge = f'Bearer realm="tintype", error="insufficient_scope", scope="{scope}"'


class RateLimited(TintypeError):
    """More requests than an API key may make."""

    code = "rate_limited"
    status = 429

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after  # seconds


class NotAcceptable(TintypeError):
    """An answer of a kind that is not given."""

    code = "not_acceptable"
    status = 406


class WrongMediaType(TintypeError):
    """A body of a kind that is not taken."""

    code = "wrong_media_type"
    status = 415


class TooSlow(TintypeError):
    """A body that does not come in time."""

    code = "too_slow"
    status = 408


class TooLarge(TintypeError):
    """More bytes or pictures than the limits."""

    code = "too_large"
    status = 413


class QueueFull(TintypeError):
    """Too many pictures wait for the engine."""

    code = "queue_full"
    status = 429
    retry_after = 1  # seconds


class UnknownJob(TintypeError):
    """No job of this id."""

    code = "unknown_job"
    status = 404


class UnknownTraining(TintypeError):
    """No training of this id."""

    code = "unknown_training"
    status = 404


class NotFinished(TintypeError):
    """A job that has no results yet, or that is at work."""

    code = "not_finished"
    status = 409


class Worse(TintypeError):
    """A version that does not meet what is asked of it beside the one in production."""

    code = "worse"
    status = 409


class Incomparable(TintypeError):
    """A version that cannot be compared with the one in production: nobody has labelled a picture of either."""

    code = "incomparable"
    status = 409


class KeyReused(TintypeError):
    """An Idempotency-Key that came with another request before."""

    code = "key_reused"
    status = 422


class NotNow(TintypeError):
    """The machine cannot for now: no room, no handles, a folder that is not mounted."""

    code = "not_now"
    status = 503


class NoModel(TintypeError):
    """Nothing can answer."""

    code = "no_model"
    status = 503


class NoRuntime(WrongUse):
    """The runtime or device that the settings ask for is not to be had here: a process must not start then."""

    code = "no_runtime"
    status = 503  # a client who meets it did nothing wrong


class Draining(TintypeError):
    """The server was told to stop."""

    code = "draining"
    status = 503


class EngineFailed(TintypeError):
    """The runtime raised on pictures that were in order: a defect, logged with its traceback."""

    code = "engine_failed"
    status = 500


class DeadlineExceeded(TintypeError):
    """No answer in time."""

    code = "deadline_exceeded"
    status = 504


class Poisoned(EngineFailed):
    """Several workers died of this request."""

    code = "poisoned"
