"""Promotion of a registered model's version through the gates of a policy, rollback and history."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.gates import Gate
from anomalyclip.evaluation.policy import Policy
from anomalyclip.job import Job
from anomalyclip.jobs.judging import examination, judge
from anomalyclip.tracking.promotion import (
    CANDIDATE,
    CHAMPION,
    Entry,
    ModelRegistry,
    new_entry,
    open_registry,
    previous_champion,
    who,
)

log = logging.getLogger("anomalyclip")


def promote(
    job: Job, name: str, policy: Policy, version: str | None, dry_run: bool, why: str | None = None
) -> dict[str, Any]:
    """Make the candidate, or the version given, champion if it passes the policy's gates; returns the verdict.

    Raises UsageError if there is no candidate or no policy to judge it by, and JobError if a gate fails.
    """
    with open_registry(job.tracking_uri, name) as registry:
        settled = _settle(registry, dry_run)
        number = _asked(registry, version, settled)
        champion = registry.aliased(CHAMPION)
        if number == champion:
            if not dry_run:
                registry.withdraw_champion()
            log.info("version %s of %s is the champion already", number, name)
            return {"model": name, "version": number, "decision": "champion already", "champion": champion}
        test = examination(job, policy)
        gates = judge(job, policy, test, name, number, champion)
        _log_gates(gates)
        passed = all(gate.passed for gate in gates)
        result = {"model": name, "version": number, "champion_before": champion, "gates": [asdict(g) for g in gates]}
        if not dry_run:
            if version is not None:
                registry.set_candidate(number)
            entry = _keep(registry, number, champion, gates, {"policy": policy.model_dump(mode="json")}, why)
            registry.write(entry)
            result |= asdict(entry)
        if not passed:
            failed = ", ".join(gate.name for gate in gates if not gate.passed)
            raise JobError(f"version {number} of {name} is not promoted; gates that failed: {failed}")
        log.info("version %s of %s %s", number, name, "would be promoted" if dry_run else "is the champion now")
        return {"decision": "would be promoted", **result}


def roll_back(job: Job, name: str, dry_run: bool, why: str | None = None) -> dict[str, Any]:
    """Put the previous champion back into service; raises UsageError if there is none."""
    with open_registry(job.tracking_uri, name) as registry:
        _settle(registry, dry_run)
        champion = registry.aliased(CHAMPION)
        before = previous_champion(registry.history(), champion)
        if before is None:
            raise UsageError(f"{name} has no previous champion to put back")
        registry.version(before)
        entry = new_entry("rolled back", before, champion, why or f"version {champion} was taken out of service")
        if dry_run:
            log.info("version %s of %s would be the champion again", before, name)
            return {"model": name, **asdict(entry), "decision": "would be rolled back"}
        registry.write(entry)
        log.info("version %s of %s is the champion again", before, name)
        return {"model": name, **asdict(entry)}


def history(job: Job, name: str) -> dict[str, Any]:
    """Log the champion, since when and why, and all earlier decisions; returns the same."""
    with open_registry(job.tracking_uri, name) as registry:
        entries, champion = registry.history(), registry.aliased(CHAMPION)
        _settle(registry, dry_run=True)
        last = next((entry for entry in reversed(entries) if entry.moves), None)
        since = last if last is not None and last.version == champion else None
        for line in _table(entries):
            log.info("%s", line)
        log.info("champion: %s", _in_service(champion, since))
        candidate = registry.aliased(CANDIDATE)
        log.info("candidate: %s", "none" if candidate is None else f"version {candidate}")
        return {
            "model": name,
            "champion": champion,
            "since": since and since.at,
            "why": since and since.why,
            "candidate": candidate,
            "unsettled": [dict(lock.intent) for lock in registry.unsettled()],
            "history": [asdict(entry) for entry in entries],
        }


def _settle(registry: ModelRegistry, dry_run: bool) -> list[Entry]:
    """Finish or undo interrupted promotions, or with `dry_run` only log them; returns what was settled."""
    if not dry_run:
        return registry.settle(who())
    for lock in registry.unsettled():
        log.warning("%s by %s, %s", f"a promotion of version {lock.intent.get('version')}", lock.owner.by,
                    "was interrupted; the next one settles it" if lock.is_stale() else "is running")  # fmt: skip
    return []


def _asked(registry: ModelRegistry, version: str | None, settled: Sequence[Entry]) -> str:
    """Return the version to judge; a promotion that was just settled may have been of this candidate."""
    if version is not None:
        return str(registry.version(version).version)
    number = registry.aliased(CANDIDATE)
    if number is None and settled and settled[-1].decision == "promoted":
        number = settled[-1].version
    if number is None:
        raise UsageError(f"{registry.name} has no candidate: choose a version with --version N")
    return number


def _log_gates(gates: Sequence[Gate]) -> None:
    width = max(len(gate.name) for gate in gates)
    for gate in gates:
        log.info("%s  %s %s", "passed" if gate.passed else "FAILED", gate.name.ljust(width), gate.says)


def _keep(
    registry: ModelRegistry, number: str, champion: str | None, gates: Sequence[Gate], more: Mapping[str, Any],
    why: str | None,
) -> Entry:  # fmt: skip
    """Store the figures as an artifact and in the version's description, and return the entry of the decision."""
    passed = all(gate.passed for gate in gates)
    failed = "; ".join(f"{gate.name}: {gate.says}" for gate in gates if not gate.passed)
    said = f"all {len(gates)} gates passed" if passed else f"gates failed: {failed}"
    entry = new_entry("promoted" if passed else "refused", number, champion, f"{why}; {said}" if why else said)
    artifact = f"promotion/{registry.name}-{number}-{entry.at.replace(':', '-')}-{secrets.token_hex(2)}.json"
    figures = {"model": registry.name, "version": number, "champion": champion, "by": entry.by, "at": entry.at,
               "passed": passed, "gates": [asdict(gate) for gate in gates], **more}  # fmt: skip
    return replace(entry, record=registry.keep_verdict(number, artifact, figures))


def _table(entries: Sequence[Entry]) -> list[str]:
    """Return one line per entry."""
    return [
        f"{number:4}  {entry.at}  version {entry.version:4} {entry.decision:12} (champion before: "
        f"{entry.champion or 'none'}) by {entry.by}: {entry.why}"
        + (f" [interrupted, settled by {entry.settled_by}]" if entry.settled_by else "")
        for number, entry in enumerate(entries, start=1)
    ]


def _in_service(champion: str | None, since: Entry | None) -> str:
    if champion is None:
        return "none"
    return f"version {champion}, " + (
        f"since {since.at}: {since.why}" if since else "set by hand: the history has no entry for it"
    )
