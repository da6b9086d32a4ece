"""Who judges: the choice and its label."""

from __future__ import annotations

from lingualign.config import RunConfig
from lingualign.measures.judges import judge_kind, judge_label


def test_auto_is_the_labs_judge_for_its_prompts_and_the_implicit_reward_for_others() -> None:
    assert judge_kind(RunConfig(prompts="lab")) == "lab"
    assert judge_kind(RunConfig(prompts="folder")) == "implicit"
    assert judge_kind(RunConfig(prompts="folder", measures={"prompts": "lab"})) == "lab"
    assert judge_kind(RunConfig(prompts="lab", measures={"prompts": "folder"})) == "implicit"
    assert "not an independent judge" in judge_label(RunConfig(prompts="folder"))
