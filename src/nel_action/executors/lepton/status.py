"""Looking at many attempts at once: one listing of jobs, and one of endpoints where jobs need any."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nel_action.errors import NelActionError
from nel_action.executors.lepton.client import Cloud, TokenError
from nel_action.executors.lepton.endpoints import Endpoints, Sight
from nel_action.executors.lepton.job_log import History, job_id, job_name
from nel_action.executors.lepton.names import ENDPOINT_LABEL, INVOCATION_LABEL, mapping
from nel_action.executors.lepton.secrets import Vault
from nel_action.executors.lepton.states import ENDED, by_events, by_record, runs_before, seen, word_of
from nel_action.model.job import Attempt, JobState, JobStatus, Key, Reason, attempt_name

__all__ = ["Observer", "active", "choose", "endpoint_of", "invocation_of"]

GRACE: Final = 45.0
"""Seconds that a job's own record may come after the platform's word: logs arrive late."""

LOST_AFTER: Final = 180.0
"""Seconds after which a job is lost that the platform answers about, and does not know."""

SETTLED: Final = 60.0
"""Seconds after which whoever submitted the last job will not submit another one for the same endpoint."""

STUCK: Final = 300.0
"""Seconds after which an image that cannot be had, or a server that cannot start, is given up."""

LATE: Final = 300.0
"""Seconds that a job has beyond its own deadline before it is stopped from here."""

REFUSALS: Final = 5
"""Looks in a row that the token is refused before waiting on is pointless."""


def active(item: Mapping[str, Any]) -> bool:
    """Whether a job has not ended."""
    return word_of(item) not in ENDED


def endpoint_of(item: Mapping[str, Any]) -> str | None:
    """Return the name of the endpoint that a job needs."""
    found = mapping(mapping(item.get("metadata")).get("labels")).get(ENDPOINT_LABEL)
    return str(found) if found else None


def invocation_of(item: Mapping[str, Any]) -> str:
    """Return the id of the invocation that submitted a job."""
    return str(mapping(mapping(item.get("metadata")).get("labels")).get(INVOCATION_LABEL) or "")


def choose(items: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the job of each name, which is the eldest, and those that were submitted a second time."""
    chosen: dict[str, Mapping[str, Any]] = {}
    second = []
    for item in sorted(items, key=lambda one: (mapping(one.get("metadata")).get("created_at") or 0, job_id(one))):
        if job_name(item) in chosen:
            second.append(item)
        else:
            chosen[job_name(item)] = item
    return chosen, second


