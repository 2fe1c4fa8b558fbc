"""Nobody is told that promptopt runs: it reports nothing, and neither do the libraries it loads.

To be called before such a library is imported. Who has set one of these variables keeps what was set.
"""

from __future__ import annotations

import os

OFF = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""In order: transformers, datasets, peft and TRL; all who heed it; Ray."""


def switch_off() -> None:
    """Switch the libraries' telemetry off for this process and those it starts."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
