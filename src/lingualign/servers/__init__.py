"""Language models behind OpenAI-compatible servers: asked, asked again, and every answer kept."""

from lingualign.servers.chat import ChatServer, Completion
from lingualign.servers.failures import Refused, Unanswered
from lingualign.servers.pool import ServerPool
from lingualign.servers.store import AnswerStore, request_key

__all__ = [
    "AnswerStore",
    "ChatServer",
    "Completion",
    "Refused",
    "ServerPool",
    "Unanswered",
    "request_key",
]
