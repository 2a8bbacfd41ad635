"""Candidate and champion of a registered model, since when and why: aliases, and a history that only grows.

An entry of the history is a tag of the registered model, `promotion.<number>`; the model's description shows the latest
as a table. Every move of the champion goes through `write`, in one order: lock, alias, tag of the version, entry,
description, lock removed. If a process dies in between, the next one finishes its promotion if the alias has moved,
and undoes it if not; a description is written again from all entries by the next decision.
"""

import getpass
import json
import logging
import os
import re
import socket
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import mlflow
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from anomalyclip.errors import JobError, UsageError
from anomalyclip.redaction import redact, redacted
from anomalyclip.tracking.pages import table, with_section
from anomalyclip.tracking.promotion_lock import HeldLock, PromotionLock, acquire, is_missing, open_locks, remove_lock
from anomalyclip.tracking.server import SERVER_ERRORS, reach, reason

log = logging.getLogger("anomalyclip")

CANDIDATE, CHAMPION = "candidate", "champion"
DECISION = "promotion.decision"
"""Tag of a version: the latest decision about it."""
ENTRY = re.compile(r"promotion\.(\d+)")
WHY_LENGTH = 1000
"""Characters of a reason; the tag that holds an entry may have 5000."""
ENTRIES_SHOWN, WHY_SHOWN = 15, 120
"""Entries of the history in the model's description, and characters of their reasons there."""
Decision = Literal["promoted", "refused", "rolled back", "undone"]


@dataclass(frozen=True)
class Entry:
    """One decision; `promoted` and `rolled back` move the alias, the others do not."""

    decision: Decision
    version: str
    """The version judged, or put back."""
    champion: str | None
    """The champion before."""
    by: str
    at: str
    """In UTC, ISO 8601."""
    why: str
    record: str | None = None
    """Place of all figures: an artifact of the version's run."""
    settled_by: str | None = None
    """Who finished or undid it, if the process that started it died."""

    @property
    def moves(self) -> bool:
        """Whether the alias `champion` moves with it."""
        return self.decision in ("promoted", "rolled back")


