"""Planning: jobs, keys, endpoint types, parameters and problems."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.plans import make_spec

from nel_action.errors import Location, SpecError
from nel_action.harnesses.command import CommandHarness
from nel_action.model.env_ref import EnvRef
from nel_action.model.file_names import original_name
from nel_action.model.task import EndpointType
from nel_action.planning import planner
from nel_action.planning.jobs import Context
from nel_action.planning.planner import make_plan
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.evaluation import Evaluation, Task, TaskParams
from nel_action.spec.execution import LocalExecution
from nel_action.spec.model import Spec
from nel_action.spec.target import ApiEndpoint, Target

CONTEXT = Context(repository="o/r", commit="a" * 40)


def key_of(spec: Spec, context: Context = CONTEXT, base_dir: Path = Path()) -> str:
    return make_plan(spec, context, base_dir=base_dir).jobs[0].key


def with_task(**changes: object) -> Spec:
    task = Task.model_validate({"name": "alpha", "harness": "command", "command": ("true",)} | changes)
    return make_spec().model_copy(update={"evaluation": Evaluation(tasks=(task,))})


def with_target(**api: object) -> Spec:
    target = Target(
        api_endpoint=ApiEndpoint.model_validate({"url": "http://x/v1/chat/completions", "model_id": "m"} | api)
    )
    return make_spec(target=target)


def test_keys_are_reproducible_and_differ_between_tasks() -> None:
    first, second = (make_plan(make_spec(), CONTEXT, base_dir=Path()) for _ in range(2))
    assert [job.key for job in first.jobs] == [job.key for job in second.jobs]
    assert len({job.key for job in first.jobs}) == 2
    assert all(job.key.startswith("nel-") and len(job.key) == 20 for job in first.jobs)


@pytest.mark.parametrize(
    "changed",
    [
        with_task(params=TaskParams(limit_samples=3)),
        with_task(params=TaskParams(temperature=0.5)),
        with_task(params=TaskParams(extra={"x": 1})),
        with_task(command=("false",)),
        with_task(env_vars={"A": "lit:1"}),
        with_target(url="http://y/v1/chat/completions"),
        with_target(model_id="other"),
        make_spec(execution=LocalExecution(runtime="process", salt="again")),
    ],
)
def test_key_depends_on_what_determines_the_result(changed: Spec) -> None:
    assert key_of(changed) != key_of(with_task())


def test_key_does_not_depend_on_execution_limits() -> None:
    changed = make_spec(execution=LocalExecution(runtime="process", parallelism=7, timeout=5.0, output_dir="elsewhere"))
    assert key_of(changed) == key_of(make_spec())


def test_key_does_not_depend_on_what_changes_no_answer_and_depends_on_adapter_steps() -> None:
    changed = with_task(params=TaskParams(parallelism=9, request_timeout=1.0, max_retries=0), gateway={"replay": False})
    assert key_of(changed) == key_of(with_task())
    steps = [{"use_system_prompt": True, "custom_system_prompt": text} for text in ("one", "two")]
    keys = {key_of(with_task(harness="nemo", container="i", nemo_evaluator_config=_adapter(s))) for s in steps}
    assert len(keys) == 2


def _adapter(steps: object) -> dict[str, object]:
    return {"target": {"api_endpoint": {"adapter_config": steps}}}


def gateway_problems(**task: object) -> list[str]:
    spec = with_task(**task)
    endpoint = ApiEndpoint(url="http://x/v1/chat/completions", model_id="m", api_key_name="MODEL_KEY")
    try:
        make_plan(spec.model_copy(update={"target": Target(api_endpoint=endpoint)}), CONTEXT, base_dir=Path())
    except SpecError as error:
        return [problem.message for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"nemo_evaluator_config": {"target": {"api_endpoint": {"url": "http://y"}}}}, "would bypass the gateway"),
        ({"nemo_evaluator_config": {"target": {"api_endpoint": {"api_key_name": "K"}}}}, "would bypass the gateway"),
        ({"params": {"extra": {"judge": {"api_key": "MODEL_KEY"}}}}, "name the variable MODEL_KEY"),
    ],
)
def test_settings_that_bypass_the_gateway_or_need_the_key_are_refused_while_it_is_on(
    task: dict[str, object], message: str
) -> None:
    (problem,) = gateway_problems(**task)
    assert message in problem
    assert gateway_problems(**task, gateway=False) == []


def test_gateway_is_on_by_default_and_a_task_can_switch_it_off() -> None:
    jobs = [make_plan(with_task(**task), CONTEXT, base_dir=Path()).jobs[0] for task in ({}, {"gateway": False})]
    assert jobs[0].gateway is not None
    assert jobs[1].gateway is None


def test_key_depends_on_commit_repository_and_salt_or_on_revision_instead_of_commit() -> None:
    plain = make_spec()
    contexts = [replace(CONTEXT, commit="z"), replace(CONTEXT, repository="z"), replace(CONTEXT, salt="z"), CONTEXT]
    assert len({key_of(plain, context) for context in contexts}) == 4
    pinned = make_spec(target=plain.target.model_copy(update={"revision": "sha256:1"}))
    assert key_of(pinned) == key_of(pinned, replace(CONTEXT, commit="b" * 40))


def test_unpinned_jobs_of_two_invocations_have_different_keys() -> None:
    spec = make_spec()
    revision = make_spec(target=spec.target.model_copy(update={"revision": "sha256:1"}))
    for unknown in (replace(CONTEXT, commit=None), replace(CONTEXT, modified=True)):
        one, two = replace(unknown, nonce="1"), replace(unknown, nonce="2")
        assert not make_plan(spec, one, base_dir=Path()).jobs[0].pinned
        assert key_of(spec, one) == key_of(spec, one)
        assert key_of(spec, one) != key_of(spec, two)
        assert key_of(revision, one) == key_of(revision, two)
    assert key_of(spec, replace(CONTEXT, nonce="1")) == key_of(spec, replace(CONTEXT, nonce="2"))


@pytest.mark.parametrize("argument", ["{}", "--script={}", "python '{}' --limit 3"])
def test_key_contains_files_that_the_command_of_a_process_names(tmp_path: Path, argument: str) -> None:
    script = tmp_path / "evaluate.py"
    task = Task(name="a", harness="command", command=("python", argument.format(script)))
    spec = make_spec(evaluation=Evaluation(tasks=(task,)))
    keys = [key_of(spec)]
    for text in ("one", "two"):
        script.write_text(text, encoding="utf-8")
        keys.append(key_of(spec))
    assert len(set(keys)) == 3
    script.write_bytes(b"\x7fELF of this machine")
    assert key_of(spec) == keys[0]


def test_job_is_pinned_by_commit_revision_or_salt() -> None:
    empty = Context()
    assert not make_plan(make_spec(), empty, base_dir=Path()).jobs[0].pinned
    assert make_plan(make_spec(), CONTEXT, base_dir=Path()).jobs[0].pinned
    assert make_plan(make_spec(), replace(empty, salt="s"), base_dir=Path()).jobs[0].pinned


def test_key_depends_on_contents_of_task_dir(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.yaml").write_text("1")
    before = key_of(with_task(task_dir="own"), base_dir=tmp_path)
    (tmp_path / "own" / "a.yaml").write_text("2")
    assert key_of(with_task(task_dir="own"), base_dir=tmp_path) != before


def test_each_target_has_a_job_with_its_own_name() -> None:
    targets = {
        name: Target(api_endpoint=ApiEndpoint(url=f"http://{name}/v1/chat/completions", model_id="m"))
        for name in ("old", "new")
    }
    spec = make_spec("alpha").model_copy(update={"target": Target(), "targets": targets})
    jobs = make_plan(spec, CONTEXT, base_dir=Path()).jobs
    assert [(job.index, job.name, job.model) for job in jobs] == [(0, "alpha@old", "old"), (1, "alpha@new", "new")]


def test_repeated_task_has_unique_names() -> None:
    assert [job.name for job in make_plan(make_spec("a", "a"), CONTEXT, base_dir=Path()).jobs] == ["a", "a.2"]


def test_job_names_are_valid_directory_names() -> None:
    name = make_plan(make_spec("../../etc/passwd"), CONTEXT, base_dir=Path()).jobs[0].name
    assert name == "_.2e_._.2f_.._.2f_etc_.2f_passwd"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://x/v1/chat/completions", EndpointType.CHAT),
        ("http://x/v1/completions/", EndpointType.COMPLETIONS),
        ("http://x/v1/embeddings", EndpointType.EMBEDDING),
        ("http://x/whatever", EndpointType.CHAT),
    ],
)
def test_endpoint_type_is_derived_from_url(url: str, kind: EndpointType) -> None:
    job = make_plan(with_target(url=url), CONTEXT, base_dir=Path()).jobs[0]
    assert job.task.endpoint_type is kind
    assert job.target.api_endpoint.type is kind


def test_parameters_are_merged_by_precedence() -> None:
    task = Task(
        name="a",
        harness="command",
        command=("true",),
        params=TaskParams(limit_samples=3),
        nemo_evaluator_config={"config": {"params": {"limit_samples": 9, "top_p": 0.5, "extra": {"x": 2}}}},
    )
    evaluation = Evaluation(tasks=(task,), params=TaskParams(top_p=0.9, temperature=0.1, extra={"x": 1, "y": 1}))
    spec = make_spec().model_copy(update={"evaluation": evaluation})
    params = make_plan(spec, CONTEXT, base_dir=Path()).jobs[0].task.params
    assert (params.limit_samples, params.top_p, params.temperature) == (3, 0.5, 0.1)
    assert dict(params.extra) == {"x": 2, "y": 1}
    assert (params.parallelism, params.max_retries) == (4, 5)


def test_api_key_of_target_is_referenced_by_name() -> None:
    job = make_plan(with_target(api_key_name="MY_KEY"), CONTEXT, base_dir=Path()).jobs[0]
    assert job.env == {"MY_KEY": EnvRef.host("MY_KEY")}


def test_model_id_is_taken_from_deployment() -> None:
    spec = make_spec(
        target=Target(), deployment=GenericDeployment(command=("serve",), served_model_name="mine", port=0)
    )
    job = make_plan(spec, CONTEXT, base_dir=Path()).jobs[0]
    assert (job.model, job.target.api_endpoint.model_id, job.target.api_endpoint.url) == ("mine", "mine", None)


def problems(spec: Spec, base_dir: Path = Path()) -> list[str]:
    with pytest.raises(SpecError) as caught:
        make_plan(spec, CONTEXT, base_dir=base_dir, locate=lambda path: Location(Path("s.yaml"), len(path)))
    assert all(problem.location for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    tasks = (
        Task(name="one", harness="comand"),
        Task(name="two", harness="command"),
        Task(name="three", harness="command", command=("x",), task_dir="nowhere"),
        Task(name="four", harness="command", command=("x",), pre_cmd="rm -rf /"),
    )
    spec = make_spec(target=Target()).model_copy(update={"evaluation": Evaluation(tasks=tasks)})
    messages = "\n".join(problems(spec, tmp_path))
    for text in (
        "target.api_endpoint.url is missing",
        "target.api_endpoint.model_id is missing",
        "no harness 'comand'",
        "two",
        f"no folder nowhere in {tmp_path}",
        "pre_cmd is shell text",
    ):
        assert text in messages


def test_spec_without_tasks_is_reported() -> None:
    assert "evaluation.tasks is empty" in problems(make_spec().model_copy(update={"evaluation": Evaluation()}))[0]


def test_unknown_nested_parameter_is_reported_with_suggestion() -> None:
    wrong = with_task(nemo_evaluator_config={"config": {"params": {"limit_sample": 3}}})
    assert "unknown parameter 'limit_sample'; did you mean 'limit_samples'?" in problems(wrong)[0]


def test_harness_name_of_catalog_task_is_a_parameter() -> None:
    task = {"name": "gsm8k", "harness": None, "command": None, "params": TaskParams(task="gsm8k_cot")}
    spec = with_task(**task, endpoint_type=EndpointType.COMPLETIONS).model_copy(update={"execution": LocalExecution()})
    (job,) = make_plan(spec, CONTEXT, base_dir=Path()).jobs
    assert job.task.name == "gsm8k"
    assert job.task.config["config"]["params"] == {"task": "gsm8k_cot"}
    assert job.task.expected_items == 1319


def test_task_of_another_harness_is_not_the_catalog_task() -> None:
    task = {"name": "gsm8k", "harness": "lm_eval", "command": None, "params": TaskParams(task="gsm8k_cot")}
    (job,) = make_plan(with_task(**task), CONTEXT, base_dir=Path()).jobs
    assert job.task.name == "gsm8k_cot"
    assert (job.task.metric, job.task.expected_items, job.task.params.temperature) == (None, None, None)


def test_adapter_configuration_of_target_is_merged_below_that_of_task() -> None:
    spec = with_target(adapter_config={"use_caching": False, "params_to_add": {"top_k": 1}})
    task_config = {"target": {"api_endpoint": {"adapter_config": {"use_caching": True}}}}
    task = Task(name="mine", harness="nemo", container="mine:1", nemo_evaluator_config=task_config)
    spec = spec.model_copy(update={"evaluation": Evaluation(tasks=(task,)), "execution": LocalExecution()})
    (job,) = make_plan(spec, CONTEXT, base_dir=Path()).jobs
    adapter = job.task.config["target"]["api_endpoint"]["adapter_config"]
    assert adapter == {"use_caching": True, "params_to_add": {"top_k": 1}}


def test_container_harness_is_planned_with_its_image() -> None:
    container_task = Task(name="mmlu_thing", harness="nemo", container="registry.example/eval:1")
    spec = make_spec().model_copy(update={"evaluation": Evaluation(tasks=(container_task,))})
    in_docker = spec.model_copy(update={"execution": LocalExecution(runtime="docker")})
    assert make_plan(in_docker, CONTEXT, base_dir=Path()).jobs[0].image == "registry.example/eval:1"


def test_key_does_not_depend_on_location_of_checkout(tmp_path: Path) -> None:
    keys = set()
    for name in ("first", "second"):
        for folder in ("data", "own"):
            (tmp_path / name / folder).mkdir(parents=True)
        (tmp_path / name / "own" / "a.yaml").write_text("1")
        keys.add(key_of(with_task(dataset_dir="data", task_dir="own"), base_dir=tmp_path / name))
    assert len(keys) == 1


def test_unsupported_endpoint_type_is_reported_with_alternatives() -> None:
    spec = with_task(name="gsm8k", harness=None, command=None).model_copy(update={"execution": LocalExecution()})
    with pytest.raises(SpecError, match=r"for chat: lm-evaluation-harness\.gsm8k_cot_instruct"):
        make_plan(spec, CONTEXT, base_dir=Path())


def test_variables_of_spec_are_added_to_deployment() -> None:
    served = GenericDeployment(command=("serve",), served_model_name="m", env_vars={"B": EnvRef.literal("own")})
    spec = make_spec(target=Target(), deployment=served, env_vars={"A": "lit:all", "B": "lit:all"})
    deployment = make_plan(spec, CONTEXT, base_dir=Path()).jobs[0].deployment
    assert isinstance(deployment, GenericDeployment)
    assert deployment.env_vars == {"A": EnvRef.literal("all"), "B": EnvRef.literal("own")}


def test_a_plugin_without_requirements_needs_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = CommandHarness()
    monkeypatch.setattr(type(plugin), "name", "plugin")
    monkeypatch.setattr(planner, "harness", lambda _: plugin)
    (job,) = make_plan(with_task(harness="plugin"), CONTEXT, base_dir=Path()).jobs
    assert (job.harness, job.image, job.requirements) == ("plugin", None, None)


@pytest.mark.parametrize("name", ["x" * 300, "模" * 60, "a\x00b", "line\nbreak", " "])
def test_task_names_that_cannot_be_file_names_are_rejected(name: str) -> None:
    with pytest.raises(SpecError, match="the task name"):
        make_plan(make_spec(name), CONTEXT, base_dir=Path())


def test_job_names_are_injective() -> None:
    names = ("results.json", "a b", "a_b", "задача", "задачи", "a/b", "a:b", "samples")
    jobs = make_plan(make_spec(*names), CONTEXT, base_dir=Path()).jobs
    assert [original_name(job.name) for job in jobs] == list(names)


@pytest.mark.parametrize(
    "model", ["m;x", "m x", "m\nx", "$(x)", "`x`", "m|x", "m&x", "m>x", "m'x", 'm"x', "{{ x }}", "m\\x"]
)
def test_model_names_that_a_shell_interprets_are_rejected(model: str) -> None:
    api = ApiEndpoint(url="http://127.0.0.1:9/v1/chat/completions", model_id=model)
    (problem,) = problems(make_spec(target=Target(api_endpoint=api)))
    assert "target.api_endpoint.model_id" in problem
    assert "may pass it through a shell" in problem


@pytest.mark.parametrize(
    "url", ["http://h/v1/chat/completions?a=$(x)", "http://h/v1/chat/completions;x", "http://h/ x"]
)
def test_addresses_that_a_shell_interprets_are_rejected(url: str) -> None:
    api = ApiEndpoint(url=url, model_id="m", type=EndpointType.CHAT)
    (problem,) = problems(make_spec(target=Target(api_endpoint=api)))
    assert "target.api_endpoint.url" in problem
