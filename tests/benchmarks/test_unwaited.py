import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.bench import Case, Unwaited, measured
from tests.benchmarks.unwaited import KEEPER, unwaited

BUSY = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nsys.stdin.read()"
KEEP = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"


@pytest.mark.parametrize("name", [KEEPER, "another"])
def test_the_seconds_of_a_raylets_children_are_seen_while_they_live(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(Path(sys.executable).resolve())
    late = time.monotonic() + 60
    with unwaited() as seconds:
        keeper = subprocess.Popen([tmp_path / name, "-c", KEEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert keeper.stdin and keeper.stdout
        keeper.stdout.readline()
        with keeper.stdin:
            while name == KEEPER and seconds() < 0.25 and time.monotonic() < late:
                pass
        keeper.wait()
    assert (0.25 <= seconds() < 3) == (name == KEEPER)


def test_a_case_can_tell_of_seconds_that_nobody_waited_for() -> None:
    (row,) = measured([Case("told", lambda: Unwaited(5.0), "a plain number is none", lambda: 5.0)])
    assert row["seconds"] >= 5 > row["baseline_seconds"]
