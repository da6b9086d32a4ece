"""Model folders: headers of safetensors files, and the JSON files beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drawing import damaged, json_values, texts
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.export.merge import adapter_chain, find_adapter
from lingualign.models import base_folder, is_adapter, parameters_in, resolve_spec
from lingualign.pipeline.validate import positions


def _file(header: dict[str, Any], data: bytes, length: int | None) -> bytes:
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(("F32", "BF16", "I64", "x")) | json_values(),
        "shape": st.lists(st.sampled_from((0, 1, 2, -1, 2**40, 2**63)), max_size=3) | json_values(),
        "data_offsets": st.lists(st.sampled_from((0, 4, 8, 16, -1, 2**62)), min_size=2, max_size=2)
        | json_values(),
    }
)
GOOD = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"format": "pt"}}
HEADERS = st.just(GOOD) | st.dictionaries(texts(hurtful=False), TENSOR, max_size=3)
FILES = damaged(
    st.builds(
        _file, HEADERS, st.sampled_from((b"", bytes(16), bytes(8))), st.sampled_from((None, None, 0, 2**63))
    )
)
ADAPTER = (
    st.fixed_dictionaries({"base_model_name_or_path": texts() | json_values() | st.just("self")})
    | json_values()
)
CONFIG = (
    st.just({"max_position_embeddings": 64})
    | json_values()
    | st.builds(lambda v: {"text_config": v}, json_values())
)
CASES = st.fixed_dictionaries(
    {
        "weights": FILES,
        "name": st.sampled_from(("model.safetensors", "pytorch_model.bin", "adapter_model.bin", "model.pt")),
        "config": st.none() | damaged(CONFIG.map(lambda value: json.dumps(value).encode())),
        "adapter": st.none() | damaged(ADAPTER.map(lambda value: json.dumps(value).encode())),
        "spec": texts() | st.sampled_from(("lab:sft", "lab:../../x", "lab:", ".", "~nobody/x")),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """A folder without safetensors is no model; a header is read, or refused."""
    refused(resolve_spec, case["spec"])
    model = folder / "model"
    model.mkdir()
    (model / case["name"]).write_bytes(case["weights"])
    if case["config"] is not None:
        (model / "config.json").write_bytes(case["config"])
    if case["adapter"] is not None:
        (model / "adapter_config.json").write_bytes(
            case["adapter"].replace(b'"self"', json.dumps(str(model)).encode())
        )
    found, _ = refused(resolve_spec, model)
    if found is not None and not case["name"].endswith(".safetensors"):
        raise Finding(f"{case['name']} was taken for weights")

    if found is not None:
        refused(parameters_in, model / case["name"])
        refused(positions, model)
        refused(base_folder, model)
        if is_adapter(model):
            refused(adapter_chain, model)
    refused(find_adapter, model)
