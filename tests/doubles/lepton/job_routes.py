"""`/jobs`."""

from __future__ import annotations

import time

from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.events import LeptonEvent
from leptonai.api.v2.types.job import LeptonJob
from leptonai.api.v2.types.replica import Replica
from tests.doubles.lepton.bodies import Refused, read, show
from tests.doubles.lepton.job_rules import matches
from tests.doubles.lepton.table import Answer, Asked, Table

__all__ = ["JOBS"]

JOBS = Table()


@JOBS.on("POST", "/jobs")
def create(asked: Asked) -> Answer:
    return Answer(show(asked.platform.jobs.create(read(LeptonJob, asked.body)).job), 201)


@JOBS.on("GET", "/jobs")
def listing(asked: Asked) -> Answer:
    every = reversed(asked.platform.jobs.records.values())
    found = [record for record in every if matches(record.job, asked.query, archived=record.archived)]
    most = asked.platform.settings.max_page
    page, size = int(asked.one("page", "1")), min(int(asked.one("page_size", str(most))), most)
    shown = found[(page - 1) * size : page * size]
    bodies = [show(record.job) for record in shown]
    asked.platform.jobs.look(shown)
    return Answer({"jobs": bodies, "total": len(found)})


@JOBS.on("GET", "/jobs/{id}")
def get(asked: Asked) -> Answer:
    record = asked.platform.jobs.get(asked.parts["id"], asked.one("job_query_mode", "alive_only"))
    body = show(record.job)
    asked.platform.jobs.look([record])
    return Answer(body)


@JOBS.on("PATCH", "/jobs/{id}")
def change(asked: Asked) -> Answer:
    record = asked.platform.jobs.get(asked.parts["id"], "alive_only")
    if asked.body not in ({"spec": {"stopped": True}}, {"spec": {"stopped": False}}):
        raise Refused(400, "InvalidRequest", "only spec.stopped can be changed")
    jobs = asked.platform.jobs
    (jobs.stop if asked.body["spec"]["stopped"] else jobs.start_again)(record)
    return Answer(show(record.job))


@JOBS.on("DELETE", "/jobs/{id}")
def delete(asked: Asked) -> Answer:
    mode = asked.one("job_query_mode", "alive_only")
    asked.platform.jobs.delete(asked.platform.jobs.get(asked.parts["id"], mode), mode)
    return Answer({})


@JOBS.on("GET", "/jobs/{id}/events")
def events(asked: Asked) -> Answer:
    record = asked.platform.jobs.get(asked.parts["id"])
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(asked.platform.clock.now()))
    found = [LeptonEvent(type=kind, reason=reason, count=1, last_observed_time=now) for kind, reason in record.events]
    return Answer([show(event) for event in found])


@JOBS.on("GET", "/jobs/{id}/replicas")
def replicas(asked: Asked) -> Answer:
    record = asked.platform.jobs.get(asked.parts["id"], asked.one("job_query_mode", "alive_only"))
    if not record.runs or record.archived:
        return Answer([])
    return Answer([show(Replica(metadata=Metadata(id=record.replica, name=record.replica), id=record.replica))])


@JOBS.on("GET", "/jobs/{id}/replicas/{replica}/log")
def log(asked: Asked) -> Answer:
    record = asked.platform.jobs.get(asked.parts["id"], "alive_only")
    if not record.runs or asked.parts["replica"] != record.replica:
        raise Refused(404, "ResourceNotFound", f"replica {asked.parts['replica']} not found")
    return Answer(stream=record.log.follow(record.replica, asked.platform.closing, asked.platform.settle))
