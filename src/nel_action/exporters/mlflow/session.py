"""Connection to an MLflow server through its own client."""

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
_BATCH_SIZE: Final = 100
"""Entries per request; the limit of the server."""
_SERVER_ERROR: Final = 500
_TOO_MANY_REQUESTS: Final = 429


class Session:
    """Connection of one export."""

    def __init__(self, uri: str, settings: MlflowSettings, environ: Mapping[str, str]) -> None:
        self._uri = uri
        self._settings = settings
        self._environ = environ
        self._experiment_id: str | None = None
        self._parents: dict[tuple[str, str], str] = {}

    def send(self, content: RunContent, parent: RunContent | None = None) -> tuple[Change, str]:
        """Create or update a run.

        Args:
            content: the run.
            parent: the run above it, if there is one.

        Returns:
            The change and the id of the run.

        Raises:
            DestinationError: the server does not respond or is busy.
            ExportError: the server rejected the run.
        """
        with self._client() as client:
            experiment = self._experiment(client)
            tags = self._parent_tags(client, experiment, parent)
            run = self._find(client, experiment, content)
            if run and (self._settings.skip_existing or run.data.tags.get(DIGEST) == content.digest):
                return Change.UNCHANGED, run.info.run_id
            run_id = self._write(client, experiment, content, run, tags)
            return (Change.UPDATED if run else Change.CREATED), run_id

    def add_step(self, content: RunContent, trend: RunContent) -> tuple[Change, str]:
        """Log a run's metrics as one more step of the trend's run.

        Args:
            content: the run with the metrics.
            trend: the run of the trend; created if it does not exist.

        Returns:
            The change and the id of the trend's run.

        Raises:
            DestinationError: the server does not respond or is busy.
            ExportError: the server rejected the metrics.
        """
        with self._client() as client:
            experiment = self._experiment(client)
            run = self._find(client, experiment, trend) or self._create(client, experiment, trend, {})
            # NOTE: a tag records what was logged last, which saves a request for the history of each metric.
            marker = (f"sent.{content.identity[1].rpartition('.')[2]}", f"{content.step} {content.digest}")
            if run.data.tags.get(marker[0]) == marker[1]:
                return Change.UNCHANGED, run.info.run_id
            points = _new_points(client, run, content, each_step=True)
            _in_batches(client, run.info.run_id, metrics=points)
            client.set_tag(run.info.run_id, *marker)
            return (Change.UPDATED if points else Change.UNCHANGED), run.info.run_id

    def fetch(self, run_id: str, into: Path) -> bool:
        """Download the results of an exported run or of its parent.

        Args:
            run_id: id of the run.
            into: folder for the files; created if needed.

        Returns:
            Whether the run has results.

        Raises:
            DestinationError: the server does not respond or is busy.
            ExportError: the run does not exist.
        """
        with self._client() as client:
            tags = client.get_run(run_id).data.tags
            parent_id = tags.get("mlflow.parentRunId", run_id)
            names = [file.path for file in client.list_artifacts(parent_id) if file.path in {RESULTS, "samples"}]
            if RESULTS in names:
                into.mkdir(parents=True, exist_ok=True)
                for name in names:
                    client.download_artifacts(parent_id, name, str(into))
            return RESULTS in names

    def _write(
        self, client: MlflowClient, experiment: str, content: RunContent, run: Run | None, tags: Mapping[str, str]
    ) -> str:
        run = run or self._create(client, experiment, content, tags)
        run_id: str = run.info.run_id
        self._log(client, run, content, tags)
        for file in content.files:
            folder = str(PurePosixPath(file.name).parent)
            client.log_artifact(run_id, str(file.path), None if folder == "." else folder)
        if content.status != "RUNNING":
            client.set_terminated(run_id, content.status, content.ended)
        # NOTE: written last, so that a run is exported again if an earlier export was interrupted.
        client.set_tag(run_id, DIGEST, content.digest)
        return run_id

    def _create(self, client: MlflowClient, experiment: str, content: RunContent, tags: Mapping[str, str]) -> Run:
        name, value = content.identity
        return client.create_run(
            experiment, start_time=content.started, run_name=content.name, tags={**tags, **content.tags, name: value}
        )

    def _find(self, client: MlflowClient, experiment: str, content: RunContent) -> Run | None:
        name, value = content.identity
        quoted = value.replace("'", "")
        runs = client.search_runs(
            [experiment], f"tags.`{name}` = '{quoted}'", max_results=1, order_by=["attributes.start_time ASC"]
        )
        return runs[0] if runs else None

    def _experiment(self, client: MlflowClient) -> str:
        if self._experiment_id is None:
            self._experiment_id = self._find_experiment(client)
        return self._experiment_id

    def _find_experiment(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        name = self._settings.experiment_name
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name))
            except MlflowException as error:
                # NOTE: another export may have created it between the two calls.
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise error from None
        if experiment.lifecycle_stage == "deleted":
            msg = f"the MLflow experiment '{name}' was deleted"
            raise ExportError(msg, hint="restore it, or set another export.mlflow.experiment_name")
        return str(experiment.experiment_id)

    def _parent_tags(self, client: MlflowClient, experiment: str, parent: RunContent | None) -> dict[str, str]:
        if parent is None:
            return {}
        if parent.identity not in self._parents:
            run = self._find(client, experiment, parent)
            if run is None:
                # NOTE: the export of the parent failed and is reported; its jobs are exported nevertheless.
                return {}
            self._parents[parent.identity] = run.info.run_id
        return {"mlflow.parentRunId": self._parents[parent.identity]}

    def _log(self, client: MlflowClient, run: Run, content: RunContent, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(name, value) for name, value in content.params.items() if name not in run.data.params]
        # NOTE: MLflow does not allow parameters to change; the current value of a changed one is in a tag.
        outdated = {
            f"param.{name}": value
            for name, value in content.params.items()
            if run.data.params.get(name, value) != value
        }
        current = {**tags, **content.tags, **outdated}
        changed = [RunTag(name, value) for name, value in current.items() if run.data.tags.get(name) != value]
        _in_batches(client, run.info.run_id, params=params, tags=changed, metrics=_new_points(client, run, content))

    @contextmanager
    def _client(self) -> Iterator[MlflowClient]:
        with _variables(self._environ):
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException

            try:
                yield MlflowClient(tracking_uri=self._uri)
            except MlflowException as error:
                raise self._translated(error) from error

    def _translated(self, error: Exception) -> ExportError:
        message = " ".join(str(error).split())[:300]
        status = int(error.get_http_status_code()) if hasattr(error, "get_http_status_code") else _SERVER_ERROR
        if "error code 401" in message or "error code 403" in message or status in {401, 403}:
            hint = f"check {', '.join(_SECRETS)}"
            return ExportError(f"MLflow at {self._uri} rejected the credentials", hint=hint)
        if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
            return DestinationError(f"MLflow at {self._uri} does not respond: {message}")
        return ExportError(f"MLflow at {self._uri} rejected the request: {message}")


