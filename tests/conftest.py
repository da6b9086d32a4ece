"""Fixtures that more than one test module uses.

Nothing heavy is imported at its top: the process that only deals tests out to others reads this file too.
"""

from __future__ import annotations

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads lose more to waiting for each other in models this small than they gain. Before torch is imported,
# and for the processes that tests start: float sums depend on the number of threads.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

gc.disable()  # until all is imported

# No time limit on an example, which a busy machine would break; derandomised, so that a failure comes back.
settings.register_profile("lingualign", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("lingualign")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left with one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What is imported stays: the garbage collector need not look at it in every run that a test makes."""
    gc.enable()
    gc.collect()
    gc.freeze()


FAMILIES = sorted(path.stem for path in (Path(__file__).parent / "chat_templates").glob("*.jinja"))
FamilyFolder = Callable[..., Path]
LoadFamily = Callable[..., "PreTrainedModel"]


@pytest.fixture(scope="session", autouse=True)
def same_precision_everywhere() -> Iterator[None]:
    """On CPUs with AMX, `dtype: auto` would be bfloat16. Tests that start other processes set it there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": False})
        yield


@pytest.fixture(scope="module")
def fewer_labels() -> Iterator[None]:
    """To check a reward on the lab's 300 labelled pairs takes a fifth of the time of a small run."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lingualign.pipeline.labelled.LAB_LABELS", 40)
        yield


@pytest.fixture(scope="module")
def without_report() -> Iterator[None]:
    """For runs whose report nobody opens: its charts take a quarter of the time of a small run."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lingualign.report.write_report", lambda folder: None)
        yield


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> FamilyFolder:
    """`family_folder(name, seed=0)`: folder of a tiny model, made once a test run. Do not write into it."""
    from families import make_family

    @cache
    def make(name: str, seed: int = 0) -> Path:
        return make_family(name, tmp_path_factory.mktemp(f"{name}-{seed}"), seed)

    return make


@pytest.fixture(scope="session")
def load_family(family_folder: FamilyFolder) -> LoadFamily:
    """`load_family(name, seed=0)`: a tiny model in eval mode, loaded once a test run. Do not change it."""
    from transformers import AutoModelForCausalLM

    @cache
    def load(name: str, seed: int = 0) -> PreTrainedModel:
        return AutoModelForCausalLM.from_pretrained(family_folder(name, seed)).eval()

    return load


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """The name of each family in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def family_tokenizer(family: str, family_folder: FamilyFolder) -> PreTrainedTokenizerBase:
    """The tokenizer of `family`, as loaded from its folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(family_folder(family))


@pytest.fixture(scope="session")
def family_model(family: str, load_family: LoadFamily) -> PreTrainedModel:
    """The model of `family`, as loaded from its folder, in eval mode. Do not change it."""
    return load_family(family)
