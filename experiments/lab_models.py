"""What the lab's models are worth, and whether the aligned one's implicit reward can be trusted.

    python experiments/lab_models.py [--models FOLDER] [--prompts 200] > experiments/results/lab_models.md

For each model, by language, on held-out prompts: mean gold reward, traits, share of the right language, and
the win rate against the SFT model (ties half, bootstrap 95 % intervals). Then the implicit reward's accuracy:
of the pairs of responses that the aligned model samples (temperature 0.9) and that differ in gold reward, the
share that its log-ratio to the SFT model ranks right, under the English instruction with the directive.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import lingualign.lab as lab
from lingualign.lab.grammar import LANGUAGES
from lingualign.lab.judge import Judgement, judge
from lingualign.lab.prompts import prompts
from lingualign.logprobs import ScoredSequence, sequence_logprobs
from lingualign.measures.intervals import bootstrap
from lingualign.measures.win_rate import outcome
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat, ParallelPrompts, with_directive
from lingualign.records import Response
from lingualign.sampling import TransformersSampler

DECODINGS = {"T=0.6": 0.6, "greedy": 0.0}


def sample(
    folder: Path | str, asked: ParallelPrompts, temperature: float, n: int, seed: int
) -> dict[str, list[list[Response]]]:
    """Responses of a model, by language, in the order of the prompts."""
    sampler = TransformersSampler(load_model(folder, dtype="float32"), ChatFormat(load_tokenizer(folder)))
    return {
        language: sampler.sample(rows, n=n, temperature=temperature, max_new_tokens=128, seed=seed)
        for language, rows in asked.by_language.items()
    }


def judged(responses: dict[str, list[list[Response]]]) -> dict[str, list[list[Judgement]]]:
    """The judge's word on each response."""
    return {
        language: [[judge(row["prompt_id"], language, row["text"]) for row in rows] for rows in answers]
        for language, answers in responses.items()
    }


def quality_table(models: dict[str, Path | str], n: int, seed: int) -> str:
    """Gold, traits and win rates of each model."""
    asked = prompts("heldout", n, LANGUAGES)
    traits = (
        "right",
        "complete",
        "worked",
        "numbered",
        "courteous",
        "concise",
        "focused",
        "confident",
        "language",
    )
    lines = [f"| decoding | model | language | gold | wins against sft | {' | '.join(traits)} | characters |"]
    lines.append("|" + "---|" * (6 + len(traits)))
    for decoding, temperature in DECODINGS.items():
        base: dict[str, list[list[Judgement]]] = {}
        base_responses: dict[str, list[list[Response]]] = {}
        for name, folder in models.items():
            responses = sample(folder, asked, temperature, 1, seed)
            words = judged(responses)
            base, base_responses = base or words, base_responses or responses
            outcomes = {
                language: [
                    outcome(a.reward, b.reward, answer["text"], other["text"])
                    for (a,), (b,), (answer,), (other,) in zip(
                        words[language],
                        base[language],
                        responses[language],
                        base_responses[language],
                        strict=True,
                    )
                ]
                for language in LANGUAGES
            }
            rates = bootstrap(outcomes, 1000, seed)
            for language in LANGUAGES:
                found = [row[0] for row in words[language]]
                shares = []
                for trait in traits:
                    values = [j.traits[trait] for j in found if j.traits[trait] is not None]
                    shares.append(f"{sum(values) / len(values):.2f}")  # type: ignore[arg-type]
                rate = rates[language]
                wins = (
                    ""
                    if name == "sft"
                    else f"{100 * rate.mean:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
                )
                gold = sum(j.reward for j in found) / len(found)
                length = sum(len(rows[0]["text"]) for rows in responses[language]) / len(found)
                lines.append(
                    f"| {decoding} | {name} | {language} | {gold:.3f} | {wins} | {' | '.join(shares)} "
                    f"| {length:.0f} |"
                )
    return "\n".join(lines)


def reward_table(aligned: Path | str, sft: Path | str, n: int, k: int, seed: int) -> str:
    """Accuracy of the implicit reward on the aligned model's own samples."""
    asked = prompts("train", n, LANGUAGES)
    responses = sample(aligned, asked, 0.9, k, seed)
    chat = ChatFormat(load_tokenizer(aligned))
    models = [load_model(spec, dtype="float32") for spec in (aligned, sft)]
    lines = ["| language | pairs that differ in gold | ranked right (%) |", "|---|---|---|"]
    for language in LANGUAGES:
        sequences = []
        for prompt, rows in zip(asked.by_language["en"], responses[language], strict=True):
            context = chat.prompt_ids(with_directive(prompt.messages, language, "en", lab.DIRECTIVE))
            sequences += [
                ScoredSequence(context, chat.response_ids(row["text"], row["finish_reason"] == "stop"))
                for row in rows
            ]
        policy, reference = (sequence_logprobs(model, sequences, 16384) for model in models)
        rewards = (policy - reference).reshape(n, k)
        right = count = 0
        for i, rows in enumerate(responses[language]):
            gold = [judge(row["prompt_id"], language, row["text"]).reward for row in rows]
            for a, b in combinations(range(k), 2):
                if abs(gold[a] - gold[b]) > 1e-9:
                    count += 1
                    right += (rewards[i][a] > rewards[i][b]) == (gold[a] > gold[b])
        lines.append(f"| {language} | {count} | {100 * right / count:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, help="folder of built models (default: those of the package)")
    parser.add_argument("--prompts", type=int, default=200, help="held-out prompts a language")
    parser.add_argument(
        "--reward-prompts", type=int, default=100, help="prompts a language for the reward's accuracy"
    )
    parser.add_argument("--names", nargs="+", default=["sft", "aligned", "biased"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    models: dict[str, Path | str] = {
        name: options.models / name if options.models else f"lab:{name}" for name in options.names
    }
    print(f"# The lab's models\n\n{options.prompts} held-out prompts a language, seed {options.seed}.\n")
    print(quality_table(models, options.prompts, options.seed))
    print(
        f"\n## Accuracy of the implicit reward\n\n{options.reward_prompts} prompts a language, "
        "8 responses each.\n"
    )
    print(reward_table(models["aligned"], models["sft"], options.reward_prompts, 8, options.seed))


if __name__ == "__main__":
    main()
