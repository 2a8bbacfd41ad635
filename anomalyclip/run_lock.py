"""One process at a time in a run's folder, also in an object store that knows no conditional writes.

Every process that comes writes a claim, a file of its own beside the run's, and then reads those of the others: the
bakery algorithm of Lamport (1974), which needs no more than that a file once written is seen by all. The claim with the
lowest number holds the lock. A holder rewrites its claim from time to time; one whose claim stays as it is has died, or
is cut off, and is replaced. Nobody writes to another's claim, so two that replace a third cannot undo each other.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

from anomalyclip.errors import JobError
from anomalyclip.owner import Owner, this_process
from anomalyclip.storage import Storage

log = logging.getLogger("anomalyclip")

PREFIX, SUFFIX = "lock-", ".json"
BEAT_SECONDS = 10.0
"""Time from one sign of life to the next."""
STALE_SECONDS = 60.0
"""Time without a sign of life after which a process of another machine is replaced; measured here, by one clock."""
POLL_SECONDS = 0.2
_SIGNAL = signal.SIGUSR2


@dataclass(frozen=True)
class Claim:
    """What a process says about its wish to hold the lock."""

    owner: Owner
    since: float
    """Seconds since 1970, by its clock: for people."""
    number: int = 0
    """Its place in the queue, 0 while it chooses one."""
    beat: int = 0
    """Counts its signs of life."""
    replaces: tuple[str, ...] = ()
    """Tokens of the dead before it. One that is not dead after all finds its own here, and stops."""

    def comes_before(self, other: "Claim") -> bool:
        """Return whether it holds the lock rather than the other, or may once it has chosen its number."""
        return (self.number, self.owner.token) < (other.number, other.owner.token)


class _Replaced(BaseException):
    """Raised in the main thread of a holder that was replaced; no library may take it for an error of its own."""


class _Lock:
    def __init__(self, storage: Storage, folder: str, name: str) -> None:
        self._storage, self._folder, self._name = storage, folder, name
        self._claim = Claim(this_process(), time.time())
        self._over = threading.Event()
        self._is_main = threading.current_thread() is threading.main_thread()
        self.replaced = False

    def acquire(self) -> None:
        """Take the lock; raises JobError if another process holds it."""
        try:
            self._write()
            self._claim = replace(self._claim, number=1 + max((each.number for each in self._others()), default=0))
            self._write()
            dead = self._wait()
            self._claim = replace(self._claim, replaces=tuple(each.owner.token for each in dead))
            self._write()
        except BaseException:
            self.release()
            raise
        for each in dead:
            log.info("%s: continues what %s began", self._name, each.owner)
            self._storage.delete(self._key(each))

    def release(self) -> None:
        """Give the lock back."""
        self._storage.delete(self._key(self._claim))
        remove_dead(self._storage, self._folder)

    def stop(self, keeper: threading.Thread) -> None:
        """Wait for the thread that runs `keep` to end."""
        self._over.set()
        keeper.join()

    def keep(self) -> None:
        """Give a sign of life from time to time, until the lock is given back or was lost."""
        while not self._over.wait(BEAT_SECONDS):
            try:
                if self._is_lost():
                    self.replaced = True
                    self._interrupt()
                    return
                self._claim = replace(self._claim, beat=self._claim.beat + 1)
                self._write()
            except OSError as error:  # the store does not answer, or is full: it may pass
                log.warning("%s: no sign of life could be written (%s)", self._name, " ".join(str(error).split()))

    def _interrupt(self) -> None:
        if self._is_main:  # no other thread can be interrupted
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)

    def lost(self) -> JobError:
        """Return the error of a holder that was replaced."""
        return JobError(
            f"{self._name}: this process gave no sign of life for {STALE_SECONDS:.0f} s, and another one took over, or "
            "the run was removed; the same command resumes it"
        )

    def _wait(self) -> list[Claim]:
        """Wait until no living claim comes before this one's; returns the dead. Raises JobError if there is one."""
        first, started = dict[str, tuple[Claim, float]](), time.monotonic()
        while True:
            now, others = time.monotonic(), self._others()
            ahead = [each for each in others if each.comes_before(self._claim)]
            for each in ahead:
                first.setdefault(each.owner.token, (each, now))
            dead = [each for each in ahead if _is_dead(each, *first[each.owner.token])]
            alive = sorted((each for each in ahead if each not in dead), key=lambda each: each.number)
            if not alive:
                return dead
            for each in alive:
                seen, _ = first[each.owner.token]
                if each.number and (each.owner.is_here() or each != seen):
                    raise self._busy(each)
            if now - started > 2 * STALE_SECONDS:
                raise self._busy(alive[0])
            time.sleep(POLL_SECONDS)

    def _busy(self, claim: Claim) -> JobError:
        since = datetime.fromtimestamp(claim.since, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return JobError(
            f"{self._name}: {claim.owner} has worked on it since {since}; wait for its result, or end that process: "
            "the same command then resumes"
        )

    def _is_lost(self) -> bool:
        return not self._storage.exists(self._key(self._claim)) or any(map(self._took_over, self._others()))

    def _took_over(self, other: Claim) -> bool:
        """Return whether another process replaced this one, or came before it in a store that shows files late."""
        mine, theirs = self._claim, other.owner.token
        came_before = other.number > 0 and other.comes_before(mine) and theirs not in mine.replaces
        return mine.owner.token in other.replaces or came_before

    def _others(self) -> list[Claim]:
        token = self._claim.owner.token
        return [each for each in _claims(self._storage, self._folder) if each.owner.token != token]

    def _write(self) -> None:
        self._storage.write_json(self._key(self._claim), asdict(self._claim))

    def _key(self, claim: Claim) -> str:
        return _key(self._folder, claim)


@contextmanager
def exclusive(storage: Storage, folder: str, name: str) -> Iterator[None]:
    """Run the block as the only process that works in a folder of the storage; `name` is for messages.

    Raises JobError if another process works there, and in the block if another one took over. A process of this machine
    that died is replaced at once, and one of another machine after `STALE_SECONDS` without a sign of life.
    """
    lock = _Lock(storage, folder, name)
    lock.acquire()
    keeper = threading.Thread(target=lock.keep, daemon=True)
    try:
        with _interruptible():
            keeper.start()
            try:
                yield
            finally:
                lock.stop(keeper)
    except _Replaced:
        raise lock.lost() from None
    finally:
        lock.release()
    if lock.replaced:
        raise lock.lost()


def remove_dead(storage: Storage, folder: str) -> None:
    """Remove the claims of processes of this machine that do not run any more."""
    for claim in _claims(storage, folder):
        if claim.owner.is_gone():
            storage.delete(_key(folder, claim))


def is_lock(name: str) -> bool:
    """Return whether a file of a run's folder is a claim."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise `_Replaced` in this thread at a signal, if it is the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(_SIGNAL, _raise_replaced)
    try:
        yield
    finally:
        signal.signal(_SIGNAL, before)


def _raise_replaced(number: int, frame: FrameType | None) -> NoReturn:
    raise _Replaced


def _claims(storage: Storage, folder: str) -> list[Claim]:
    found = [_read(storage, f"{folder}/{name}") for name in storage.list(folder) if is_lock(name)]
    return [each for each in found if each is not None]


def _read(storage: Storage, key: str) -> Claim | None:
    try:
        value = storage.read_json(key)
    except (FileNotFoundError, ValueError):  # given back just now; part of an upload that was interrupted
        return None
    return Claim(**value | {"owner": Owner(**value["owner"]), "replaces": tuple(value["replaces"])})


def _key(folder: str, claim: Claim) -> str:
    return f"{folder}/{PREFIX}{claim.owner.token}{SUFFIX}"


def _is_dead(claim: Claim, seen: Claim, since: float) -> bool:
    """Return whether a claim's process is gone, or gave no sign of life since it was first `seen` long ago."""
    unchanged = not claim.owner.is_here() and claim == seen
    return claim.owner.is_gone() or (unchanged and time.monotonic() - since > STALE_SECONDS)
