"""Routes of `/jobs`."""

from __future__ import annotations

import time

from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.events import LeptonEvent
from leptonai.api.v2.types.job import LeptonJob
from leptonai.api.v2.types.replica import Replica
from tests.doubles.lepton.bodies import ApiError, parse, serialize
from tests.doubles.lepton.job_rules import matches
from tests.doubles.lepton.routing import Request, Response, Routes

__all__ = ["JOBS"]

JOBS = Routes()


@JOBS.on("POST", "/jobs")
def create(request: Request) -> Response:
    return Response(serialize(request.platform.jobs.create(parse(LeptonJob, request.body)).job), 201)


@JOBS.on("GET", "/jobs")
def listing(request: Request) -> Response:
    records = reversed(request.platform.jobs.records.values())
    matching = [record for record in records if matches(record.job, request.query, archived=record.archived)]
    max_page = request.platform.settings.max_page
    page, size = int(request.parameter("page", "1")), min(int(request.parameter("page_size", str(max_page))), max_page)
    listed = matching[(page - 1) * size : page * size]
    bodies = [serialize(record.job) for record in listed]
    request.platform.jobs.count_requests(listed)
    return Response({"jobs": bodies, "total": len(matching)})


@JOBS.on("GET", "/jobs/{id}")
def get(request: Request) -> Response:
    record = request.platform.jobs.get(request.parts["id"], request.parameter("job_query_mode", "alive_only"))
    body = serialize(record.job)
    request.platform.jobs.count_requests([record])
    return Response(body)


@JOBS.on("PATCH", "/jobs/{id}")
def change(request: Request) -> Response:
    record = request.platform.jobs.get(request.parts["id"], "alive_only")
    if request.body not in ({"spec": {"stopped": True}}, {"spec": {"stopped": False}}):
        raise ApiError(400, "InvalidRequest", "only spec.stopped can be changed")
    jobs = request.platform.jobs
    (jobs.stop if request.body["spec"]["stopped"] else jobs.restart)(record)
    return Response(serialize(record.job))


@JOBS.on("DELETE", "/jobs/{id}")
def delete(request: Request) -> Response:
    mode = request.parameter("job_query_mode", "alive_only")
    request.platform.jobs.delete(request.platform.jobs.get(request.parts["id"], mode), mode)
    return Response({})


@JOBS.on("GET", "/jobs/{id}/events")
def events(request: Request) -> Response:
    record = request.platform.jobs.get(request.parts["id"])
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(request.platform.clock.now()))
    job_events = [
        LeptonEvent(type=kind, reason=reason, count=1, last_observed_time=now) for kind, reason in record.events
    ]
    return Response([serialize(event) for event in job_events])


@JOBS.on("GET", "/jobs/{id}/replicas")
def replicas(request: Request) -> Response:
    record = request.platform.jobs.get(request.parts["id"], request.parameter("job_query_mode", "alive_only"))
    if not record.runs or record.archived:
        return Response([])
    return Response([serialize(Replica(metadata=Metadata(id=record.replica, name=record.replica), id=record.replica))])


@JOBS.on("GET", "/jobs/{id}/replicas/{replica}/log")
def log(request: Request) -> Response:
    record = request.platform.jobs.get(request.parts["id"], "alive_only")
    if not record.runs or request.parts["replica"] != record.replica:
        raise ApiError(404, "ResourceNotFound", f"replica {request.parts['replica']} not found")
    return Response(stream=record.log.follow(record.replica, request.platform.closing, request.platform.settle))
