"""The launcher's adapter_config as steps of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.planning.test_planner import CONTEXT, with_task
from tests.support.plans import make_spec

from nel_action.errors import Location, SpecError
from nel_action.gateway.adapter import Adapter
from nel_action.model.task import EndpointType
from nel_action.planning.adapter import adapter_steps
from nel_action.planning.jobs import AdapterSteps, Job
from nel_action.planning.planner import make_plan
from nel_action.spec.evaluation import Evaluation
from nel_action.spec.target import ApiEndpoint, Target


def steps(config: dict[str, Any], endpoint_type: EndpointType = EndpointType.CHAT) -> AdapterSteps:
    converted, problems = adapter_steps(config, endpoint_type)
    assert not problems
    Adapter(converted.steps)
    return converted


def problem(config: dict[str, Any], endpoint_type: EndpointType = EndpointType.CHAT) -> str:
    _, problems = adapter_steps(config, endpoint_type)
    return "; ".join(str(item) for _, item in problems)


def test_flat_keys_of_the_launcher_become_steps() -> None:
    converted = steps(
        {
            "use_system_prompt": True,
            "custom_system_prompt": "be brief",
            "use_reasoning": True,
            "end_reasoning_token": "</r>",
            "include_if_reasoning_not_finished": False,
            "params_to_add": {"top_k": 1},
            "params_to_remove": ["seed"],
            "params_to_rename": {"max_tokens": "max_completion_tokens"},
            "use_request_logging": True,
            "max_logged_requests": 10,
            "use_response_logging": True,
            "log_failed_requests": True,
            "use_raise_client_errors": True,
            "tracking_requests_stats": True,
            "use_caching": True,
            "generate_html_report": False,
        }
    )
    assert converted.steps == {
        "system_prompt": "be brief",
        "params_to_add": {"top_k": 1},
        "params_to_remove": ["seed"],
        "params_to_rename": {"max_tokens": "max_completion_tokens"},
        "reasoning": {"start": "<think>", "end": "</r>", "keep_unfinished": False},
    }
    assert converted.log == {"requests": 10, "responses": None, "failed": True}
    assert converted.client_errors == {"first": 400, "last": 499, "except": [408, 429]}


def test_interceptors_become_the_same_steps() -> None:
    interceptors = [
        {"name": "system_message", "config": {"system_message": "be brief", "strategy": "replace"}},
        {"name": "payload_modifier", "config": {"params_to_add": {"top_k": 1}, "params_to_remove": ["seed"]}},
        {"name": "drop_params", "config": {"params": ["stop"]}},
        {"name": "request_logging", "config": {"max_requests": 3, "log_level": "INFO"}},
        {"name": "caching", "config": {"cache_dir": "/cache"}},
        "endpoint",
        {"name": "response_stats"},
        {"name": "reasoning", "enabled": False},
        {"name": "raise_client_errors", "config": {"status_codes": [404], "exclude_status_codes": []}},
    ]
    converted = steps({"interceptors": interceptors})
    assert converted.steps == {
        "system_prompt": "be brief",
        "system_prompt_strategy": "replace",
        "params_to_add": {"top_k": 1},
        "params_to_remove": ["seed", "stop"],
    }
    assert converted.log == {"requests": 3}
    assert converted.client_errors == {"first": 400, "last": 499, "except": [], "statuses": [404]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_reasonning": True}, "adapter_config.use_reasonning is unknown\n  did you mean use_reasoning?"),
        ({"use_system_prompt": True}, "use_system_prompt needs custom_system_prompt"),
        ({"custom_system_prompt": "x"}, "has no effect without use_system_prompt"),
        ({"params_to_add": ["x"]}, "params_to_add must be a mapping"),
        ({"params_to_remove": [3]}, "must contain names of parameters"),
        ({"use_reasoning": "yes"}, "use_reasoning must be true or false"),
        ({"use_reasoning": True, "end_reasoning_token": ""}, "must not be empty"),
        ({"use_request_logging": True, "max_logged_requests": "all"}, "max_logged_requests must be a number"),
        ({"use_nvcf": True}, "is supported in nemo containers only"),
        ({"post_eval_hooks": ["x"]}, "is supported in nemo containers only"),
        ({"interceptors": ["nvcf"]}, "contains nvcf, which the gateway does not have"),
        ({"interceptors": ["reasonning"]}, "did you mean reasoning?"),
        ({"interceptors": ["reasoning", "reasoning"]}, "contains reasoning twice"),
        ({"interceptors": ["system_message"]}, "without its text"),
        ({"interceptors": [3]}, "must contain names"),
        ({"interceptors": "reasoning"}, "must be a list"),
        ({"interceptors": ["reasoning"], "use_reasoning": True}, "has no effect with interceptors"),
        (
            {"interceptors": [{"name": "payload_modifier", "config": {"headers_to_add": {"a": "b"}}}]},
            "headers_to_add, which the gateway does not have",
        ),
    ],
)
def test_mistakes_are_reported(config: dict[str, Any], message: str) -> None:
    assert message in problem(config)


def test_a_task_can_switch_off_the_system_prompt_of_the_target() -> None:
    assert steps({"use_system_prompt": False, "custom_system_prompt": "x"}).steps == {}


def test_steps_without_effect_on_the_route_are_refused() -> None:
    prompt = {"use_system_prompt": True, "custom_system_prompt": "x"}
    assert "needs a chat endpoint" in problem(prompt, EndpointType.COMPLETIONS)
    assert "returns no text" in problem({"use_reasoning": True}, EndpointType.COMPLETIONS_LOGPROBS)
    assert "embedding route" in problem({"params_to_add": {"x": 1}}, EndpointType.EMBEDDING)
    assert steps({"params_to_add": {"x": 1}}, EndpointType.COMPLETIONS_LOGPROBS).steps


def planned(config: dict[str, Any], **task: object) -> Job:
    endpoint = {"target": {"api_endpoint": {"adapter_config": config}}}
    return make_plan(with_task(nemo_evaluator_config=endpoint, **task), CONTEXT, base_dir=Path()).jobs[0]


def test_steps_are_part_of_the_key_and_logs_are_not() -> None:
    plain = planned({})
    changed = planned({"params_to_add": {"top_k": 1}})
    assert changed.adapter.steps == {"params_to_add": {"top_k": 1}}
    assert changed.key != plain.key
    logged = planned({"use_request_logging": True, "use_raise_client_errors": True})
    assert logged.key == plain.key
    assert logged.adapter.log == {"requests": None}


def test_a_nemo_container_keeps_its_own_adapter() -> None:
    job = planned({"use_reasoning": True}, harness="nemo", container="i", command=None)
    assert job.adapter == AdapterSteps()
    assert job.task.config["target"]["api_endpoint"]["adapter_config"] == {"use_reasoning": True}


def test_steps_without_the_gateway_are_refused() -> None:
    with pytest.raises(SpecError, match="has no effect without the gateway"):
        planned({"use_reasoning": True}, gateway=False)


def test_a_problem_of_the_target_is_reported_once_for_all_tasks() -> None:
    api = ApiEndpoint(url="http://x/v1/chat/completions", model_id="m", adapter_config={"use_reasonning": True})
    with pytest.raises(SpecError) as caught:
        make_plan(make_spec(target=Target(api_endpoint=api)), CONTEXT, base_dir=Path())
    assert [str(problem) for problem in caught.value.problems] == [
        "adapter_config.use_reasonning is unknown\n  did you mean use_reasoning?"
    ]


@pytest.mark.parametrize("place", ["task", "evaluation", "target"])
def test_problems_name_the_key_where_it_is_written(place: str) -> None:
    config = {"use_reasonning": True}
    endpoint = {"target": {"api_endpoint": {"adapter_config": config}}}
    spec = with_task(nemo_evaluator_config=endpoint if place == "task" else {})
    if place == "evaluation":
        evaluation = Evaluation(tasks=spec.evaluation.tasks, nemo_evaluator_config=endpoint)
        spec = spec.model_copy(update={"evaluation": evaluation})
    if place == "target":
        api = ApiEndpoint(url="http://x/v1/chat/completions", model_id="m", adapter_config=config)
        spec = make_spec("alpha", target=Target(api_endpoint=api))
    located = []

    def locate(path: Sequence[str | int]) -> Location | None:
        located.append(".".join(map(str, path)))
        return None

    with pytest.raises(SpecError, match="unknown"):
        make_plan(spec, CONTEXT, base_dir=Path(), locate=locate)
    prefix = {"task": "evaluation.tasks.0.nemo_evaluator_config.", "evaluation": "evaluation.nemo_evaluator_config."}
    path = f"{prefix.get(place, '')}target.api_endpoint.adapter_config.use_reasonning"
    assert path in located