@dataclass
class Observer:
    """Looks, and remembers how long it has seen what may still change."""

    cloud: Cloud
    vault: Vault
    endpoints: Endpoints
    history: History
    clock: Callable[[], float] = time.time
    own: set[str] = field(default_factory=set)
    """Endpoints whose jobs this process has submitted, all of them."""
    doomed: dict[str, tuple[Reason, str]] = field(default_factory=dict)
    """Jobs that were stopped from here, and why."""
    _since: dict[tuple[str, str], float] = field(default_factory=dict)
    _refusals: int = 0

    def listing(self) -> list[dict[str, Any]]:
        """Return all jobs of ours, alive or archived; a token that was renewed meanwhile is read again.

        Raises:
            NelActionError: the workspace does not tell.
        """
        try:
            return self.cloud.jobs("nel-")
        except TokenError:
            self.cloud.reopen()
            return self.cloud.jobs("nel-")

    def look(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Return every attempt's status; unknown where nothing could be seen, never left out.

        Raises:
            TokenError: the token was refused several times in a row: waiting on is pointless until it is renewed.
        """
        if not attempts:
            return {}
        try:
            items = self.listing()
        except TokenError as error:
            self._refusals += 1
            if self._refusals >= REFUSALS:
                raise
            return _blind(attempts, error)
        except NelActionError as error:
            return _blind(attempts, error)
        self._refusals = 0
        chosen, second = choose(items)
        for item in second:
            if active(item):
                self.stop(item)
        found = {}
        for attempt in attempts:
            name = attempt_name(attempt.key, attempt.number)
            found[attempt.key] = self._status(name, chosen.get(name))
        return self._settle(attempts, found, chosen, [item for item in items if job_name(item) in chosen])

    def _status(self, name: str, item: Mapping[str, Any] | None) -> JobStatus:
        if item is None:
            if self._lasting(name, "absent") < LOST_AFTER:
                return JobStatus(state=JobState.UNKNOWN, detail="Lepton does not list it")
            detail = "Lepton has forgotten it; was it deleted, archive and all?"
            return JobStatus(state=JobState.FAILED, reason=Reason.INFRASTRUCTURE, detail=detail)
        self._since.pop((name, "absent"), None)
        try:
            if word_of(item) in ENDED:
                return self._ended(name, item)
            return self._alive(name, item)
        except NelActionError as error:
            return JobStatus(state=JobState.UNKNOWN, detail=error.problems[0].message)

    def _ended(self, name: str, item: Mapping[str, Any]) -> JobStatus:
        """Say how a job ended: by its own record, and by the platform's words where it left none."""
        word = word_of(item)
        if name in self.doomed:
            reason, detail = self.doomed[name]
            return JobStatus(state=JobState.FAILED, reason=reason, detail=detail)
        record = self.history.record(item)
        if record is not None:
            status = by_record(record, word)
            return replace(status, detail="; ".join(filter(None, (status.detail, runs_before(item)))) or None)
        if word in {"Stopped", "Deleted"}:
            return JobStatus(state=JobState.CANCELLED, detail=f"Lepton says {word}")
        if self._lasting(name, word) < GRACE:
            return seen(item)
        cause = by_events(self._events(item))
        if cause is not None:
            return JobStatus(state=JobState.FAILED, reason=cause[0], detail=f"Lepton says {word}: {cause[1]}")
        detail = f"Lepton says {word}, and the job's log does not say how it ended"
        return JobStatus(state=JobState.FAILED, reason=Reason.INFRASTRUCTURE, detail=detail)

    def _alive(self, name: str, item: Mapping[str, Any]) -> JobStatus:
        word, status = word_of(item), seen(item)
        if word in {"Starting", "Restarting"} and self._lasting(name, word) > GRACE:
            cause = by_events(self._events(item))
            if cause is not None and cause[0] is Reason.IMAGE:
                status = replace(status, detail=f"its image cannot be had: {cause[1]}")
                if self._lasting(name, word) > STUCK:
                    self.doom(item, Reason.IMAGE, f"its image cannot be had: {cause[1]}")
        if word == "Running":
            limit = _limit(item)
            if limit is not None and self._lasting(name, word) > limit + LATE:
                self.doom(item, Reason.TIME_LIMIT, f"it still ran {LATE:g} s after its own deadline, and was stopped")
        return status

    def _events(self, item: Mapping[str, Any]) -> list[str]:
        """Return the reasons of a job's events, oldest first; none where the platform does not tell."""
        path = f"/jobs/{job_id(item)}/events"
        try:
            events = self.cloud.request("get", path, what="ask for a job's events") or []
        except NelActionError:
            return []
        rows = [event for event in events if isinstance(event, dict)]
        rows.sort(key=lambda event: str(event.get("last_observed_time")))
        return [str(event.get("reason")) for event in rows]

    def doom(self, item: Mapping[str, Any], reason: Reason, detail: str) -> None:
        """Stop a job that can come to no good end, and remember why."""
        self.stop(item)
        self.doomed[job_name(item)] = (reason, detail)

    def stop(self, item: Mapping[str, Any]) -> None:
        """Ask the platform to stop a job.

        Raises:
            NelActionError: it was not told.
        """
        body = {"spec": {"stopped": True}}
        self.cloud.request("patch", f"/jobs/{job_id(item)}", what=f"stop {job_name(item)}", json=body)

    def _settle(
        self,
        attempts: Sequence[Attempt],
        found: dict[Key, JobStatus],
        chosen: Mapping[str, Mapping[str, Any]],
        items: Sequence[Mapping[str, Any]],
    ) -> dict[Key, JobStatus]:
        """See to endpoints and secrets; who asks hears of an end only when nothing of it is left running."""
        names = {attempt.key: attempt_name(attempt.key, attempt.number) for attempt in attempts}
        wanted = {key: endpoint_of(chosen[name]) for key, name in names.items() if name in chosen}
        needed = {name for name in wanted.values() if name}
        if needed:
            found = self._see_to_endpoints(needed, wanted, found, items)
        self.vault.clear({names[key] for key, status in found.items() if status.state.final})
        return found

    def _see_to_endpoints(
        self,
        needed: set[str],
        wanted: Mapping[Key, str | None],
        found: dict[Key, JobStatus],
        items: Sequence[Mapping[str, Any]],
    ) -> dict[Key, JobStatus]:
        try:
            sights = self.endpoints.all()
        except NelActionError as error:
            return {
                key: self._held(one, f"its endpoint cannot be seen: {error.problems[0].message}")
                if wanted.get(key)
                else one
                for key, one in found.items()
            }
        for name in needed:
            users = [item for item in items if endpoint_of(item) == name]
            if any(map(active, users)):
                note = self._keep_up(name, sights.get(name), [one for one in users if active(one)])
            else:
                note = self._take_down(name, sights.get(name), users)
            if note:
                found = {key: self._held(one, note) if wanted.get(key) == name else one for key, one in found.items()}
        return found

    @staticmethod
    def _held(status: JobStatus, note: str) -> JobStatus:
        """Tell of the endpoint with a job that waits for it; an end counts only when the endpoint is gone."""
        if status.state.final:
            return JobStatus(state=JobState.UNKNOWN, detail=f"it has ended; {note}")
        return replace(status, detail="; ".join(part for part in (status.detail, note) if part))

    def _keep_up(self, name: str, sight: Sight | None, users: Sequence[Mapping[str, Any]]) -> str | None:
        """Wake an endpoint that jobs need; say why it is not ready; give up where it can never be."""
        try:
            if sight is None or sight.leaving:
                if self._lasting(name, "gone") > GRACE:
                    for item in users:
                        self.doom(item, Reason.ENDPOINT, f"its endpoint {name} was taken down by somebody else")
                return None
            self._since.pop((name, "gone"), None)
            if sight.asleep:
                self.endpoints.wake(sight)
                return f"its endpoint {name} had scaled to zero and was woken"
            if sight.ready:
                return None
            word, message = self.endpoints.why(sight)
        except NelActionError as error:
            return f"its endpoint {name}: {error.problems[0].message}"
        told = f"its endpoint {name} is not ready: {NOT_READY.get(word, word)}{f' ({message})' if message else ''}"
        if word in {"ConfigError", "Error"} and self._lasting(name, "broken") > STUCK:
            for item in users:
                self.doom(item, Reason.ENDPOINT, told)
        return told

    def _take_down(self, name: str, sight: Sight | None, users: Sequence[Mapping[str, Any]]) -> str | None:
        """Take down an endpoint that nobody needs any more; say why not, where it is still there."""
        if sight is None or sight.keep or not sight.ours:
            return None
        newest = max((mapping(one.get("metadata")).get("created_at") or 0 for one in users), default=0) / 1000
        if name not in self.own and self.clock() - newest < SETTLED:
            return f"its endpoint {name} is taken down as soon as no other job can come for it"
        try:
            self.endpoints.remove(name)
        except NelActionError as error:
            if self._lasting(name, "staying") < LOST_AFTER:
                return f"its endpoint {name} is still there: {error.problems[0].message}"
        return None

    def _lasting(self, name: str, what: str) -> float:
        """Return for how long that has been seen."""
        return self.clock() - self._since.setdefault((name, what), self.clock())


NOT_READY: Final = {
    "InProgress": "it is being started",
    "NoCapacity": "no machine of its shape is free",
    "ConfigError": "its settings are wrong, or its server ends",
    "SystemError": "the platform failed",
    "RequireReadinessApproval": "somebody must approve it on the dashboard",
    "Queueing": "it waits for a machine",
}


def _limit(item: Mapping[str, Any]) -> float | None:
    """Return the deadline that a job was given, from what it was told to do."""
    command = mapping(mapping(item.get("spec")).get("container")).get("command") or []
    try:
        order = json.loads(command[3])
        return float(order["timeout"]) + float((order.get("health") or {}).get("seconds") or 0)
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _blind(attempts: Sequence[Attempt], error: NelActionError) -> dict[Key, JobStatus]:
    detail = error.problems[0].message
    return {attempt.key: JobStatus(state=JobState.UNKNOWN, detail=detail) for attempt in attempts}
