"""`lingualign lab`: look at the built-in world, or make its models anew."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    no_args_is_help=True, help="The built-in world: real languages, an exact judge, small models."
)


@app.command()
def show(
    n: Annotated[int, typer.Option(help="Prompts to show; the task families take turns.", min=1)] = 8,
    model: Annotated[
        str | None,
        typer.Option(help="Let a model answer: sft, aligned, biased or a folder. Unset: drawn answers."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Sampling temperature of the model, 0 for greedy.", min=0)
    ] = 0.6,
    seed: Annotated[int, typer.Option(help="Seed of the answers.")] = 0,
) -> None:
    """Prints prompts, responses and judgements in every language.

    Examples:

        lingualign lab show

        lingualign lab show --model aligned --temperature 0
    """
    from random import Random

    from lingualign.lab.grammar import LANGUAGES, render
    from lingualign.lab.judge import judge
    from lingualign.lab.prompts import tasks
    from lingualign.lab.responses import draw_sentences

    rng = Random(seed)
    chosen = list(islice(tasks("heldout"), n))
    answers: dict[tuple[str, str], str] = {}
    if model is not None:
        answers = _model_answers(model, n, temperature, seed)
    else:
        for task in chosen:
            sentences = draw_sentences(task, rng)
            answers |= {(task.id, language): render(sentences, language) for language in LANGUAGES}
    console = Console()
    for task in chosen:
        table = Table(title=task.id, title_justify="left", show_lines=True)
        for column in ("", "prompt", "response", "gold", "traits"):
            table.add_column(column, overflow="fold")
        for language in LANGUAGES:
            text = answers[task.id, language]
            judgement = judge(task.id, language, text)
            traits = " ".join(
                f"{'+' if v else '-'}{name}" for name, v in judgement.traits.items() if v is not None
            )
            table.add_row(language, task.prompt(language), text, f"{judgement.reward:.2f}", traits)
        console.print(table)


def _model_answers(model: str, n: int, temperature: float, seed: int) -> dict[tuple[str, str], str]:
    from lingualign.lab.grammar import LANGUAGES
    from lingualign.lab.models import MODELS
    from lingualign.lab.prompts import prompts
    from lingualign.models import load_model, load_tokenizer
    from lingualign.prompts.chat import ChatFormat
    from lingualign.sampling import TransformersSampler

    spec = f"lab:{model}" if model in MODELS else model
    sampler = TransformersSampler(load_model(spec, dtype="float32"), ChatFormat(load_tokenizer(spec)))
    asked = [prompt for rows in prompts("heldout", n, LANGUAGES).by_language.values() for prompt in rows]
    sampled = sampler.sample(asked, n=1, temperature=temperature, top_p=1.0, max_new_tokens=160, seed=seed)
    return {(row["prompt_id"], row["language"]): row["text"] for rows in sampled for row in rows}


@app.command()
def build(
    output: Annotated[Path, typer.Argument(help="Folder for the four models.")] = Path("lab-models"),
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    steps: Annotated[int, typer.Option(help="Steps of supervised training.", min=1)] = 6000,
) -> None:
    """Makes the lab's models from seeds: multilingual SFT, English-only DPO, English-biased SFT, translation.

    Takes about three quarters of an hour on two cores. A stage whose model is there is skipped.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from lingualign.lab.build import build_models

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("starting", total=None)
        build_models(
            output,
            seed,
            steps,
            lambda text, done, total: bar.update(task, description=text, completed=done, total=total),
        )
    typer.echo(f"The models are in {output}.")
