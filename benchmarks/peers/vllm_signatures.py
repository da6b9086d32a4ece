"""vLLM's API as lingualign uses it, against the source of the real package.

    python benchmarks/peers/vllm_signatures.py --output benchmarks/results/peers_vllm_signatures.md

Downloads vLLM's wheel (some 300 MB; nothing of it is installed or run, so no GPU is needed), or takes the one
of --wheel. Every name that `sampling/vllm_backend.py` imports from it, every argument that it passes, every
attribute that it reads, and every argument of the fake that the tests use in its place (`tests/fake_vllm.py`)
is looked up in the syntax trees of the wheel.

Exits with 1 if one is not there.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lingualign.sampling.vllm_backend import LORA_RANKS

ROOT = Path(__file__).parents[2]
BACKEND = ROOT / "src" / "lingualign" / "sampling" / "vllm_backend.py"
FAKE = ROOT / "tests" / "fake_vllm.py"
CLASSES = {
    "LLM": "entrypoints/llm.py",
    "EngineArgs": "engine/arg_utils.py",
    "SamplingParams": "sampling_params.py",
    "TokensPrompt": "inputs/llm.py",
    "LoRARequest": "lora/request.py",
    "RequestOutput": "outputs.py",
    "CompletionOutput": "outputs.py",
    "LLMEngine": "v1/engine/llm_engine.py",
    "EngineCoreClient": "v1/engine/core_client.py",
    "ModelConfig": "config/model.py",
}
READ = {
    "LLM": ("generate", "llm_engine", "model_config"),
    "LLMEngine": ("engine_core",),
    "EngineCoreClient": ("shutdown",),
    "ModelConfig": ("max_model_len",),
    "RequestOutput": ("outputs",),
    "CompletionOutput": ("token_ids", "finish_reason"),
}
"""Attributes that the backend reads, by the class that has them."""


@dataclass(frozen=True)
class Use:
    """One name that has to be there.

    Attributes:
        who: The backend or the fake.
        owner: The class of vLLM, or `vllm` for what is imported from there.
        what: A name, an argument or an attribute.
        found: Whether it is there.
    """

    who: str
    owner: str
    what: str
    found: bool


class RealPackage:
    """The classes of the wheel, by the names of their members."""

    def __init__(self, wheel: Path) -> None:
        self.version = wheel.name.split("-")[1]
        with zipfile.ZipFile(wheel) as archive:
            self.trees = {
                path: ast.parse(archive.read(f"vllm/{path}"))
                for path in {*CLASSES.values(), "__init__.py", "config/lora.py"}
            }

    def class_of(self, name: str) -> ast.ClassDef:
        """The definition of a class."""
        for node in ast.walk(self.trees[CLASSES[name]]):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
        raise SystemExit(f"vLLM {self.version}: {CLASSES[name]} has no class {name}")

    def members(self, name: str) -> set[str]:
        """Methods, fields, and what methods set on `self`."""
        found = set()
        for node in ast.walk(self.class_of(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name | ast.Attribute):
                        found.add(target.id if isinstance(target, ast.Name) else target.attr)
        return found

    def arguments(self, name: str, method: str = "__init__") -> set[str]:
        """The arguments of a method; of a class without `__init__`, its fields. LLM has EngineArgs' too."""
        node = self.class_of(name)
        for child in node.body:
            if isinstance(child, ast.FunctionDef) and child.name == method:
                named = {a.arg for a in (*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs)}
                return named | (
                    self.fields("EngineArgs") if name == "LLM" and method == "__init__" else set()
                )
        return self.fields(name) if method == "__init__" else set()

    def fields(self, name: str) -> set[str]:
        """The annotated fields of a class."""
        return {
            child.target.id
            for child in self.class_of(name).body
            if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name)
        }

    def literal(self, path: str, name: str) -> tuple[object, ...]:
        """The values of a `Literal[...]` of a module."""
        for node in self.trees[path].body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                assert isinstance(node.value, ast.Subscript)
                return tuple(ast.literal_eval(node.value.slice))
        return ()

    def exports(self, module: str, name: str) -> bool:
        """Whether a name can be imported from a module of the package."""
        path = "__init__.py" if module == "vllm" else module.removeprefix("vllm.").replace(".", "/") + ".py"
        tree = self.trees.get(path)
        names = {
            node.value for node in ast.walk(tree or ast.Module([], [])) if isinstance(node, ast.Constant)
        }
        names |= {
            node.name for node in ast.walk(tree or ast.Module([], [])) if isinstance(node, ast.ClassDef)
        }
        return name in names


