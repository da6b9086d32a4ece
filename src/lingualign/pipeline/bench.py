"""What the stages work with: the open run folder, the chat format, and models loaded when first needed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.config import RunConfig
from lingualign.models import base_folder, is_adapter, load_model, load_tokenizer
from lingualign.pipeline.folder import RunFolder, open_run_folder
from lingualign.pipeline.inputs import directive_template
from lingualign.pipeline.progress import Reporter
from lingualign.pipeline.ray_cluster import cluster
from lingualign.prompts import ChatFormat
from lingualign.settings import dump_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lingualign.pipeline.validate import CheckedRun
    from lingualign.sampling import VllmEngine


def free_memory() -> None:
    """Gives back the memory of models that nobody names any more, on the GPU to other processes too.

    Half a second where all libraries are loaded: for after a training or a model, not for every step.
    """
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()


class LoadedModels:
    """Models by folder, each loaded once and only when a stage really computes with it.

    vLLM's engine takes most of a GPU, so there is either an engine or models: each makes the other go.

    Args:
        config: Says on which device, in which type, and whether models may bring code.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._loaded: dict[Path, PreTrainedModel] = {}
        self._engine: VllmEngine | None = None

    def get(self, folder: Path) -> PreTrainedModel:
        """The model of a folder, in eval mode."""
        if folder not in self._loaded:
            self._close_engine()
            self._loaded[folder] = load_model(
                str(folder),
                device=self._config.device,
                dtype=self._config.dtype,
                trust_remote_code=self._config.trust_remote_code,
            )
        return self._loaded[folder]

    def engine(self, policy: Path) -> VllmEngine:
        """vLLM's engine with a policy: the one there is, if the policy is its model or an adapter on it."""
        if self._engine is None or not self._engine.takes(policy):
            from lingualign.sampling.vllm_backend import VllmEngine, adapter_rank

            self.keep()
            vllm, lora = self._config.sampling.vllm, self._config.training.lora
            # The adapters of later iterations have the rank of the first, or of the one that they go on with.
            trained = lora.r if lora is not None and not is_adapter(policy) else 0
            self._engine = VllmEngine(
                base_folder(policy),
                lora_rank=max(trained, adapter_rank(policy)),
                dtype=self._config.dtype,
                tensor_parallel=vllm.tensor_parallel,
                memory=vllm.memory,
                max_model_len=vllm.max_model_len,
                trust_remote_code=self._config.trust_remote_code,
                options=vllm.options,
            )
        return self._engine

    def keep(self, *folders: Path) -> None:
        """Frees the memory of all models but these, and of vLLM's engine."""
        if self._engine is None and self._loaded.keys() <= set(folders):
            return
        self._close_engine()
        self._loaded = {folder: model for folder, model in self._loaded.items() if folder in folders}
        free_memory()

    def _close_engine(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


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
        with nullcontext() if len(checked.done) == len(checked.plan.fingerprints) else cluster(config):
            yield Bench(config, folder, checked.chat)
