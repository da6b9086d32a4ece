"""Log-probabilities that are no numbers, noticed where they are computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from lingualign.errors import InputError


def require_finite(
    logps: Sequence[float] | np.ndarray, names: Sequence[str], who: str, model: nn.Module
) -> None:
    """Refuses log-probabilities that are not finite, before anything is made from them.

    Args:
        logps: Of responses [n], in nats.
        names: What each response is called.
        who: Whose log-probabilities they are, such as "the reference".
        model: It, for the type of its weights.

    Raises:
        InputError: Some are NaN or infinite. The message names the first, and says what to do.
    """
    values = np.asarray(logps, dtype=np.float64)
    (wrong,) = np.nonzero(~np.isfinite(values))
    if len(wrong) == 0:
        return
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    raise InputError(
        f"{who} gives {len(wrong)} of {len(values)} responses a log-probability that is not finite, "
        f"{names[wrong[0]]} for one ({values[wrong[0]]}).",
        "Minus infinity alone is a token that the model rules out: leave such responses out. Otherwise its "
        f"arithmetic, in {dtype}, leaves its range, or its weights are damaged: try dtype=float32, and see "
        "whether the model answers sensibly.",
    )
