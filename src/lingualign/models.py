"""Model specs: from what a user writes (`lab:sft`, a folder) to a loaded model and tokenizer.

A spec names a Hugging Face folder with safetensors weights, a folder with a PEFT adapter, whose
`adapter_config.json` names its base, or one of the lab's models. Nothing is fetched and nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingualign.accidents import is_out_of_memory
from lingualign.errors import InputError
from lingualign.paths import user_path

if TYPE_CHECKING:  # both take seconds to import, and `lingualign --help` should not
    import torch
    from transformers import PreTrainedModel

LAB_PREFIX = "lab:"
CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
UNSAFE = "Other formats can run code when they are loaded; save the model again with `save_pretrained`."


def resolve_spec(spec: str | Path) -> Path:
    """Finds the folder of a model, from the names of its files alone.

    Args:
        spec: `lab:NAME`, or the path of a model or adapter folder.

    Returns:
        The folder's absolute path.

    Raises:
        InputError: There is no such folder, it holds no model, or its weights are not safetensors.
    """
    if str(spec).startswith(LAB_PREFIX):
        from lingualign.lab.models import path

        return path(str(spec).removeprefix(LAB_PREFIX)).absolute()
    folder = user_path(spec).absolute()
    if not folder.is_dir():
        raise InputError(
            f"{spec}: no such model folder.",
            "Give a Hugging Face folder or lab:NAME; a model of the Hub is first fetched with "
            "`hf download NAME --local-dir FOLDER`.",
        )
    if not (folder / CONFIG).is_file() and not is_adapter(folder):
        raise InputError(
            f"{spec}: no model in this folder; it has neither {CONFIG} nor {ADAPTER_CONFIG}.",
            "Give the folder that `save_pretrained` wrote.",
        )
    if is_adapter(folder) and not (folder / ADAPTER_WEIGHTS).is_file():
        # Without it, PEFT would take adapter_model.bin, whatever else lies there.
        raise InputError(f"{spec}: no {ADAPTER_WEIGHTS} in this folder.", UNSAFE)
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{spec}: no *.safetensors weights in this folder.", UNSAFE)
    return folder


def read_object(file: Path) -> dict[str, Any]:
    """Reads a JSON object out of a model folder, such as its `config.json`.

    Raises:
        InputError: The file is missing, or holds something else.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: malformed JSON ({error}).", "Fetch or save the model again.") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: not a JSON object.", "Fetch or save the model again.")
    return found


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter instead of a whole model."""
    return os.path.isfile(folder / ADAPTER_CONFIG)  # False also where no file can be called so


def base_folder(folder: Path) -> Path:
    """Folder of the model under an adapter; the folder itself where it holds a whole model.

    Raises:
        InputError: The adapter names no base, or one that is not there.
    """
    if not is_adapter(folder):
        return folder
    base = read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise InputError(f"{folder / ADAPTER_CONFIG}: base_model_name_or_path is not set.")
    try:
        return resolve_spec(base)
    except InputError as error:
        raise InputError(
            f"{folder}: the base model of this adapter is missing: {error.message}",
            f"Mend base_model_name_or_path in its {ADAPTER_CONFIG}.",
        ) from error


def resolve_device(device: str = "auto") -> torch.device:
    """The device to compute on; `auto` is CUDA if there is one, else the CPU.

    Raises:
        InputError: torch knows no such device, or it is not there.
    """
    import torch

    cuda = torch.cuda.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise InputError(f"device: {device!r} is not a device.", "Give auto, cpu, cuda or cuda:N.") from None
    if found.type == "cuda" and (not cuda or (found.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"device: {device} is not available here.", "Give device=auto or device=cpu.")
    return found


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The type of the weights; `auto` is bfloat16 where there are units for its products, else float32.

    These are a GPU's tensor cores, and a CPU's AMX.
    """
    import torch

    if dtype == "auto":
        dtype = "bfloat16" if _multiplies_bfloat16(device) else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]


