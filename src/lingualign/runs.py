"""Runs from Python: a run folder opened to be read, and the measuring of a model that any tool trained.

`Run` reads what is in the folder and writes nothing. Tables come as `datasets.Dataset`, in memory, with the
columns of `lingualign.records`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.paths import user_path
from lingualign.pipeline.files import read_json
from lingualign.pipeline.folder import iterations_with, read_parts
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.progress import Reporter, Silent
from lingualign.records import PAIRS, RESPONSES, SCORES
from lingualign.settings import load_config

if TYPE_CHECKING:
    from datasets import Dataset

ITERATION = "iteration-"


class Run:
    """A run folder, opened to be read; the run may be finished, stopped or under way.

    Methods that take an iteration count from 1; without a number they mean the last one that has what is
    asked for.

    Args:
        folder: Of the run, as `lingualign align` made it.

    Raises:
        InputError: There is no run in the folder.

    Example:
        >>> run = Run("runs/icr")
        >>> run.measures["verdict"]["ship"]
        True
        >>> run.pairs().to_json("pairs.jsonl")
        >>> AutoModelForCausalLM.from_pretrained(run.model())
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = user_path(folder)
        if not (self.folder / "config.yaml").is_file() or not (self.folder / "manifest.json").is_file():
            raise InputError(
                f"{self.folder}: no run in this folder; a run has a config.yaml and a manifest.json.",
                "Give the folder that `lingualign align` wrote to: output=, or runs/<recipe>.",
            )

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @cached_property
    def config(self) -> RunConfig:
        """All settings of the run; `align(run.config)` goes on with it where it was stopped.

        Raises:
            InputError: They are not settings of this version.
        """
        config = load_config(str(self.folder / "config.yaml"), [])
        return config.model_copy(update={"output": self.folder})  # the folder may have been moved

    @cached_property
    def manifest(self) -> Manifest:
        """Stages with their fingerprints, times and status; versions of packages; the seed."""
        return Manifest.read(self.folder / "manifest.json")

    @cached_property
    def measures(self) -> dict[str, Any]:
        """The content of `measures.json`; docs/measures.md explains it.

        Raises:
            InputError: The run has not got that far.
        """
        found: dict[str, Any] = read_json(self._existing(self.folder / "measures.json"))
        return found

    @property
    def iterations(self) -> list[int]:
        """The iterations that have been trained to their end."""
        return iterations_with(self.folder, "model")

    def model(self, iteration: int | None = None) -> Path:
        """The folder of the trained model, or of the adapter where one was trained.

        Args:
            iteration: Of which. Unset: the last trained.

        Raises:
            InputError: It is not there (yet).
        """
        return self._path("model", iteration)

    def responses(self, iteration: int | None = None) -> Dataset:
        """The sampled candidates: `prompt_id`, `language`, `index`, `text`, `finish_reason`, `num_tokens`.

        Args:
            iteration: Of which. Unset: the last that has any.

        Raises:
            InputError: There are none: not yet, or the recipe samples nothing.
        """
        return _dataset(self._path("responses", iteration), RESPONSES)

    def scores(self, iteration: int | None = None) -> Dataset:
        """Their rewards: `prompt_id`, `language`, `index`, `reward`, `components`.

        Args:
            iteration: Of which. Unset: the last that has any.

        Raises:
            InputError: There are none: not yet, or the recipe scores nothing.
        """
        return _dataset(self._path("scores", iteration), SCORES)

    def pairs(self, iteration: int | None = None) -> Dataset:
        """The preference pairs, in TRL's conversational format: DPOTrainer takes them as they are.

        Args:
            iteration: Of which. Unset: the last that has any.

        Raises:
            InputError: There are none yet.
        """
        return _dataset(self._path("pairs.parquet", iteration), PAIRS)

    def answers(self, iteration: int, decoding: str = "sampled") -> Dataset:
        """Answers to the held-out prompts; columns as of `responses`.

        Args:
            iteration: Of the policy after it; 0 is the policy that the run started from.
            decoding: `sampled`, at `measures.temperature`, or `greedy`.

        Raises:
            InputError: There are none (yet).
        """
        folder = self.folder / "measures" / f"{ITERATION}{iteration}" / decoding
        return _dataset(self._existing(folder), RESPONSES)

    def health(self, iteration: int | None = None) -> dict[str, Any]:
        """Whether the reward can be trusted, by language: agreement, spread, noise, warnings, ...

        Args:
            iteration: Of which. Unset: the last that was examined.

        Raises:
            InputError: It was not examined: not yet, or the recipe scores nothing.
        """
        found: dict[str, Any] = read_json(self._path("health.json", iteration))
        return found

    def training(self, iteration: int | None = None) -> list[dict[str, float]]:
        """What was logged of each optimiser step: `step`, `loss`, `learning_rate`, `margin`, `accuracy`, ...

        Args:
            iteration: Of which. Unset: the last trained.

        Raises:
            InputError: It has not been trained yet.
        """
        steps: list[dict[str, float]] = read_json(self._path("training.json", iteration))["steps"]
        return steps

    def _path(self, name: str, iteration: int | None) -> Path:
        """What an iteration has under a name; of the last iteration that has it, where none is given."""
        if iteration is None:
            iteration = max(iterations_with(self.folder, name), default=1)
        return self._existing(self.folder / f"{ITERATION}{iteration}" / name)

    def _existing(self, path: Path) -> Path:
        if not path.exists():
            raise InputError(
                f"{path}: the run has no such file; it has trained {len(self.iterations)} iterations.",
                f"Go on with it: lingualign align {self.folder / 'config.yaml'}",
            )
        return path


def measure(
    config: RunConfig, model: str | Path, output: str | Path, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Measures a model against the policy of a configuration on held-out prompts, sampled and greedy.

    What `align` does after each iteration, for a model that any tool has trained. Stopped and called again,
    it goes on where it was.

    Args:
        config: Says the policy to compare with, the prompts, the languages and the judge (`measures`);
            `load_config` makes one.
        model: Folder of the model, or `lab:NAME`.
        output: Folder for answers, judgements and `measures.json`.
        reporter: Who is told of progress. Default: nobody.

    Returns:
        The content of `measures.json`, the model as iteration 1.

    Raises:
        InputError: Something is wrong with the settings, the models, the prompts or the output folder.

    Example:
        >>> config = load_config("icr", ["policy=./my-model", "reference=./my-sft", "prompts=./prompts"])
        >>> measures = measure(config, "./trained-elsewhere", "work/measured")
        >>> measures["iterations"][0]["greedy"]["target_win_rate"]["mean"]
    """
    from lingualign.pipeline import single

    return single.measure(config, Path(model), Path(output), reporter or Silent())


def _dataset(path: Path, schema: pa.Schema) -> Dataset:
    """A table, or a folder of part files, as a data set in memory."""
    from datasets import Dataset, Features

    return Dataset.from_list(read_parts(path, schema), features=Features.from_arrow_schema(schema))
