"""The translator of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.models import load_tokenizer, read_object, resolve_spec
from lingualign.paths import user_path
from lingualign.pipeline.bench import Bench, Workbench
from lingualign.pipeline.inputs import prompts_from_lab
from lingualign.pipeline.progress import Task
from lingualign.prompts import ChatFormat
from lingualign.translation import (
    ExactTranslator,
    FileTranslator,
    Likelihood,
    MaskingTranslator,
    ServerTranslator,
    StoredTranslator,
    Translator,
)
from lingualign.translation.template import TAGGED, Template

if TYPE_CHECKING:
    from lingualign.pairs.sources import Translate
    from lingualign.translation.policy import PolicyTranslator
    from lingualign.translation.seq2seq import Seq2SeqTranslator


def check_translation(config: RunConfig, needed: bool = True) -> None:
    """Checks the translator's settings, without loading a model.

    Args:
        config: Of the run.
        needed: Whether anything will be translated.

    Raises:
        InputError: Something is missing, not there, or of the wrong kind.
    """
    settings = config.translation
    if not needed and settings.kind in ("none", "lab"):
        return
    if settings.kind == "none":
        raise InputError(
            f"pairs.kind={config.pairs.kind} translates responses, and translation.kind is none.",
            "Choose a translator: policy, model, server or file; `lab` for prompts of the lab.",
        )
    if settings.kind == "lab" and not prompts_from_lab(config):
        raise InputError(
            "translation.kind is lab, and the prompts are not the lab's: its translator cannot read them.",
            "Choose another translator: policy, model, server or file.",
        )
    if settings.kind == "policy" and settings.model is not None:
        resolve_spec(settings.model)
    if settings.kind == "model":
        _check_seq2seq(resolve_spec(str(settings.model)))
    if settings.kind == "file":
        path = user_path(str(settings.path))
        if not path.is_file():
            raise InputError(f"translation.path: {settings.path}: no such file.")
        FileTranslator(path)  # reads all of it
    if settings.template is not None:
        Template(settings.template)


def _check_seq2seq(folder: Path) -> None:
    """Refuses a folder whose model is of no type that `load_seq2seq` can load."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    kind = read_object(folder / "config.json").get("model_type")
    if kind not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(
            f"translation.model: {folder}: a model of type {kind} is no encoder-decoder model.",
            "Give the folder of an M2M-100 or NLLB model; for a causal one, translation.kind=policy.",
        )


def make_translator(bench: Workbench, policy: Path) -> Translator:
    """Makes the translator that the configuration names.

    Args:
        bench: The tools.
        policy: Folder of the policy of the iteration, which translates itself unless another model is named.

    Raises:
        InputError: There is none, among others.
    """
    settings = bench.config.translation
    if settings.kind == "lab":
        return ExactTranslator()
    if settings.kind == "file":
        return FileTranslator(user_path(str(settings.path)))
    inner = _server(bench) if settings.kind == "server" else _model(bench, policy)
    return MaskingTranslator(inner) if settings.mask else inner


def make_likelihood(bench: Workbench, policy: Path) -> Likelihood:
    """The translator as one that says how likely a translation is; placeholders would blur that.

    Raises:
        InputError: The one that is configured cannot say.
    """
    return _model(bench, policy)


def _model(bench: Workbench, policy: Path) -> PolicyTranslator | Seq2SeqTranslator:
    """A translator that computes with a model here."""
    from lingualign.translation.policy import PolicyTranslator
    from lingualign.translation.seq2seq import Seq2SeqTranslator, load_seq2seq

    config, settings = bench.config, bench.config.translation
    if settings.kind == "model":
        folder = resolve_spec(str(settings.model))
        model = load_seq2seq(folder, device=config.device, dtype=config.dtype)
        return Seq2SeqTranslator(model, load_tokenizer(folder), settings.batch_tokens)
    if settings.kind != "policy":
        raise InputError(
            f"translation.kind is {settings.kind}: no model here translates.", "Choose policy or model."
        )
    folder, chat = policy, bench.chat
    if settings.model is not None:
        folder = resolve_spec(settings.model)
        tokenizer = load_tokenizer(folder, trust_remote_code=config.trust_remote_code)
        chat = ChatFormat(tokenizer, config.base_model_prompts)
    return PolicyTranslator(
        bench.models.get(folder),
        chat,
        template=settings.template or TAGGED,
        max_new_tokens=settings.max_new_tokens,
        batch_tokens=settings.batch_tokens,
    )


def _server(bench: Workbench) -> ServerTranslator:
    settings = bench.config.translation
    return ServerTranslator(
        str(settings.url),
        str(settings.model),
        template=settings.template or TAGGED,
        api_key_env=settings.api_key_env,
        max_new_tokens=settings.max_new_tokens,
    )


def kept_translations(bench: Bench, policy: Path, folder: Path, task: Task) -> Translate:
    """The run's translator, which keeps what it has translated in a folder: a killed run goes on from
    there."""
    made: list[StoredTranslator] = []  # once something is to be translated

    def translate(texts: Sequence[str], source: str, target: str) -> list[str | None]:
        if not made:
            made.append(StoredTranslator(make_translator(bench, policy), folder, progress=task.update))
        return made[0].translate(texts, source, target)

    return translate
