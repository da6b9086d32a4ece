"""What bfloat16 does to ICR's rewards: the lab's models in both types, on the same responses.

    python experiments/precision.py > experiments/results/precision.md
    python experiments/precision.py --prompts 10    # a quick look

Responses are sampled once, in float32. Each type scores them under ICR's context; the softmax and all sums
are in float32 either way. What counts is whether the same pairs come out: a reward is the difference of two
sums over tokens, and rounding errs on both.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from lingualign.config import RunConfig
from lingualign.lab.prompts import prompts as lab_prompts
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat
from lingualign.rewards.base import Candidates
from lingualign.rewards.implicit import ImplicitReward
from lingualign.sampling import TransformersSampler
from lingualign.settings import load_config

TYPES = ("float32", "bfloat16")


def sample(config: RunConfig, chat: ChatFormat, count: int) -> dict[str, list[Candidates]]:
    """Candidates in each language, from the aligned model."""
    prompts = lab_prompts("heldout", count, config.languages).by_language
    sampling = config.sampling
    sampler = TransformersSampler(
        load_model(config.policy, device="cpu", dtype="float32"), chat, sampling.batch_tokens
    )
    found = {}
    for language, own in prompts.items():
        responses = sampler.sample(
            own,
            n=sampling.n,
            temperature=sampling.temperature,
            max_new_tokens=sampling.max_new_tokens,
            seed=config.seed,
        )
        sources = prompts[config.source_language]
        found[language] = [Candidates(*item) for item in zip(own, sources, responses, strict=True)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=200, help="held-out prompts a language")
    count = parser.parse_args().prompts
    config = load_config(None, [])
    chat = ChatFormat(load_tokenizer(config.policy))
    candidates = sample(config, chat, count)
    rewards: dict[str, dict[str, np.ndarray]] = {}
    seconds = {}
    for dtype in TYPES:
        policy, reference = (
            load_model(spec, device="cpu", dtype=dtype) for spec in (config.policy, config.reference)
        )
        reward = ImplicitReward(policy, reference, chat, config.reward.context)
        reward.score(candidates["en"][:2])  # warms up
        start = time.perf_counter()
        scored = {language: reward.score(own) for language, own in candidates.items()}
        seconds[dtype] = time.perf_counter() - start
        rewards[dtype] = {
            language: np.array([[score["reward"] for score in row] for row in rows])
            for language, rows in scored.items()
        }
    print(
        f"# ICR's rewards in bfloat16\n\n`{config.policy}` against `{config.reference}`, {count} held-out "
        f"prompts a language with {config.sampling.n} responses\neach at T={config.sampling.temperature}. "
        "Spread: of the rewards of a prompt, standard deviation in nats; error: of the\nbfloat16 rewards "
        "around the float32 ones, likewise, less what the responses to a prompt share.\n"
    )
    print("| language | spread | error | same best | same worst | same order of best and worst |")
    print("|---|--:|--:|--:|--:|--:|")
    for language in candidates:
        exact, rounded = (rewards[dtype][language] for dtype in TYPES)
        rows = np.arange(len(exact))
        best, worst = rounded.argmax(1), rounded.argmin(1)
        error = (rounded - exact).std(1).mean()
        print(
            f"| {language} | {exact.std(1).mean():.2f} | {error:.2f} "
            f"| {np.mean(best == exact.argmax(1)):.0%} | {np.mean(worst == exact.argmin(1)):.0%} "
            f"| {np.mean(exact[rows, best] > exact[rows, worst]):.1%} |"
        )
    print(f"\nSeconds: {', '.join(f'{dtype} {taken:.1f}' for dtype, taken in seconds.items())}.")


if __name__ == "__main__":
    main()