class ModelRegistry:
    """A registered model; raises UsageError if there is none of that name."""

    def __init__(self, client: mlflow.MlflowClient, name: str) -> None:
        self.client, self.name = client, name
        self._model()

    def aliased(self, alias: str) -> str | None:
        """Return the version of an alias, None if it is not set."""
        found = self._model().aliases.get(alias)
        return None if found is None else str(found)

    def version(self, number: str) -> ModelVersion:
        """Return a version; raises UsageError if there is none."""
        try:
            return self.client.get_model_version(self.name, number)
        except MlflowException as error:
            if is_missing(error) or not number.isdecimal():
                raise UsageError(f"registered model {self.name} has no version {number}") from None
            raise

    def set_candidate(self, number: str) -> None:
        """Make a version the candidate."""
        self.client.set_registered_model_alias(self.name, CANDIDATE, number)

    def withdraw_champion(self) -> None:
        """Remove the candidate's alias from the champion, if another process has made it both."""
        if (champion := self.aliased(CHAMPION)) is not None:
            self._withdraw(champion)

    def history(self) -> list[Entry]:
        """Return all entries, the oldest first."""
        numbered = {
            int(found[1]): value for key, value in self._model().tags.items() if (found := ENTRY.fullmatch(key))
        }
        return [Entry(**json.loads(numbered[number])) for number in sorted(numbered)]

    def unsettled(self) -> list[HeldLock]:
        """Return the promotions that are at work, or whose process died."""
        return open_locks(self.client, self.name, self._position())

    def settle(self, by: str) -> list[Entry]:
        """Finish or undo the promotions of processes that died; returns their entries."""
        if not any(lock.is_stale() for lock in self.unsettled()):
            return []
        lock, stale = acquire(self.client, self.name, self._position, by, {"settles": "those before"})
        settled = self._settle(lock, stale, by)
        lock.release()
        return settled

    def write(self, entry: Entry) -> None:
        """Move the champion as an entry decides, and keep the entry; raises JobError if another was faster."""
        lock, stale = acquire(self.client, self.name, self._position, entry.by, asdict(entry))
        self._settle(lock, stale, entry.by)
        # gates run without the lock: meanwhile another version may have become champion
        if (now := self.aliased(CHAMPION)) != entry.champion:
            self.withdraw_champion()
            lock.release()
            raise JobError(
                f"the champion of {self.name} was {_named(entry.champion)} and is {_named(now)} now: another was faster"
            )
        if entry.moves:
            # announced before the move: if this process dies, the next one knows whether the alias can be its work
            lock.announce()
            self.client.set_registered_model_alias(self.name, CHAMPION, entry.version)
        self._finish(lock, lock.number, entry)
        lock.release()

    def keep_verdict(self, number: str, artifact: str, figures: Mapping[str, Any]) -> str | None:
        """Keep a verdict as an artifact of the version's run, and its gates in the version's description.

        `figures` has `by`, `at`, `passed` and, for each of the `gates`, `name`, `passed` and `says`. Returns where the
        artifact is, None if the version has no run.
        """
        version = self.version(number)
        text = with_section(version.description or "", "Gates", _gates_table(figures))
        self.client.update_model_version(self.name, number, redact(text))
        if not version.run_id:
            log.warning("version %s was registered without a run: its verdict is kept in its description alone", number)
            return None
        self.client.log_dict(version.run_id, redacted(dict(figures)), artifact)
        return f"runs:/{version.run_id}/{artifact}"

    def _settle(self, lock: PromotionLock, stale: Sequence[HeldLock], by: str) -> list[Entry]:
        """Finish those whose alias has moved, undo the others, and remove their locks; returns their entries."""
        settled = []
        for held in stale:
            if held.number > self._position() and "decision" in held.intent:
                entry = replace(Entry(**held.intent), settled_by=by)
                # the alias decides: a version that it has shown may have been served
                moved = not entry.moves or (held.moving and self.aliased(CHAMPION) == entry.version)
                entry = entry if moved else replace(entry, decision="undone")
                log.warning("a promotion of version %s by %s was interrupted: it is %s now", entry.version,
                            held.owner.by, "finished" if moved else "undone")  # fmt: skip
                self._finish(lock, held.number, entry)
                settled.append(entry)
            remove_lock(self.client, self.name, held.number)
        return settled

    def _finish(self, lock: PromotionLock, number: int, entry: Entry) -> None:
        """Write everything of an entry except the alias of the champion; what exists is written again."""
        if entry.decision == "promoted":
            lock.check()
            self._withdraw(entry.version)
        lock.check()
        self._tag(entry)
        lock.check()
        # one tag per entry, since a single-row write is atomic; an artifact would be read and rewritten
        self.client.set_registered_model_tag(
            self.name, f"promotion.{number:04d}", json.dumps(redacted(asdict(entry)), ensure_ascii=False)
        )
        # the entry is decided now: who took the next lock since describes both, and this process has nothing to add
        if lock.is_held():
            self._describe_history()

    def _describe_history(self) -> None:
        """Write the history into the model's description; the entries are what counts, so a failure is only logged."""
        # last, and from all entries: the description is a copy that the next decision repairs
        text = with_section(self._model().description or "", "Promotions", _history_table(self.name, self.history()))
        try:
            self.client.update_registered_model(self.name, text)
        except MlflowException as error:
            log.warning("the description of %s is old until the next decision: %s", self.name, reason(error))

    def _withdraw(self, number: str) -> None:
        """Remove the candidate's alias from a version that is champion now."""
        if self.aliased(CANDIDATE) == number:
            self.client.delete_registered_model_alias(self.name, CANDIDATE)

    def _tag(self, entry: Entry) -> None:
        """Set the decision as a tag of the versions; one that was deleted meanwhile gets none."""
        decisions: dict[str, str] = {entry.version: "put back" if entry.decision == "rolled back" else entry.decision}
        if entry.decision == "rolled back" and entry.champion is not None:
            decisions[entry.champion] = "rolled back"
        for number, decision in decisions.items():
            try:
                self.client.set_model_version_tag(self.name, number, DECISION, decision)
            except MlflowException as error:
                if not is_missing(error):
                    raise

    def _position(self) -> int:
        return max((int(found[1]) for key in self._model().tags if (found := ENTRY.fullmatch(key))), default=0)

    def _model(self) -> RegisteredModel:
        try:
            return self.client.get_registered_model(self.name)
        except MlflowException as error:
            if is_missing(error):
                raise UsageError(f"there is no registered model {self.name}") from None
            raise


