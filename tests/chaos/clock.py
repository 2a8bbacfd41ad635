"""A clock for one command and its descendants that can be set while they run."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COMPILER = shutil.which("cc")
SOURCE = Path(__file__).parent / "clock.c"


@dataclass(frozen=True)
class Clock:
    """The clock of who is started in its environment."""

    place: Path
    """File with the seconds that it is ahead."""
    library: Path

    @classmethod
    def build(cls, folder: Path) -> "Clock":
        """Compile what reads the file; the clock is right at first."""
        clock = cls(folder / "clock.set", folder / "clock.so")
        line = [str(COMPILER), "-shared", "-fPIC", "-O1", "-o", str(clock.library), str(SOURCE), "-ldl", "-lpthread"]
        subprocess.run(line, check=True)
        clock.set(0)
        return clock

    @property
    def environment(self) -> Mapping[str, str]:
        """What a command is started with."""
        return {"LD_PRELOAD": str(self.library), "SETTABLE_CLOCK": str(self.place)}

    def set(self, seconds: int) -> None:
        """Set the clock so far ahead of the right time, or behind it."""
        # in place: whoever runs has the file mapped
        with self.place.open("r+b" if self.place.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
