"""Translation of responses: one interface, several translators.

The two that compute with a model here are `lingualign.translation.policy.PolicyTranslator` and
`lingualign.translation.seq2seq.Seq2SeqTranslator`; they import torch, and the names below do not.
"""

from lingualign.translation.base import Likelihood, Translator
from lingualign.translation.exact import ExactTranslator
from lingualign.translation.file import FileTranslator
from lingualign.translation.mask import MaskingTranslator
from lingualign.translation.server import ServerTranslator
from lingualign.translation.store import StoredTranslator

__all__ = [
    "ExactTranslator",
    "FileTranslator",
    "Likelihood",
    "MaskingTranslator",
    "ServerTranslator",
    "StoredTranslator",
    "Translator",
]