def _new_points(client: MlflowClient, run: Run, content: RunContent, *, each_step: bool = False) -> list[Metric]:
    """Return a point for each metric whose newest value differs.

    Args:
        client: the client.
        run: the run with the earlier points.
        content: the metrics to log.
        each_step: compare with the newest value of the same step instead.
    """
    from mlflow.entities import Metric

    new = []
    for name, value in content.metrics.items():
        points = client.get_metric_history(run.info.run_id, name) if name in run.data.metrics else []
        comparable = [point for point in points if not each_step or point.step == content.step]
        newest = max(comparable, key=lambda point: (point.step, point.timestamp), default=None)
        if newest is None or newest.value != value:
            # NOTE: of two values of one step, MLflow shows the one with the later timestamp.
            when = max(content.ended, newest.timestamp + 1 if newest else 0)
            new.append(Metric(name, value, when, max(content.step, newest.step if newest else 0)))
    return new


def _in_batches(
    client: MlflowClient,
    run_id: str,
    *,
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
    metrics: Sequence[Metric] = (),
) -> None:
    """Log in as few requests as the limits of the server allow."""
    for start in range(0, max(len(params), len(tags), len(metrics)), _BATCH_SIZE):
        batch = slice(start, start + _BATCH_SIZE)
        client.log_batch(run_id, params=params[batch], tags=tags[batch], metrics=metrics[batch])


@contextmanager
def _variables(environ: Mapping[str, str]) -> Iterator[None]:
    """Set the client's credentials and a short time-out, which it reads only from the environment of the process."""
    own = {name: value for name in _SECRETS if (value := read_secret(name, environ))}
    own |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
    previous = {name: os.environ.get(name) for name in own}
    os.environ.update({name: environ.get(name, value) for name, value in own.items()})
    try:
        yield
    finally:
        for name, value in previous.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
