"""Judges at work on pairs of answers: preferences, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingualign.config import MeasuresConfig, RunConfig
from lingualign.errors import InputError
from lingualign.identifiers import make_identifier
from lingualign.judges import Judgement, Pair
from lingualign.measures.answers.alpaca_files import Annotation, read_annotations
from lingualign.measures.answers.compare import Reader
from lingualign.measures.answers.files import Match
from lingualign.measures.judges import LABELS
from lingualign.measures.win_rate import outcome
from lingualign.paths import user_path
from lingualign.pipeline.progress import Reporter

if TYPE_CHECKING:
    from lingualign.records import Response, Score
    from lingualign.rewards import Candidates, Reward

Judged = dict[str, list[Judgement]]

JUDGE_CACHE = "judge_cache.jsonl"  # what a judge behind a server has answered


def make_reader(config: RunConfig, languages: Sequence[str]) -> Reader:
    """How texts are looked at, by the settings of a run.

    Raises:
        InputError: A package or a file that they name is missing.
    """
    from lingualign.measures.language.confusion_tokens import read_english_words

    measures = config.measures
    words, tokenizer = measures.english_words, None
    if measures.length_unit == "tokens":
        from lingualign.models import load_tokenizer

        tokenizer = load_tokenizer(config.policy, trust_remote_code=config.trust_remote_code)
    return Reader(
        make_identifier(measures.identifier, languages),
        None if words is None else read_english_words(user_path(words)),
        measures.length_unit,
        tokenizer,
    )


def check_judge(config: RunConfig, kind: str) -> None:
    """Checks that the judge of a run can be made, without asking or loading it.

    Raises:
        InputError: A folder, an address, a key or a template is missing or wrong.
    """
    if kind == "reward-model":
        from lingualign.rewards.reward_model import check_reward_model

        check_reward_model(_judge_folder(config), "measures.reward_model")
    elif kind == "server":
        server_judge(config.measures, None, lambda done, total: None)


def server_judge(measures: MeasuresConfig, cache: Path | None, progress: Callable[[int, int], None]) -> Any:
    """The judge of `measures.server`.

    Args:
        measures: Says which one.
        cache: File of answers, to resume from.
        progress: Called with the requests done, and of how many.

    Raises:
        InputError: An address, a key or a template cannot be used.
    """
    from lingualign.judges import ServerPairwiseJudge
    from lingualign.servers.chat import ChatServer

    server = measures.server
    return ServerPairwiseJudge(
        ChatServer(
            str(server.url),
            str(server.model),
            api_key_env=server.api_key_env,
            concurrency=server.concurrency,
            retries=server.retries,
            timeout=server.timeout,
        ),
        template=user_path(server.template) if server.template else None,
        same_language=server.same_language,
        both_orders=server.both_orders,
        logprobs=server.logprobs,
        cache=cache,
        progress=progress,
    )


class PreferenceOverStart:
    """A judge of pairs as a reward: how far a response wins against the start's to the same prompt, [0, 1].

    None where the judge has failed. The start itself has a draw everywhere, and nobody is asked.

    Args:
        measures: Says which judge.
        starting: The start's responses, one a prompt.
        cache: File of the judge's answers, to resume from.
    """

    name = "server"

    def __init__(self, measures: MeasuresConfig, starting: Sequence[Response], cache: Path) -> None:
        self._judge = server_judge(measures, cache, lambda done, total: None)
        self._starting = {(row["language"], row["prompt_id"]): row["text"] for row in starting}

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`."""
        from lingualign.rewards import score_of

        pairs = [
            Pair(
                "\n\n".join(turn["content"] for turn in candidates.prompt.messages),
                self._starting[response["language"], response["prompt_id"]],
                response["text"],
                response["language"],
                response["prompt_id"],
            )
            for candidates in batch
            for response in candidates.responses
        ]
        found = iter(self._judge.compare(pairs))
        return [
            [score_of(response, _win_share(next(found))) for response in candidates.responses]
            for candidates in batch
        ]


def _win_share(judgement: Judgement) -> float | None:
    return None if judgement.preference is None else judgement.preference - 1


def judge_matches(
    config: RunConfig, kind: str, matches: Mapping[str, Sequence[Match]], output: Path, reporter: Reporter
) -> tuple[str, Judged]:
    """Has answers from files judged against the baseline's.

    Args:
        config: Its section `measures` has the judge's settings.
        kind: server, reward-model or lab.
        matches: By language.
        output: Folder for what the judge said, to resume from.
        reporter: Who is told of progress.

    Returns:
        The judge in words, and a judgement a match, by language.

    Raises:
        InputError: The judge lacks something, the instructions for example.
    """
    if kind == "server":
        return _judge_by_server(config.measures, matches, output / JUDGE_CACHE, reporter)
    reward = scoring_judge(config, kind)
    judged: Judged = {}
    with reporter.stage("judgements", sum(map(len, matches.values())), unit="pairs") as task:
        done = 0
        for code, rows in matches.items():
            ours, theirs = (
                _scores(reward, rows, texts)
                for texts in ([m.answer.text for m in rows], [m.baseline.text for m in rows])
            )
            judged[code] = [
                Judgement(1 + outcome(score, other, match.answer.text, match.baseline.text))
                for score, other, match in zip(ours, theirs, rows, strict=True)
            ]
            done += len(rows)
            task.update(done)
    return LABELS[kind], judged


