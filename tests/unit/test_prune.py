import pytest

from artifacts import served
from artifacts.aliases import LOCK
from artifacts.errors import BadBundle, UnknownModel, WrongUse
from artifacts.prune import prune
from artifacts.store import parse


@pytest.fixture
def six(store, publish):
    """A store with digits@1 to digits@6, none of which an alias names."""
    for _ in range(6):
        publish()
    return store


def damage(store, version):
    (store.path("digits", version) / "model.onnx").write_bytes(b"other")


def test_the_newest_good_ones_stay(six):
    assert prune(six, "digits").removed == [1, 2, 3, 4]
    assert six.versions("digits") == [5, 6]
    assert prune(six, "digits").removed == []


def test_as_many_stay_as_are_asked_for(six):
    assert prune(six, "digits", keep=4).removed == [1, 2]


def test_what_an_alias_names_stays(six):
    six.deploy(parse("digits@1"))
    six.deploy(parse("digits@2"))
    six.deploy(parse("digits@3"), "holiday")
    removed, kept = prune(six, "digits")
    assert removed == [4]
    assert kept == {1: "it is previous", 2: "it is in production", 3: "it is holiday",
                    5: "it is one of the 2 newest good ones", 6: "it is one of the 2 newest good ones"}  # fmt: skip


def test_a_damaged_version_does_not_count_among_the_good_and_goes(six):
    damage(six, 6)
    damage(six, 4)
    assert prune(six, "digits").removed == [1, 2, 4, 6]
    assert six.versions("digits") == [3, 5]


def test_a_damaged_version_that_an_alias_names_stays(six):
    six.deploy(parse("digits@1"))
    damage(six, 1)
    assert 1 not in prune(six, "digits").removed


def test_what_is_in_use_stays_and_is_looked_for_while_no_alias_can_move(six):
    locked = []

    def pinned():
        locked.append((six.root / "digits" / LOCK).exists())
        return {2}

    assert prune(six, "digits", pinned=pinned).removed == [1, 3, 4]
    assert locked == [True]


def test_the_last_version_that_answered_well_stays(six):
    served.remember(six.root / "digits", 1)
    served.remember(six.root / "digits", 3)
    assert prune(six, "digits").removed == [1, 2, 4]


def test_a_dry_run_removes_nothing(six):
    assert prune(six, "digits", dry=True).removed == [1, 2, 3, 4]
    assert six.versions("digits") == [1, 2, 3, 4, 5, 6]


def test_nothing_is_left_and_no_number_is_given_again(six, publish):
    prune(six, "digits")
    assert not list((six.root / "digits").glob(".tmp-*"))
    assert publish().version == 7


def test_fewer_than_two_cannot_be_kept(six):
    with pytest.raises(WrongUse, match="at least 2 good versions are kept"):
        prune(six, "digits", keep=1)
    assert len(six.versions("digits")) == 6


def test_with_aliases_that_cannot_be_read_nothing_is_removed(six):
    (six.root / "digits" / "aliases.json").write_text("{")
    with pytest.raises(BadBundle, match="damaged"):
        prune(six, "digits")
    assert len(six.versions("digits")) == 6


def test_a_model_that_is_not_there_is_said_so(six):
    with pytest.raises(UnknownModel, match="there is no model 'cats'; the models are: digits"):
        prune(six, "cats")


def test_what_was_removed_between_the_check_and_the_move_is_not_deployed(six):
    six.deploy(parse("digits@6"))
    with pytest.raises(UnknownModel, match="digits@1 was removed meanwhile"):
        six.deploy(parse("digits@1"), check=lambda _: prune(six, "digits"))
    assert six.aliases("digits") == {"production": 6}
