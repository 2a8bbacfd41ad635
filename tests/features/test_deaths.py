import pytest

from anomalyclip.errors import JobError
from anomalyclip.features.deaths import WorkerDeaths


def test_a_video_is_done_when_its_worker_begins_the_next() -> None:
    deaths = WorkerDeaths(1)
    deaths.begin("a")
    for _ in range(10):
        deaths.begin("b", "a")
        deaths.begin("a", "b")


def test_workers_that_die_before_they_do_a_video_are_not_started_for_ever() -> None:
    deaths = WorkerDeaths(workers=2)
    for _ in range(10):
        deaths.start()
    with pytest.raises(JobError, match="workers died 10 times and did no video"):
        deaths.start()
    deaths.begin("a")
    deaths.end("a")
    deaths.start()


def test_only_the_videos_at_which_workers_died_are_named() -> None:
    deaths = WorkerDeaths(workers=1)
    for _ in range(3):
        deaths.begin("beside")
        deaths.begin("done")
        deaths.end("done")
        deaths.begin("poison")
    with pytest.raises(JobError, match="a worker died 3 times while it extracted beside, poison"):
        deaths.begin("poison")
