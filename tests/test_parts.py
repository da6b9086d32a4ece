"""Parts by name, and a file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lingualign.errors import InputError
from lingualign.parts import list_kinds, load_part, part_settings
from lingualign.settings import dump_config, load_config

OWN = '''
from lingualign.config import Section
from lingualign.rewards import score_of

class Settings(Section):
    weight: float = 1.0
    """How much a character counts."""

def make(settings, tools):
    return Longest(settings.weight)

class Longest:
    name = "longest"
    def __init__(self, weight):
        self.weight = weight
    def score(self, batch):
        return [[score_of(r, self.weight * len(r["text"])) for r in c.responses] for c in batch]
'''


def test_every_kind_of_the_package_has_settings_and_make() -> None:
    for folder in ("rewards", "pairs"):
        kinds = list_kinds(folder)
        assert kinds
        for kind in kinds:
            module = load_part(folder, kind, "kind")
            assert callable(module.make)
            assert all(field.description for field in module.Settings.model_fields.values())
    assert {"implicit", "consistency", "votes"} <= set(list_kinds("rewards"))
    assert {"best-worst", "swap", "disagreement"} <= set(list_kinds("pairs"))


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="there is no such kind") as caught:
        load_part("pairs", "best-wrost", "pairs.kind")
    assert caught.value.remedy.startswith("Did you mean best-worst?")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "my_reward.py"
    file.write_text(OWN, encoding="utf-8")
    return file


def test_a_file_of_ones_own(own: Path) -> None:
    config = load_config("icr", [f"reward.kind={own}", "reward.options.weight=2"])
    assert config.reward.options == {"weight": 2.0}
    written = own.with_name("run.yaml")
    written.write_text(dump_config(config), encoding="utf-8")
    assert load_config(str(written), []) == config
    assert load_part("rewards", str(own), "reward.kind") is load_part("rewards", str(own), "reward.kind")


@pytest.mark.parametrize(
    ("options", "message", "remedy"),
    [
        (
            {"wieght": 1},
            "reward.options.wieght: this kind has no such option",
            "Did you mean reward.options.weight?",
        ),
        ({"weight": "much"}, "reward.options.weight is 'much'; it should be a valid number", ""),
    ],
)
def test_wrong_options(own: Path, options: dict[str, object], message: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        part_settings(load_part("rewards", str(own), "reward.kind"), options, "reward.options")
    assert caught.value.message.startswith(message)
    assert caught.value.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("def make(settings, tools): ...", "has no Settings"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_wrong_file(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "part.py"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_part("rewards", str(file), "reward.kind")


def test_options_do_not_outlive_a_change_of_kind() -> None:
    assert load_config("cm-align", []).reward.options
    assert load_config("cm-align", ["reward.kind=random"]).reward.options == {}
