"""Log-probabilities of responses under a causal language model: exact, batch-invariant, fast."""

from lingualign.logprobs.engine import sequence_logprobs, token_logprobs
from lingualign.logprobs.passes import can_pack, keep_packing
from lingualign.logprobs.sequences import ScoredSequence

__all__ = ["ScoredSequence", "can_pack", "keep_packing", "sequence_logprobs", "token_logprobs"]
