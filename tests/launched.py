"""What `accelerate launch` starts in tests/test_distributed.py: jobs in a row, as starting takes longest.

accelerate launch tests/launched.py '[["distributed_worker", "POLICY", "OUTPUT", [{"objective": "dpo"}]]]'
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

from accelerate import PartialState

from lingualign.launching.collector import collect_less_often

if __name__ == "__main__":
    collect_less_often()
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        import_module("distributed_worker").shard_on_cpu()
    for module, *arguments in json.loads(sys.argv[1]):
        import_module(module).main(*arguments)
    PartialState().destroy_process_group()  # or its threads may end the process by an abort
