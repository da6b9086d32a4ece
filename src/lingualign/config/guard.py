"""Settings of the watch over training."""

from __future__ import annotations

from typing import Literal

from lingualign.config.section import Section


class GuardConfig(Section):
    """What is watched while a policy trains. A loss that is not finite always stops the run."""

    action: Literal["off", "warn", "stop", "roll-back"] = "warn"
    """What happens at signs of collapse. warn: a warning. stop: training ends there. roll-back: it ends, with
    the weights of the last checkpoint before the signs."""
