"""The README's tables and names are those of the code. Its examples: tests/acceptance/test_readme.py."""

import re

from artifacts.settings import SETTINGS
from tests.real import ROOT
from training.config import READERS

README = (ROOT / "README.md").read_text()


def test_the_table_of_settings_is_the_settings():
    rows = re.findall(r"^\| `TINTYPE_(\w+)` \| `([^`]*)` \| (.*) \|$", README, re.MULTILINE)
    assert rows == [(name, setting.default, setting.meaning) for name, setting in SETTINGS.items()]


def test_every_command_named_in_the_readme_exists(home):
    named = set(re.findall(r"`?tintype ([a-z]+)", README))
    helped = home.run("--help").stdout
    assert named
    assert not [name for name in named if not re.search(rf"^    {name} ", helped, re.MULTILINE)]


def test_every_key_of_a_recipe_is_in_the_table_and_no_other():
    table = README.partition("| key | meaning |")[2].partition("\n\n")[0]
    told = [key for row in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(told) == sorted(READERS)
