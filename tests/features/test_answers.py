"""Buckets that do not answer: when they are left alone, and when they are asked again."""

from collections.abc import Iterator

import pytest

from anomalyclip.features import answers
from anomalyclip.features.answers import MOST_FAILURES, PAUSE_SECONDS, Answers, NotAskedError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(answers.time, "monotonic", lambda: now[0])
    yield now


def fail(known: Answers, words: str = "curlCode: 7, Could not connect to server") -> None:
    with pytest.raises(OSError, match=words), known.asking("s3://a/"):
        raise OSError(words)


def silent() -> Answers:
    known = Answers()
    for _ in range(MOST_FAILURES):
        fail(known)
    return known


def test_a_silent_bucket_is_left_alone_and_tried_by_one_request_later(clock: list[float]) -> None:
    known = silent()
    clock[0] += PAUSE_SECONDS - 1
    with pytest.raises(NotAskedError, match="Could not connect"), known.asking("s3://a/"):
        pytest.fail("asked")
    clock[0] += 2
    with known.asking("s3://a/"), pytest.raises(NotAskedError), known.asking("s3://a/"):  # of another thread
        pytest.fail("asked")
    with known.asking("s3://a/"):
        pass


def test_a_bucket_that_is_still_silent_is_left_alone_again(clock: list[float]) -> None:
    known = silent()
    clock[0] += PAUSE_SECONDS + 1
    fail(known)
    with pytest.raises(NotAskedError), known.asking("s3://a/"):
        pytest.fail("asked")


@pytest.mark.parametrize("words", ["AWS Error ACCESS_DENIED during HeadObject", "NoSuchKey", ""])
def test_one_that_refuses_has_answered(words: str) -> None:
    known = Answers()
    for _ in range(3):
        for _ in range(MOST_FAILURES - 1):
            fail(known)
        fail(known, words)
    with known.asking("s3://a/"):
        pass


def test_logins_are_hidden() -> None:
    known = Answers()
    for _ in range(MOST_FAILURES):
        with pytest.raises(ConnectionError), known.asking("s3://me:secret@a/"):
            raise ConnectionError
    with pytest.raises(NotAskedError) as raised, known.asking("s3://me:secret@a/"):
        pytest.fail("asked")
    assert "secret" not in str(raised.value)
