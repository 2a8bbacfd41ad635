"""Layouts that were considered, and those that the test cameras see."""

from tests.benchmarks.live_layouts.tables import Setting
from tests.benchmarks.live_layouts.windows import PATTERNS

BY_NAME = {pattern.name: pattern for pattern in PATTERNS}
CONSIDERED = [
    *(Setting(pattern, 16, delay, 16) for pattern in PATTERNS for delay in (0, 16, 32)),
    *(Setting(BY_NAME["dense"], hop, delay, 16) for hop in (8, 32) for delay in (0, 8, 16, 32)),
    Setting(BY_NAME["dense"], 16, 8, 16),
    Setting(BY_NAME["dense"], 16, 64, 16),
    *(Setting(BY_NAME["dense"], 8, 8, least) for least in (8, 32, 64)),
]
DEFAULT = BY_NAME["dense"]._replace(grid=16)
CHOSEN = [
    *(Setting(DEFAULT, 16, delay, 16) for delay in (8, 0, 32)),
    *(Setting(BY_NAME[name], 16, 8, 16) for name in ("half", "sparse 2", "spread 2")),
]
"""The default, and beside it what differs in one thing."""
COSTLY = [Setting(BY_NAME["dense"], 8, 8, 16), Setting(BY_NAME["grown"], 16, 8, 16)]
"""Others whose cost is measured."""
