"""Judges many items in a process of its own, which a test kills: URL of the server, cache file, items."""

from __future__ import annotations

import sys
from pathlib import Path

from lingualign.judges import Pair, ServerPairwiseJudge
from lingualign.servers.chat import ChatServer


def items(number: int) -> list[Pair]:
    return [Pair(f"Item {i}.", f"base {i}", f"model {i}", "sw", str(i)) for i in range(number)]


if __name__ == "__main__":
    server = ChatServer(sys.argv[1], "judge", backoff=0.001)
    ServerPairwiseJudge(server, cache=Path(sys.argv[2])).compare(items(int(sys.argv[3])))