@contextmanager
def open_registry(tracking_uri: str, model: str) -> Iterator[ModelRegistry]:
    """Open the history of a registered model; whatever MLflow refuses inside is a JobError of one line.

    Raises UsageError if MLflow does not answer, or is an SQLite file that does not exist.
    """
    path = tracking_uri.removeprefix("sqlite:///")
    if path != tracking_uri and not Path(path).is_file():
        raise UsageError(f"there is no registered model {model}: no MLflow database at {path}")
    client = reach(tracking_uri)
    try:
        yield ModelRegistry(client, model)
    except SERVER_ERRORS as error:
        raise JobError(f"MLflow at {tracking_uri}: {reason(error)}") from error


def new_entry(decision: Decision, version: str, champion: str | None, why: str, record: str | None = None) -> Entry:
    """Return an entry of this user and moment."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Entry(decision, version, champion, who(), now, textwrap.shorten(why, WHY_LENGTH, placeholder=" …"), record)


def who() -> str:
    """Return the name of the person at work: MLflow's user, else that of the machine."""
    try:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def previous_champion(history: Sequence[Entry], champion: str | None) -> str | None:
    """Return the version in service before the present one; what was rolled back does not count."""
    before: list[str] = []
    for entry in filter(lambda entry: entry.moves, history):
        if entry.champion is not None and before[-1:] != [entry.champion]:
            before.append(entry.champion)  # its alias was set by hand
        if entry.decision == "rolled back":
            while before and before.pop() != entry.version:
                continue
        before.append(entry.version)
    if before[-1:] == [champion]:
        before.pop()
    return before[-1] if before else None


def _history_table(name: str, history: Sequence[Entry]) -> str:
    """Return the latest entries as Markdown, the newest first."""
    rows = [["when (UTC)", "version", "decision", "who", "why"]]
    for entry in history[: -ENTRIES_SHOWN - 1 : -1]:
        settled = f" (interrupted, settled by {entry.settled_by})" if entry.settled_by else ""
        why = textwrap.shorten(entry.why, WHY_SHOWN, placeholder=" …")
        rows.append([_minute(entry.at), entry.version, entry.decision, entry.by, why + settled])
    return f"{table(rows)}\n\nAll decisions, with full reasons: `python workflows/promote.py {name} --history`."


def _gates_table(figures: Mapping[str, Any]) -> str:
    """Return a verdict as Markdown, the gates that failed first."""
    gates = sorted(figures["gates"], key=lambda gate: gate["passed"])
    rows = [[gate["name"], "passed" if gate["passed"] else "**failed**", gate["says"]] for gate in gates]
    verdict = "passed" if figures["passed"] else "failed"
    judged = f"Judged {_minute(figures['at'])} UTC by {figures['by']}: {verdict}."
    return f"{judged}\n\n{table([['gate', 'result', 'found'], *rows])}"


def _minute(at: str) -> str:
    return at[:16].replace("T", " ")


def _named(version: str | None) -> str:
    return "none" if version is None else f"version {version}"
