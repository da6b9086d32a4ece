"""The Language Confusion Benchmark on responses from a file, or on a model's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lingualign.errors import InputError
from lingualign.identifiers import make_identifier
from lingualign.languages import resolve
from lingualign.measures.language.confusion_benchmark import read_completions, read_test_sets
from lingualign.measures.language.confusion_tokens import read_english_words
from lingualign.measures.language.language_confusion import Completion, measure_language_confusion
from lingualign.pipeline.progress import Reporter

# The paper's decoding (Marchisio et al. 2024, section 4).
TEMPERATURE, TOP_P, MAX_NEW_TOKENS = 0.3, 0.75, 100
BATCH_TOKENS = 32768


def measure_confusion(
    completions: Path | None,
    model: str | None,
    test_sets: Path | None,
    task: str,
    languages: Sequence[str] | None,
    limit: int | None,
    identifier: str,
    words: Path | None,
    tokenizer: Literal["regex", "peer"],
    reporter: Reporter,
) -> dict[str, Any]:
    """Measures language confusion; see `lingualign.measures.language.language_confusion`.

    Args:
        completions: File of responses, or
        model: spec of the model that answers, and
        test_sets: the benchmark's zip.
        task: monolingual or crosslingual.
        languages: Which; None: all.
        limit: First prompts of each test set.
        identifier: Name of the language identifier. Lines that the default one cannot tell do not count;
            under the others they are wrong, as in the benchmark.
        words: File of English words.
        tokenizer: Of Chinese and Japanese.
        reporter: Who is told of progress.

    Raises:
        InputError: A file is wrong, nothing is left to measure, or a package is missing.
    """
    wanted = None if languages is None else {resolve(code).code for code in languages}
    english = None if words is None else read_english_words(words)
    if completions is not None:
        found = read_completions(completions, task)
    else:
        assert model is not None and test_sets is not None
        found = _answer(model, test_sets, task, wanted, limit, reporter)
    found = [each for each in found if wanted is None or each.language in wanted]
    if not found:
        raise InputError("There are no responses in these languages.", "Check --languages and --task.")
    codes = sorted({each.language for each in found})
    measured = measure_language_confusion(
        found,
        make_identifier(identifier, codes),
        english,
        tokenizer,
        undecided="skip" if identifier == "lingualign" else "wrong",
    )
    return {
        "task": task,
        "identifier": identifier,
        "model": model,
        "completions": None if completions is None else str(completions),
        **measured.as_dict(),
    }


def _answer(
    spec: str, test_sets: Path, task: str, wanted: set[str] | None, limit: int | None, reporter: Reporter
) -> list[Completion]:
    """A model's responses to the benchmark's prompts."""
    from lingualign.models import load_model, load_tokenizer
    from lingualign.prompts import ChatFormat
    from lingualign.sampling import TransformersSampler

    asked = {
        (source, language): prompts[:limit]
        for (source, own, language), prompts in read_test_sets(test_sets).items()
        if own == task and (wanted is None or language in wanted)
    }
    sampler = TransformersSampler(load_model(spec), ChatFormat(load_tokenizer(spec)), BATCH_TOKENS)
    found = []
    with reporter.stage("responses", sum(map(len, asked.values())), unit="prompts") as progress:
        for (source, language), prompts in asked.items():
            answers = sampler.sample(
                prompts, n=1, temperature=TEMPERATURE, top_p=TOP_P, max_new_tokens=MAX_NEW_TOKENS, seed=0
            )
            found += [
                Completion(source=source, language=language, text=response["text"], prompt_id=prompt.id)
                for prompt, (response,) in zip(prompts, answers, strict=True)
            ]
            progress.update(len(found))
    return found
