"""One promotion at a time: the right to write the next entry of a registered model's history.

MLflow has no compare-and-swap, but if several processes create a registered model of one name, exactly one succeeds.
So the process that creates `<model>.promotion-<n>` may write entry n, and no other ever does. The lock states from its
creation on who holds it and which entry will be written. If its process dies, the next one can finish or undo this
entry: it takes the next number, which again exactly one process gets, and settles those before.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from anomalyclip.errors import JobError
from anomalyclip.owner import Owner, this_process
from anomalyclip.redaction import redacted

STALE_SECONDS = 300.0
"""Age at which a lock counts as abandoned, if nothing else shows that it is."""
LEASE_SECONDS = STALE_SECONDS / 2
"""Time after which a holder no longer trusts its own lock."""
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.5
READINGS = 4
OWNER, INTENT, MOVING = "promotion.owner", "promotion.intent", "promotion.moving"
SINCE = "promotion.since"
"""When a lock was taken, by the clock of its machine that nobody sets."""

Position = Callable[[], int]
"""Returns how many entries the history has."""


@dataclass(frozen=True)
class HeldLock:
    """A lock in the registry."""

    number: int
    owner: Owner
    intent: Mapping[str, Any]
    """The entry that its holder writes."""
    moving: bool
    """Whether its holder was about to move the alias: if the alias is as the entry wants it, it was moved."""
    created: float
    """Seconds since 1970, by the clock of the registry."""
    since: float | None
    """Seconds since its machine was started; None in locks from before this was kept."""

    def is_stale(self) -> bool:
        """Return whether its holder died, or had more time than a promotion takes."""
        return self.owner.is_gone() or self._age() > STALE_SECONDS

    def _age(self) -> float:
        # a clock that is set forwards would make the lock of a living process of this machine old
        here = self.since is not None and self.owner.is_here()
        return time.monotonic() - (self.since or 0) if here else time.time() - self.created


class PromotionLock:
    """The lock of one entry, held by this process."""

    def __init__(self, client: mlflow.MlflowClient, model: str, number: int, owner: Owner, position: Position) -> None:
        self._client, self._model, self.number, self._owner = client, model, number, owner
        self._position, self._since = position, time.monotonic()

    def check(self) -> None:
        """Raise JobError if another process may have taken over: to be called before every change."""
        late = time.monotonic() - self._since > LEASE_SECONDS
        if late or not self.is_held():
            raise JobError(f"the promotion of {self._model} took too long; the next one settles it (--history)")

    def announce(self) -> None:
        """Note in the lock that the alias is about to move."""
        self.check()
        self._client.set_registered_model_tag(lock_name(self._model, self.number), MOVING, "true")

    def is_first(self) -> bool:
        """Return whether its entry is not written yet: to be asked after creation, which may have been too late."""
        return self.is_held() and self._position() < self.number

    def is_held(self) -> bool:
        """Return whether no process came after: one takes the next number first, and removes this lock last."""
        return find_lock(self._client, self._model, self.number + 1) is None and self._is_ours()

    def release(self) -> None:
        """Remove the lock, so that the next process can take one."""
        if self._is_ours():
            remove_lock(self._client, self._model, self.number)

    def _is_ours(self) -> bool:
        held = find_lock(self._client, self._model, self.number)
        return held is not None and held.owner.token == self._owner.token


def acquire(
    client: mlflow.MlflowClient, model: str, position: Position, by: str, intent: Mapping[str, Any]
) -> tuple[PromotionLock, list[HeldLock]]:
    """Wait for the right to write the next entry; returns it with the stale locks before it, which must be settled.

    Raises JobError if another process holds it for longer than a promotion takes.
    """
    waited_since, owner = time.monotonic(), this_process(by)
    while True:
        done = position()
        _sweep(client, model, done)
        held = open_locks(client, model, done)
        busy = next((lock for lock in held if not lock.is_stale()), None)
        if busy is None:
            number = done + len(held) + 1
            lock = PromotionLock(client, model, number, owner, position)
            if _create(client, model, number, owner, intent):
                if lock.is_first():
                    return lock, held
                lock.release()
        elif time.monotonic() - waited_since > PATIENCE_SECONDS:
            raise JobError(f"a promotion of {model} by {busy.owner.by} is running; try again in {STALE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def open_locks(client: mlflow.MlflowClient, model: str, done: int) -> list[HeldLock]:
    """Return the locks whose entries, those after the first `done`, are not written yet."""
    held: list[HeldLock] = []
    while (lock := find_lock(client, model, done + len(held) + 1)) is not None:
        held.append(lock)
    return held


def find_lock(client: mlflow.MlflowClient, model: str, number: int) -> HeldLock | None:
    """Return a lock, None if there is none."""
    name = lock_name(model, number)
    for _ in range(READINGS):
        try:
            found = client.get_registered_model(name)
        except MlflowException as error:
            if is_missing(error):
                return None
            raise
        if {OWNER, INTENT} <= found.tags.keys():
            owner, intent = Owner(**json.loads(found.tags[OWNER])), json.loads(found.tags[INTENT])
            since = float(found.tags[SINCE]) if SINCE in found.tags else None
            return HeldLock(number, owner, intent, MOVING in found.tags, found.creation_timestamp / 1000, since)
        time.sleep(POLL_SECONDS)  # MLflow reads its tags after itself, and it may be removed in between
    raise JobError(f"registered model {name} has the name of a lock, but is none: rename it")


def remove_lock(client: mlflow.MlflowClient, model: str, number: int) -> None:
    """Remove a lock; it is no error if it is gone."""
    try:
        client.delete_registered_model(lock_name(model, number))
    except MlflowException as error:
        if not is_missing(error):
            raise


def lock_name(model: str, number: int) -> str:
    """Return the name of the registered model that is a lock."""
    return f"{model}.promotion-{number:04d}"


def is_missing(error: MlflowException) -> bool:
    """Return whether MLflow reports that something does not exist."""
    return _is(error, RESOURCE_DOES_NOT_EXIST)


def _create(client: mlflow.MlflowClient, model: str, number: int, owner: Owner, intent: Mapping[str, Any]) -> bool:
    """Create a lock with its tags, in one transaction; returns whether it is ours."""
    tags = {OWNER: json.dumps(asdict(owner)), INTENT: json.dumps(redacted(intent), ensure_ascii=False)}
    tags[SINCE] = str(time.monotonic())
    note = f"A promotion of {model} is running, or was interrupted; this lock is removed when it is done or settled."
    try:
        # with its tags in one call: a lock without an owner could never be settled
        client.create_registered_model(lock_name(model, number), tags, note)
    except MlflowException as error:
        found = find_lock(client, model, number)
        if found is None and not (is_missing(error) or _is(error, RESOURCE_ALREADY_EXISTS)):
            raise
        # ours after all if the answer was lost on its way and the request was sent again
        return found is not None and found.owner.token == owner.token
    return True


def _sweep(client: mlflow.MlflowClient, model: str, done: int) -> None:
    """Remove the locks of processes that died after the entry and before the removal."""
    number = done
    while number and find_lock(client, model, number) is not None:
        remove_lock(client, model, number)
        number -= 1


def _is(error: MlflowException, code: int) -> bool:
    return bool(error.error_code == ErrorCode.Name(code))