def _judge_by_server(
    measures: MeasuresConfig, matches: Mapping[str, Sequence[Match]], cache: Path, reporter: Reporter
) -> tuple[str, Judged]:
    pairs = [
        Pair(_instruction(match), match.baseline.text, match.answer.text, code, match.key)
        for code, rows in matches.items()
        for match in rows
    ]
    with reporter.stage("judgements", len(pairs), unit="requests") as task:
        judge = server_judge(measures, cache, lambda done, total: task.update(done, total))
        found = iter(judge.compare(pairs))
        task.update(len(pairs), len(pairs))
    return judge.name, {code: [next(found) for _ in rows] for code, rows in matches.items()}


def _instruction(match: Match) -> str:
    if match.instruction is None:
        raise InputError(
            f"{match.answer.place}: no instruction, and a judge has to read one.",
            "Add a column `instruction` to one of the two files.",
        )
    return match.instruction


def scoring_judge(config: RunConfig, kind: str) -> Reward:
    """Makes a judge that needs no other model of the run: lab or reward-model."""
    if kind == "lab":
        from lingualign.rewards import GoldReward

        return GoldReward()
    from lingualign.models import resolve_device
    from lingualign.rewards.reward_model import RewardModel

    check_judge(config, kind)
    return RewardModel.load(_judge_folder(config), resolve_device(config.device), config.reward.batch_tokens)


def _judge_folder(config: RunConfig) -> Path:
    return user_path(str(config.measures.reward_model))


def _scores(reward: Reward, matches: Sequence[Match], texts: Sequence[str]) -> list[float]:
    """What a reward says of a text for each match."""
    from lingualign.prompts import Prompt
    from lingualign.rewards import Candidates

    batch = []
    for match, text in zip(matches, texts, strict=True):
        language = match.answer.language
        identity = match.answer.id or match.key
        # The lab's judge knows its prompts by id; a reward model reads the instruction.
        content = match.instruction or "" if reward.name == "lab-judge" else _instruction(match)
        prompt = Prompt(identity, language, ({"role": "user", "content": content},))
        response: Response = {
            "prompt_id": identity,
            "language": language,
            "index": 0,
            "text": text,
            "finish_reason": "stop",
            "num_tokens": 0,
        }
        batch.append(Candidates(prompt, prompt, [response]))
    found = [scores[0]["reward"] for scores in reward.score(batch)]
    assert all(score is not None for score in found), "a judge has something to say of every response"
    return [float(score or 0.0) for score in found]


def annotated(path: Path, matches: Mapping[str, Sequence[Match]]) -> Judged:
    """Judgements that were made elsewhere, from alpaca_eval's `annotations.json`.

    They are found by instruction and both answers, so a file of other answers is not taken for these.

    Raises:
        InputError: The file is malformed, or a match has no annotation in it.
    """
    known = {
        (row["instruction"], row["output_1"], row["output_2"]): row["preference"]
        for row in read_annotations(path)
    }
    judged: Judged = {}
    for code, rows in matches.items():
        judged[code] = []
        for match in rows:
            key = (_instruction(match), match.baseline.text, match.answer.text)
            if key not in known:
                raise InputError(
                    f"{path} has no judgement of {match.answer.place} against {match.baseline.place}.",
                    "Give the annotations of these two files, the baseline as output_1.",
                )
            preference = known[key]
            judged[code].append(
                Judgement(preference, failure="failed in the file" if preference is None else None)
            )
    return judged


def annotations_of(
    judge: str, matches: Mapping[str, Sequence[Match]], judged: Judged, names: tuple[str, str]
) -> list[Annotation]:
    """Judgements as alpaca_eval keeps them.

    Args:
        judge: Who judged.
        matches: By language.
        judged: A judgement a match.
        names: Of the baseline and of the model.
    """
    return [
        Annotation(
            instruction=match.instruction or match.key,
            output_1=match.baseline.text,
            output_2=match.answer.text,
            generator_1=names[0],
            generator_2=names[1],
            annotator=judge,
            preference=judgement.preference,
            raw_completion=judgement.raw or judgement.failure,
            language=code,  # type: ignore[typeddict-unknown-key]  # alpaca_eval keeps further fields
        )
        for code, rows in matches.items()
        for match, judgement in zip(rows, judged[code], strict=True)
    ]
