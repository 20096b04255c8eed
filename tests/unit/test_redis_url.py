import pytest

from artifacts import settings
from artifacts.errors import WrongUse
from artifacts.redis_url import with_password, without_password


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "password"
    path.write_text("p@ss:w/rd?#\n")
    return path


@pytest.mark.parametrize(
    ("url", "complete"),
    [
        ("redis://redis:6379/0", "redis://:p%40ss%3Aw%2Frd%3F%23@redis:6379/0"),
        ("redis://api@redis:6379/0", "redis://api:p%40ss%3Aw%2Frd%3F%23@redis:6379/0"),
        ("rediss://api@[::1]:6379", "rediss://api:p%40ss%3Aw%2Frd%3F%23@[::1]:6379"),
        ("unix:///run/redis.sock?db=1", "unix://:p%40ss%3Aw%2Frd%3F%23@/run/redis.sock?db=1"),
    ],
)
def test_the_password_of_the_file_is_put_into_the_address_and_taken_out_again(file, url, complete):
    assert with_password(url, str(file)) == complete
    assert without_password(complete) == url
    assert without_password(url) == url


def test_the_settings_connect_with_it_and_hand_on_the_file_alone(file):
    given = {"TINTYPE_REDIS_URL": "redis://api@redis:6379/0", "TINTYPE_REDIS_PASSWORD_FILE": str(file)}
    read = settings.read(given)
    assert read.redis_url == "redis://api:p%40ss%3Aw%2Frd%3F%23@redis:6379/0"
    assert given.items() <= read.environ().items()
    assert not [text for text in read.environ().values() if "p%40ss" in text or "p@ss" in text]


@pytest.mark.parametrize(
    ("url", "content", "sentence"),
    [
        ("", b"secret", "needs TINTYPE_REDIS_URL"),
        ("redis://:other@redis:6379/0", b"secret", "and TINTYPE_REDIS_URL both give a password"),
        ("redis://redis:6379/0", None, "must be a file that can be read; .*: No such file or directory"),
        ("redis://redis:6379/0", b"\xff\xfe", "must be a file that can be read; .*: it is not text"),
        ("redis://redis:6379/0", b" \n", "must be a file with a password; .* is empty"),
    ],
)
def test_what_cannot_be_used_is_refused_without_saying_the_password(tmp_path, url, content, sentence):
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongUse, match=f"^TINTYPE_REDIS_PASSWORD_FILE {sentence}") as raised:
        settings.read({"TINTYPE_REDIS_URL": url, "TINTYPE_REDIS_PASSWORD_FILE": str(path)})
    assert "secret" not in str(raised.value)
    assert "other" not in str(raised.value)
