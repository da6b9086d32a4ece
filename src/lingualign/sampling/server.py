"""Sampling by language models behind OpenAI-compatible servers, several of them at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Response
from lingualign.sampling.base import Progress, request_seed
from lingualign.servers.chat import Completion
from lingualign.servers.failures import Refused, Unanswered
from lingualign.servers.pool import ServerPool
from lingualign.servers.store import AnswerStore, request_key

TOLD_AFTER = 20  # prompts whose candidates are all the same, until the user is told

BatchProgress = Callable[[int, int, int], None]  # (number of the batch, responses done, of how many)


@dataclass
class Batch:
    """Prompts whose responses belong together.

    Attributes:
        prompts: The conversations to answer.
        kept: JSON-lines file of the answers there are. It grows, and is removed once the responses of the
            batch have been taken. None keeps none.
    """

    prompts: Sequence[Prompt]
    kept: Path | None = None


@dataclass
class _Open:
    """A batch of which requests are under way."""

    number: int
    batch: Batch
    store: AnswerStore
    missing: int
    answers: dict[tuple[int, int], Completion] = field(default_factory=dict)  # by place of prompt and index


@dataclass(frozen=True)
class _Request:
    """One response that is wanted."""

    of: _Open
    place: int
    index: int
    body: Mapping[str, Any]


class ServerSampler:
    """Samples by chat completions, a request for each response.

    A request has a seed of its own (`request_seed`), so a server that heeds it gives the same response
    whichever of them is asked, and whatever it is asked beside. The chat template is the server's.

    A response that a server refuses (400, 413, 422) or filters, or that none of them gives while they answer
    others, is recorded as empty and cut, and counted in `refused`.

    Attributes:
        refused: Responses that were not had.
        notes: What the user should know, as lines; whoever has shown one takes it out.

    Args:
        pool: The servers.
        chat: Chat format of the model; it counts tokens.
        extra: Further fields of a request, by the server's names.

    Example:
        >>> pool = ServerPool(["http://gpu-1:8000/v1", "http://gpu-2:8000/v1"], "my-model")
        >>> sampler = ServerSampler(pool, ChatFormat(load_tokenizer("./my-model")))
        >>> sampler.sample(prompts, n=8, temperature=0.9, max_new_tokens=512, seed=0)[0][0]["text"]
    """

    def __init__(self, pool: ServerPool, chat: ChatFormat, extra: Mapping[str, Any] | None = None) -> None:
        self.pool = pool
        self.chat = chat
        self.extra = dict(extra or {})
        self.refused = 0
        self.notes = pool.notes
        self._alike: int | None = 0  # prompts whose candidates were all the same; None once two differed

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int,
        temperature: float,
        max_new_tokens: int,
        seed: int,
        top_p: float = 1.0,
        progress: Progress | None = None,
    ) -> list[list[Response]]:
        """See `Sampler.sample`.

        Raises:
            InputError: No server answers.
        """

        def of_all(number: int, done: int, total: int) -> None:
            if progress is not None:
                progress(done, total)

        batches = self.sample_batches(
            [Batch(prompts)],
            n=n,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=seed,
            top_p=top_p,
            progress=of_all,
        )
        return next((responses for _, responses in batches), [])

    def sample_batches(
        self,
        batches: Iterable[Batch],
        *,
        n: int,
        temperature: float,
        max_new_tokens: int,
        seed: int,
        top_p: float = 1.0,
        progress: BatchProgress | None = None,
    ) -> Generator[tuple[int, list[list[Response]]]]:
        """Samples many batches, with requests for the next ones under way before one is complete.

        Answers of a batch are in memory only until it has been yielded. An answer is in its file before it
        counts, so a process that is killed loses no more than what is under way.

        Yields:
            The number of a batch, and the responses of its prompts as of `Sampler.sample`, as they are ready.

        Raises:
            InputError: No server answers, or a file of answers cannot be read or written.
        """
        opened: dict[int, _Open] = {}
        options = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}

        def requests() -> Iterator[_Request]:
            for number, batch in enumerate(batches):
                total = len(batch.prompts) * n
                of = _Open(number, batch, AnswerStore(batch.kept).__enter__(), total)
                opened[number] = of
                for place, prompt in enumerate(batch.prompts):
                    for index in range(n):
                        seeded = {"seed": request_seed(seed, prompt, index)}
                        body = self.pool.body(prompt.messages, n=1, **options, **seeded, **self.extra)
                        yield _Request(of, place, index, body)

        try:
            # Closed before the files are, whatever happens: threads may still have answers to keep.
            with closing(self.pool.stream(self._answer, requests())) as answered:
                for request, answer in answered:
                    of = request.of
                    of.answers[request.place, request.index] = answer
                    of.missing -= 1
                    if progress is not None:
                        progress(of.number, len(of.answers), len(of.answers) + of.missing)
                    if of.missing == 0:
                        del opened[of.number]
                        of.store.__exit__(None, None, None)
                        yield of.number, self._responses(of, n, temperature)
                        if of.batch.kept is not None:
                            of.batch.kept.unlink(missing_ok=True)
        finally:
            for of in opened.values():
                of.store.__exit__(None, None, None)

    def _answer(self, request: _Request) -> tuple[_Request, Completion]:
        """What was kept, or what a server answers, which is then kept."""
        key = request_key(request.body)
        known = request.of.store.get(key)
        if known is not None:
            return request, known
        prompt = request.of.batch.prompts[request.place]
        try:
            answer = self.pool.ask(request.body)
        except Unanswered:
            return request, Completion("", finished=False, refused=True)  # not kept: it may still come
        except Refused:
            answer = Completion("", finished=False, refused=True)
        request.of.store.put(key, f"{prompt.language}/{prompt.id}/{request.index}", answer)
        return request, answer

    def _responses(self, of: _Open, n: int, temperature: float) -> list[list[Response]]:
        """The responses of a complete batch, in order."""
        found = []
        for place, prompt in enumerate(of.batch.prompts):
            answers = [of.answers[place, index] for index in range(n)]
            found.append([self._response(prompt, index, answer) for index, answer in enumerate(answers)])
            if self._alike is not None and n > 1 and temperature > 0:
                texts = {answer.text for answer in answers if not answer.refused}
                self._alike = None if len(texts) > 1 else self._alike + len(texts)
                if self._alike == TOLD_AFTER:
                    self.notes.append(
                        f"The {n} responses to a prompt are all the same, to {TOLD_AFTER} prompts, although "
                        f"the temperature is {temperature:g}. Does the server sample? See "
                        "docs/served-models.md."
                    )
        return found

    def _response(self, prompt: Prompt, index: int, answer: Completion) -> Response:
        self.refused += answer.refused
        text = "" if answer.refused else answer.text
        return Response(
            prompt_id=prompt.id,
            language=prompt.language,
            index=index,
            text=text,
            finish_reason="stop" if answer.finished else "length",
            num_tokens=len(self.chat.response_ids(text, finished=False)),
        )
