"""How a server comes to have a policy: what to start it with, and adapters that are loaded while it runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from lingualign.models import base_folder, is_adapter
from lingualign.servers.chat import ChatServer
from lingualign.servers.failures import Failed


def adapter_loader(policy: Path, model: str) -> Callable[[ChatServer], None] | None:
    """What has vLLM's server load a policy that is an adapter (`POST /v1/load_lora_adapter`).

    The server has to be started with `--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and to see
    the folder under the same path: https://docs.vllm.ai/en/stable/features/lora/

    Args:
        policy: Folder of the policy.
        model: The name that it is to have there.

    Returns:
        None for a whole model. What is returned raises `Failed` or `Refused` where a server does not load it.
    """
    if not is_adapter(policy):
        return None

    def load(server: ChatServer) -> None:
        root = (server.models() or {}).get(model)
        if root and root != str(policy):
            raise Failed(
                f"there is another adapter under the name {model}, from {root}; {{path}} in "
                "sampling.server.model tells them apart",
                lasting=True,
            )
        if not root:
            server.exchange("/load_lora_adapter", {"lora_name": model, "lora_path": str(policy)})

    return load


def how_to_serve(policy: Path, model: str, load_adapters: bool) -> str:
    """How to have a policy served, an imperative sentence without its full stop.

    Args:
        policy: Folder of the policy.
        model: The name that it is to have there.
        load_adapters: Adapters are loaded by us.
    """
    folder, name = shlex.quote(str(policy)), shlex.quote(model)
    if not is_adapter(policy):
        named = "" if name == folder else f" --served-model-name {name}"
        return f"Serve it, e.g. `vllm serve {folder}{named}`"
    base = shlex.quote(str(base_folder(policy)))
    if load_adapters:
        return (
            f"Serve its base so that it loads adapters: `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve "
            f"{base} --enable-lora`"
        )
    return (
        f"Serve it, e.g. `vllm serve {base} --enable-lora --lora-modules {name}={folder}`, or set "
        "sampling.server.load_adapters=true"
    )
