"""Speaking with an MLflow server through its own client."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from nel_action.exporters.credentials import read_secret
from nel_action.exporters.interface import Change, DestinationError, ExportError
from nel_action.exporters.mlflow.content import DIGEST, RESULTS, MlflowSettings, RunContent

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, Run, RunTag

__all__ = ["Session"]

_SECRETS: Final = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_AT_ONCE: Final = 100
_GONE: Final = 404
_SERVER: Final = 500
_BUSY: Final = 429


class Session:
    """One export's way to a server."""

    def __init__(self, uri: str, settings: MlflowSettings, environ: Mapping[str, str]) -> None:
        self._uri = uri
        self._settings = settings
        self._environ = environ
        self._experiment_id: str | None = None
        self._parents: dict[tuple[str, str], str] = {}

    def send(self, content: RunContent, parent: RunContent | None = None) -> tuple[Change, str]:
        """Bring one run up to date, under its parent where it has one; return what changed and the run's id.

        Raises:
            DestinationError: the server does not answer, or is busy.
            ExportError: it refuses what was sent.
        """
        with self._speaking() as client:
            experiment = self._experiment(client)
            tags = self._under(client, experiment, parent)
            run = self._find(client, experiment, content)
            if run and (self._settings.skip_existing or run.data.tags.get(DIGEST) == content.digest):
                return Change.UNCHANGED, run.info.run_id
            identity = self._write(client, experiment, content, run, tags)
            return (Change.UPDATED if run else Change.CREATED), identity

    def add_step(self, content: RunContent, trend: RunContent) -> tuple[Change, str]:
        """Give the trend's run this run's metrics as one more step.

        Raises:
            DestinationError: the server does not answer, or is busy.
            ExportError: it refuses what was sent.
        """
        with self._speaking() as client:
            experiment = self._experiment(client)
            run = self._find(client, experiment, trend) or self._create(client, experiment, trend, {})
            # NOTE: what was sent last is told by one tag, which spares asking for every metric's history.
            mark = (f"sent.{content.identity[1].rpartition('.')[2]}", f"{content.step} {content.digest}")
            if run.data.tags.get(mark[0]) == mark[1]:
                return Change.UNCHANGED, run.info.run_id
            points = _new_points(client, run, content, each_step=True)
            _in_batches(client, run.info.run_id, metrics=points)
            client.set_tag(run.info.run_id, *mark)
            return (Change.UPDATED if points else Change.UNCHANGED), run.info.run_id

    def fetch(self, run_id: str, into: Path) -> bool:
        """Bring the results of an exported run, or of the run above it, into a folder; False where it has none.

        Raises:
            DestinationError: the server does not answer, or is busy.
            ExportError: there is no such run.
        """
        with self._speaking() as client:
            tags = client.get_run(run_id).data.tags
            above = tags.get("mlflow.parentRunId", run_id)
            names = [file.path for file in client.list_artifacts(above) if file.path in {RESULTS, "samples"}]
            if RESULTS in names:
                into.mkdir(parents=True, exist_ok=True)
                for name in names:
                    client.download_artifacts(above, name, str(into))
            return RESULTS in names

    def _write(
        self, client: MlflowClient, experiment: str, content: RunContent, run: Run | None, tags: Mapping[str, str]
    ) -> str:
        run = run or self._create(client, experiment, content, tags)
        identity: str = run.info.run_id
        self._log(client, run, content, tags)
        for file in content.files:
            folder = str(PurePosixPath(file.name).parent)
            client.log_artifact(identity, str(file.path), None if folder == "." else folder)
        if content.status != "RUNNING":
            client.set_terminated(identity, content.status, content.ended)
        # NOTE: last, so that a run on which an export died half-way is seen to be unfinished and done again.
        client.set_tag(identity, DIGEST, content.digest)
        return identity

    def _create(self, client: MlflowClient, experiment: str, content: RunContent, tags: Mapping[str, str]) -> Run:
        name, value = content.identity
        return client.create_run(
            experiment, start_time=content.started, run_name=content.name, tags={**tags, **content.tags, name: value}
        )

    def _find(self, client: MlflowClient, experiment: str, content: RunContent) -> Run | None:
        name, value = content.identity
        quoted = value.replace("'", "")
        found = client.search_runs(
            [experiment], f"tags.`{name}` = '{quoted}'", max_results=1, order_by=["attributes.start_time ASC"]
        )
        return found[0] if found else None

    def _experiment(self, client: MlflowClient) -> str:
        if self._experiment_id is None:
            self._experiment_id = self._find_experiment(client)
        return self._experiment_id

    def _find_experiment(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        name = self._settings.experiment_name
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name))
            except MlflowException as error:
                # NOTE: somebody else may have made it between the two calls.
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise error from None
        if found.lifecycle_stage == "deleted":
            msg = f"the MLflow experiment '{name}' was deleted"
            raise ExportError(msg, hint="restore it, or choose another export.mlflow.experiment_name")
        return str(found.experiment_id)

    def _under(self, client: MlflowClient, experiment: str, parent: RunContent | None) -> dict[str, str]:
        if parent is None:
            return {}
        if parent.identity not in self._parents:
            found = self._find(client, experiment, parent)
            if found is None:
                # NOTE: the parent's own sending has failed and was told; its jobs are sent all the same.
                return {}
            self._parents[parent.identity] = found.info.run_id
        return {"mlflow.parentRunId": self._parents[parent.identity]}

    def _log(self, client: MlflowClient, run: Run, content: RunContent, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(name, value) for name, value in content.params.items() if name not in run.data.params]
        # NOTE: MLflow never lets a parameter change; what it is now stands in a tag.
        moved = {f"param.{name}": value for name, value in content.params.items()}
        moved = {name: value for name, value in moved.items() if run.data.params.get(name[6:], value) != value}
        wanted = {**tags, **content.tags, **moved}
        changed = [RunTag(name, value) for name, value in wanted.items() if run.data.tags.get(name) != value]
        _in_batches(client, run.info.run_id, params=params, tags=changed, metrics=_new_points(client, run, content))

    @contextmanager
    def _speaking(self) -> Iterator[MlflowClient]:
        with _variables(self._environ):
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException

            try:
                yield MlflowClient(tracking_uri=self._uri)
            except MlflowException as error:
                raise self._translated(error) from error

    def _translated(self, error: Exception) -> ExportError:
        said = " ".join(str(error).split())[:300]
        status = int(error.get_http_status_code()) if hasattr(error, "get_http_status_code") else _SERVER
        if "error code 401" in said or "error code 403" in said or status in {401, 403}:
            hint = f"check {', '.join(_SECRETS)}"
            return ExportError(f"MLflow at {self._uri} refused the credentials", hint=hint)
        if status == _BUSY or status >= _SERVER:
            return DestinationError(f"MLflow at {self._uri} does not answer: {said}")
        return ExportError(f"MLflow at {self._uri} refused: {said}")


