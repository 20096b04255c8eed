import pytest

from artifacts import served


def test_the_last_one_comes_first_and_none_twice(tmp_path):
    assert served.versions(tmp_path) == []
    assert served.last(tmp_path) is None
    for version in (1, 2, 2, 3, 1):
        served.remember(tmp_path, version)
    assert served.versions(tmp_path) == [1, 3, 2]
    assert served.last(tmp_path) == 1


def test_only_so_many_are_remembered(tmp_path):
    for version in range(1, 100):
        served.remember(tmp_path, version)
    assert served.versions(tmp_path) == list(range(99, 99 - served.MOST, -1))


def test_what_is_remembered_already_is_not_written_again(tmp_path):
    served.remember(tmp_path, 1)
    before = (tmp_path / served.FILE).stat().st_ino
    served.remember(tmp_path, 1)
    assert (tmp_path / served.FILE).stat().st_ino == before


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"versions": 3}', '{"versions": ["3", true]}', "[" * 99999])
def test_a_damaged_file_is_as_none(tmp_path, text):
    (tmp_path / served.FILE).write_text(text)
    assert served.versions(tmp_path) == []
    served.remember(tmp_path, 4)
    assert served.versions(tmp_path) == [4]