def uses_of_backend(real: RealPackage) -> Iterator[Use]:
    """What the backend imports, passes and reads."""
    tree, who = ast.parse(BACKEND.read_text(encoding="utf-8")), "backend"
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm":
            for alias in node.names:
                imported.add(alias.name)
                yield Use(who, str(node.module), alias.name, real.exports(str(node.module), alias.name))
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            target = call.func
            if isinstance(target, ast.Name) and target.id in imported:
                # The arguments that are gathered in dictionaries first are constants of the same function.
                gathered = target.id == "LLM"
                for name in _passed(call, function if gathered else None):
                    yield Use(who, target.id, name, name in real.arguments(target.id))
            elif ast.unparse(target) == "self._llm.generate":
                for name in _passed(call):
                    yield Use(who, "LLM.generate", name, name in real.arguments("LLM", "generate"))
    ranks = real.literal("config/lora.py", "MaxLoRARanks")
    for rank in LORA_RANKS:
        yield Use(who, "MaxLoRARanks", str(rank), rank in ranks)
    for owner, names in READ.items():
        for name in names:
            read = any(isinstance(node, ast.Attribute) and node.attr == name for node in ast.walk(tree))
            yield Use(who, owner, f".{name}", read and name in real.members(owner))


def _passed(call: ast.Call, function: ast.FunctionDef | None = None) -> Iterator[str]:
    """Names of the arguments of a call; with a function, also the keys of all dictionaries in it."""
    yield from (keyword.arg for keyword in call.keywords if keyword.arg is not None)
    for node in ast.walk(function) if function else ():
        if isinstance(node, ast.Dict):
            yield from (str(key.value) for key in node.keys if isinstance(key, ast.Constant))


def uses_of_fake(real: RealPackage) -> Iterator[Use]:
    """The arguments and fields that the fake has."""
    for node in ast.parse(FAKE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name in CLASSES:
            fields = [
                child.target.id
                for child in node.body
                if isinstance(child, ast.AnnAssign)
                and isinstance(child.target, ast.Name)
                and "ClassVar" not in ast.unparse(child.annotation)
            ]
            known = real.members(node.name) | real.fields(node.name)
            for name in fields:
                yield Use("fake", node.name, name, name in known)
            for method in (child for child in node.body if isinstance(child, ast.FunctionDef)):
                if not method.name.startswith("_") or method.name == "__init__":
                    owner = node.name if method.name == "__init__" else f"{node.name}.{method.name}"
                    for argument in (*method.args.args[1:], *method.args.kwonlyargs):
                        found = argument.arg in real.arguments(node.name, method.name)
                        yield Use("fake", owner, argument.arg, found)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ENGINE_ARGUMENTS":
            for name in ast.literal_eval(node.value):
                yield Use("fake", "EngineArgs", name, name in real.fields("EngineArgs"))


def report(real: RealPackage) -> tuple[str, bool]:
    """The table, and whether everything is there."""
    uses = sorted(
        set(uses_of_backend(real)) | set(uses_of_fake(real)), key=lambda use: (use.who, use.owner, use.what)
    )
    rows = [f"| {use.who} | `{use.owner}` | `{use.what}` | {'yes' if use.found else 'NO'} |" for use in uses]
    passed = all(use.found for use in uses) and {use.who for use in uses} == {"backend", "fake"}
    lines = [
        "# vLLM's API, as it is used and as it is",
        "",
        f"vLLM {real.version}, by the syntax trees of its wheel; nothing of it was run. Written by "
        "`benchmarks/peers/vllm_signatures.py`.",
        "",
        f"{sum(use.found for use in uses)} of {len(uses)} names are there: "
        f"{'passed' if passed else 'MISSED'}.",
        "",
        "| who | of vLLM's | uses | there |",
        "|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n", passed


def download(folder: Path) -> Path:
    """Fetches the wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "vllm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return next(folder.glob("vllm-*.whl"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheel", type=Path, help="a wheel of vLLM that is there already")
    parser.add_argument("--output", type=Path, help="where to write the table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        text, passed = report(RealPackage(arguments.wheel or download(Path(temporary))))
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