def _new_points(client: MlflowClient, run: Run, content: RunContent, *, each_step: bool = False) -> list[Metric]:
    """Make a point of each metric whose newest one (of this step, with `each_step`) has another value."""
    from mlflow.entities import Metric

    fresh = []
    for name, value in content.metrics.items():
        points = client.get_metric_history(run.info.run_id, name) if name in run.data.metrics else []
        here = [point for point in points if not each_step or point.step == content.step]
        newest = max(here, key=lambda point: (point.step, point.timestamp), default=None)
        if newest is None or newest.value != value:
            # NOTE: of two values at one step MLflow shows the later one.
            when = max(content.ended, newest.timestamp + 1 if newest else 0)
            fresh.append(Metric(name, value, when, max(content.step, newest.step if newest else 0)))
    return fresh


def _in_batches(
    client: MlflowClient,
    run_id: str,
    *,
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
    metrics: Sequence[Metric] = (),
) -> None:
    """Log in as few requests as the server's limits allow."""
    rest = max(len(params), len(tags), len(metrics))
    for start in range(0, rest, _AT_ONCE):
        piece = slice(start, start + _AT_ONCE)
        client.log_batch(run_id, params=params[piece], tags=tags[piece], metrics=metrics[piece])


@contextmanager
def _variables(environ: Mapping[str, str]) -> Iterator[None]:
    """Give the client its credentials, which it reads from the process alone, and less patience than two minutes."""
    own = {name: value for name in _SECRETS if (value := read_secret(name, environ))}
    own |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update({name: environ.get(name, value) for name, value in own.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