def _multiplies_bfloat16(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def load_model(
    spec: str | Path, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False
) -> PreTrainedModel:
    """Loads a causal language model in eval mode.

    Args:
        spec: See `resolve_spec`. With an adapter folder the result is a `PeftModel` on its base.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        dtype: `auto`, `float32` or `bfloat16`.
        trust_remote_code: Run code that ships with the model.

    Returns:
        The model on its device. Its type is what Transformers makes of the folder.

    Raises:
        InputError: The spec or device is wrong, or Transformers cannot load the folder.

    Example:
        >>> load_model("lab:aligned", dtype="float32").config.model_type
        'llama'
    """
    from transformers import AutoModelForCausalLM

    folder = resolve_spec(spec)
    place = resolve_device(device)
    options = {
        "dtype": resolve_dtype(dtype, place),
        "trust_remote_code": trust_remote_code,
        "use_safetensors": True,
    }
    model = _load(AutoModelForCausalLM, base_folder(folder), **options)
    if is_adapter(folder):
        from peft import PeftModel

        try:
            model = PeftModel.from_pretrained(model, folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{folder}: the adapter cannot be loaded: {error}") from error
    return model.to(place).eval()


def load_tokenizer(spec: str | Path, *, trust_remote_code: bool = False) -> Any:
    """Loads a model's tokenizer; an adapter folder without one has its base's.

    Args:
        spec: See `resolve_spec`.
        trust_remote_code: Run code that ships with the tokenizer.

    Returns:
        The tokenizer, as Transformers loads it.

    Raises:
        InputError: The spec is wrong, or there is no tokenizer.

    Example:
        >>> chat = ChatFormat(load_tokenizer("lab:aligned"))
    """
    from transformers import AutoTokenizer

    folder = resolve_spec(spec)
    if not (folder / "tokenizer_config.json").is_file():
        folder = base_folder(folder)
    return _load(AutoTokenizer, folder, trust_remote_code=trust_remote_code)


def parameters_in(file: Path) -> int:
    """Parameters in a safetensors file, from its header, which also says how long the file has to be.

    Raises:
        InputError: The file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as tensors:
            return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file}: not a readable safetensors file, so the weights cannot be read ({error}).",
            "Fetch or save the model again: it may be damaged, half a download, or a pointer of Git LFS.",
        ) from None


def check_compatible(policy: str | Path, reference: str | Path, *, trust_remote_code: bool = False) -> None:
    """Checks that two models give their log-probabilities to the same tokens, without loading weights.

    The number of rows of the embedding may differ: it is often padded.

    Raises:
        InputError: The vocabularies differ; the message names both models and a token.
    """
    ours = load_tokenizer(policy, trust_remote_code=trust_remote_code).get_vocab()
    theirs = load_tokenizer(reference, trust_remote_code=trust_remote_code).get_vocab()
    differing = [token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)]
    if differing:
        example = min(differing, key=lambda token: (ours.get(token, len(ours)), token))
        raise InputError(
            f"policy {policy} ({len(ours)} tokens) and reference {reference} ({len(theirs)} tokens) have "
            f"different vocabularies: {len(differing)} tokens differ, {example!r} for one.",
            "The implicit reward compares two models token by token: as reference, give the model that the "
            "policy was tuned from.",
        )


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keeps Transformers from drawing its bars, one for every model it loads or saves."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _load(auto_class: Any, folder: Path, **options: Any) -> Any:
    """`from_pretrained` of a local folder, its many errors as one."""
    try:
        with no_progress_bars():
            return auto_class.from_pretrained(folder, local_files_only=True, **options)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # of many types, depending on what is wrong with which file; tokenizers' are bare
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"{folder}: Transformers cannot load this folder: {error}",
            "Check that its files are complete; a model with its own code needs trust_remote_code=true.",
        ) from error
