"""A LoRA adapter merged into the weights under it: a model folder that needs no adapter library."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.export.base import CONFIG_FILE
from lingualign.export.write import check_named
from lingualign.models import (
    ADAPTER_CONFIG,
    base_folder,
    is_adapter,
    load_model,
    load_tokenizer,
    no_progress_bars,
    resolve_spec,
)
from lingualign.pipeline.folder import choose_iteration

PROBE_TOKENS = 32
TOLERANCE = 1e-3  # of the largest logit: float32 is a thousand times better, another model far worse


def find_adapter(run_or_adapter: Path, iteration: int | None = None) -> Path:
    """The adapter folder that a run folder, or a model folder, stands for.

    Args:
        run_or_adapter: A run folder, or the folder of an adapter.
        iteration: Of the run; None is the last with a model.

    Raises:
        InputError: There is no such run, iteration or model, or it is no adapter but a whole model.
    """
    folder = run_or_adapter
    if (folder / CONFIG_FILE).is_file():
        number = choose_iteration(folder, "model", "trained model", iteration)
        folder = folder / f"iteration-{number}" / "model"
    elif iteration is not None:
        raise InputError(f"--iteration {iteration}: {folder} is no run folder.", "Leave --iteration away.")
    folder = resolve_spec(folder)
    if not is_adapter(folder):
        raise InputError(
            f"{folder} is a whole model, without an adapter ({ADAPTER_CONFIG}).",
            "There is nothing to merge: use the folder as it is. Only runs with training.lora make adapters.",
        )
    return folder


def adapter_chain(folder: Path) -> list[Path]:
    """An adapter and what lies under it, the whole model first: an adapter's base may be an adapter too.

    Raises:
        InputError: A base is missing, or the adapters lie on each other in a circle.
    """
    chain = [folder]
    while is_adapter(chain[0]):
        below = base_folder(chain[0])
        if below in chain:
            raise InputError(
                f"{below}: this adapter lies, in the end, on itself.",
                f"Mend base_model_name_or_path in its {ADAPTER_CONFIG}.",
            )
        chain.insert(0, below)
    return chain


def _probe(model: Any) -> Any:
    """Logits of a few tokens, to compare a model with itself."""
    import torch

    size = model.get_input_embeddings().num_embeddings
    tokens = torch.arange(PROBE_TOKENS) * max(1, size // PROBE_TOKENS) % size
    with torch.no_grad():
        return model(input_ids=tokens[None]).logits.float()


def merge(adapter: Path, output: Path, *, trust_remote_code: bool = False) -> Path:
    """Merges an adapter, and those it lies on, into the weights of the model at the bottom.

    Computed in float32 on the CPU, and rounded once, to the type in which the bottom model is stored. The
    tokenizer and chat template are those nearest to the adapter, the generation config is the bottom model's.
    The folder appears whole or not at all.

    Args:
        adapter: Folder of the adapter.
        output: Folder to write; it must not exist, or be empty.
        trust_remote_code: Run code that ships with the model.

    Returns:
        `output`.

    Raises:
        InputError: It is no adapter, a base is missing, something lies at the output, or an adapter does not
            fit its base, or is not the same once merged.
    """
    from peft import PeftModel
    from transformers import AutoConfig

    adapter = find_adapter(adapter)
    check_named(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: there is something already.", "Choose another folder.")
    bottom, *adapters = chain = adapter_chain(adapter)
    with_tokenizer = [folder for folder in chain if (folder / "tokenizer_config.json").is_file()]
    stored = AutoConfig.from_pretrained(bottom, trust_remote_code=trust_remote_code).dtype
    model: Any = load_model(bottom, device="cpu", dtype="float32", trust_remote_code=trust_remote_code)
    for folder in adapters:
        try:
            model = PeftModel.from_pretrained(model, folder).eval()
            expected = _probe(model)
            model = model.merge_and_unload(safe_merge=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{folder}: this adapter cannot be merged: {error}") from error
        # With tied embeddings, merging into the head changes the input too.
        difference = float((_probe(model) - expected).abs().max() / expected.abs().max())
        if difference > TOLERANCE:
            raise InputError(
                f"{folder}: merged into its weights, the model gives other logits, by {difference:.2g} of "
                "the largest.",
                "An adapter on weights that are used in two places, such as tied embeddings, cannot be "
                "merged: load it as an adapter.",
            )
    if stored is not None:
        model = model.to(stored)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with no_progress_bars():
            model.save_pretrained(temporary)
        source = with_tokenizer[-1] if with_tokenizer else bottom
        load_tokenizer(source, trust_remote_code=trust_remote_code).save_pretrained(temporary)
        if output.exists():
            output.rmdir()
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return output
