"""What the stages work with: the open run folder, the chat format, and models loaded when first needed."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.config import RunConfig
from lingualign.models import load_model, load_tokenizer
from lingualign.pipeline.folder import RunFolder, open_run_folder
from lingualign.pipeline.inputs import directive_template
from lingualign.pipeline.progress import Reporter
from lingualign.prompts import ChatFormat
from lingualign.settings import dump_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lingualign.pipeline.validate import CheckedRun


class LoadedModels:
    """Models by folder, each loaded once and only when a stage really computes with it.

    Args:
        config: Says on which device, in which type, and whether models may bring code.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._loaded: dict[Path, PreTrainedModel] = {}

    def get(self, folder: Path) -> PreTrainedModel:
        """The model of a folder, in eval mode."""
        if folder not in self._loaded:
            self._loaded[folder] = load_model(
                str(folder),
                device=self._config.device,
                dtype=self._config.dtype,
                trust_remote_code=self._config.trust_remote_code,
            )
        return self._loaded[folder]

    def keep(self, *folders: Path) -> None:
        """Frees the memory of all models but these."""
        for folder in list(self._loaded):
            if folder not in folders:
                del self._loaded[folder]
        gc.collect()


class Workbench:
    """What computing needs, in any process: models, and nothing of the run folder.

    Attributes:
        config: Of the run.
        chat: Chat format of the policy.
        models: Loaded models.
        directive: Template of the language directive that the policy understands.

    Args:
        config: Of the run.
        chat: Chat format of the policy; read from its folder if it is not given.
    """

    def __init__(self, config: RunConfig, chat: ChatFormat | None = None) -> None:
        self.config = config
        self.chat = chat or ChatFormat(
            load_tokenizer(config.policy, trust_remote_code=config.trust_remote_code),
            config.base_model_prompts,
        )
        self.models = LoadedModels(config)
        self.directive = directive_template(config)


class Bench(Workbench):
    """The tools of a stage, in the process of the run.

    Attributes:
        folder: The open run folder; it skips and resumes stages.

    Args:
        config: Of the run.
        folder: The open run folder.
        chat: Chat format of the policy.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, chat: ChatFormat) -> None:
        super().__init__(config, chat)
        self.folder = folder


@contextmanager
def open_bench(checked: CheckedRun, reporter: Reporter, shared_with: Sequence[Path] = ()) -> Iterator[Bench]:
    """Opens the run folder of a checked run, and removes its damaged files, to be made again.

    Args:
        checked: The run.
        reporter: Who is told of the stages.
        shared_with: Folders of other runs, whose finished stages are taken over where they are the same.

    Raises:
        InputError: Another run is writing into the folder.
    """
    config = checked.config
    with open_run_folder(
        config.run_folder, dump_config(config), config.seed, checked.model_hashes, reporter, shared_with
    ) as folder:
        for path in checked.corrupt:
            reporter.warn(f"{path} is damaged and will be made again.")
            folder.discard(path)
        yield Bench(config, folder, checked.chat)
