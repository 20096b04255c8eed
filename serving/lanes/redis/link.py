"""What both ends of the Redis lane must agree on: the connection, the keys, the scripts, the bytes."""

import json
import re
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import redis

import artifacts.errors
from artifacts.errors import TintypeError, WrongUse
from serving import errors
from serving.lanes.answer import Answer

if TYPE_CHECKING:
    from numpy.typing import NDArray

STREAM = "tintype:online"
WAITING = "tintype:online:pictures"  # pictures that no worker has taken yet
GROUP = "engines"
REPLIES = "tintype:replies:"  # + the id of a mailbox
REPLIES_SECONDS = 60  # a mailbox that nobody empties is gone after this
TIMEOUT = 5.0  # seconds that one command may take

WORKERS = "tintype:workers"  # names by the time, on the server's clock, of their last sign of life
STATUS = "tintype:worker:"  # + the name of a worker: what it says of itself
ALIVE_SECONDS = 2.5  # without a sign of life a worker counts no more
LEASE = 2.0  # seconds without renewal after which another worker claims a request

# An entry's fields; `n` is known to TAKE.
MODEL, SHA256, SHAPE, COUNT, PIXELS = b"m", b"s", b"h", b"n", b"x"
MAILBOX, PIECE, REQUEST_ID, TTL_MS = b"r", b"i", b"q", b"t"

# Every script is sent as text each time: a restarted server has forgotten those that were loaded.
# stream, waiting; depth, count, field, value, … -> -1, or how many wait already
ENTER = """
local waiting = tonumber(redis.call('GET', KEYS[2]) or '0')
if waiting + ARGV[2] > tonumber(ARGV[1]) then return waiting end
redis.call('INCRBY', KEYS[2], ARGV[2])
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
return -1
"""

# stream, waiting; group, consumer, limit, pictures at hand, those of them that still count as waiting -> entries
# When nothing is left, none wait: so what a worker that died had not counted off is not counted for ever.
TAKE = """
local taken, pictures, empty = {}, tonumber(ARGV[4]), false
while pictures < tonumber(ARGV[3]) do
  local read = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], '>')
  if not read then
    empty = true
    break
  end
  local entry = read[1][2][1]
  taken[#taken + 1] = entry
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'n' then pictures = pictures + entry[2][i + 1] end
  end
end
local gone = pictures - ARGV[4] + ARGV[5]
if empty or gone > 0 and redis.call('DECRBY', KEYS[2], gone) <= 0 then redis.call('DEL', KEYS[2]) end
return taken
"""

# stream, mailbox, …; group, seconds, id, reply, … : who removes the entry writes the reply, nobody else
SETTLE = """
for i = 2, #KEYS do
  local id, reply = ARGV[2 * i - 1], ARGV[2 * i]
  redis.call('XACK', KEYS[1], ARGV[1], id)
  if redis.call('XDEL', KEYS[1], id) == 1 then
    redis.call('RPUSH', KEYS[i], reply)
    redis.call('EXPIRE', KEYS[i], ARGV[2])
  end
end
"""

# workers, status; name, text, seconds
SIGN = """
redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], 3600)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3] * 1000)
"""

# workers; prefix of the statuses -> name, text, …
ALIVE = """
local found = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local text = redis.call('GET', ARGV[1] .. name)
  if text then
    found[#found + 1] = name
    found[#found + 1] = text
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1] - 60)
return found
"""

_HEAD = struct.Struct("<QffII8s")  # piece, wait and infer in seconds, batch, N, variant; float32 probabilities follow
_FAILED = 0xFFFFFFFF  # in place of a batch: a JSON document follows
_CODES = {
    error.code: error
    for module in (artifacts.errors, errors)
    for error in vars(module).values()
    if isinstance(error, type) and issubclass(error, TintypeError)
}


class Reply(NamedTuple):
    """What comes back for one piece."""

    piece: int
    answer: Answer | Exception


def connect(url: str) -> "redis.Redis":
    """A client with a pool of connections; made after any fork, shared by the threads of a process.

    Raises:
        WrongUse: the address makes no sense.
    """
    try:
        if not (url.startswith("unix:") or re.fullmatch("/?|/[0-9]+", urlsplit(url).path)):
            raise ValueError("what follows the last / is the number of a database")  # noqa: TRY301 - one sentence for all
        return redis.Redis.from_url(
            url, protocol=2, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, socket_keepalive=True, retry=None
        )
    except ValueError as error:
        raise WrongUse(f"TINTYPE_REDIS_URL must be an address like redis://host:6379/0 ({error})") from None


def pack(piece: int, answer: Answer | Exception) -> bytes:
    """A reply as bytes."""
    if isinstance(answer, Answer):
        rows = len(answer.probabilities)
        head = _HEAD.pack(piece, answer.wait, answer.infer, answer.batch, rows, answer.variant.encode())
        return head + np.ascontiguousarray(answer.probabilities, "<f4").tobytes()
    code = getattr(answer, "code", errors.EngineFailed.code)
    return _HEAD.pack(piece, 0.0, 0.0, _FAILED, 0, b"") + json.dumps({"code": code, "message": str(answer)}).encode()


def unpack(data: bytes) -> Reply:
    """A reply from its bytes."""
    piece, wait, infer, batch, rows, variant = _HEAD.unpack_from(data)
    if batch == _FAILED:
        said: dict[str, Any] = json.loads(data[_HEAD.size :])
        return Reply(piece, _CODES.get(said["code"], errors.EngineFailed)(said["message"]))
    flat: NDArray[np.float32] = np.frombuffer(data, "<f4", offset=_HEAD.size)
    return Reply(piece, Answer(flat.reshape(rows, -1), variant.rstrip(b"\0").decode(), wait, infer, batch))


def clock(client: "redis.Redis") -> float:
    """The server's time less time.monotonic(), in seconds; too little by what the reply took."""
    seconds, microseconds = client.execute_command("TIME")
    return int(seconds) + int(microseconds) / 1e6 - time.monotonic()


def sign(client: "redis.Redis", name: str, text: str) -> None:
    """A worker's sign of life, with what it says of itself."""
    client.execute_command("EVAL", SIGN, 2, WORKERS, STATUS + name, name, text, ALIVE_SECONDS)


def sign_off(client: "redis.Redis", name: str) -> None:
    """A worker that ends counts no more from now on."""
    client.zrem(WORKERS, name)
    client.delete(STATUS + name)


def alive(client: "redis.Redis") -> dict[str, str]:
    """The workers that gave a sign of life lately, by name, with what they say of themselves."""
    found = client.execute_command("EVAL", ALIVE, 1, WORKERS, STATUS)
    return {name.decode(): (text or b"").decode() for name, text in zip(found[::2], found[1::2], strict=True)}
