"""Invalid specs: one message per problem, with its source position, and no traceback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from nel_action.errors import ExitCode, SpecError, UsageError
from nel_action.spec.compose import load_spec

HEAD = "defaults: [execution: local, deployment: none, _self_]\n"
BOMB = "a0: &a0 1\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
TASKS = "evaluation: {tasks: [{name: gsm8k}]}\n"


def problems_of(tmp_path: Path, text: str | bytes, overrides: Sequence[str] = ()) -> list[str]:
    """Load an invalid spec; return its problems as `line:column: message | hint`."""
    file = tmp_path / "s.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        load_spec(file, overrides=overrides, environ={"SET": "value"})
    assert caught.value.exit_code is ExitCode.USAGE
    lines = []
    for problem in caught.value.problems:
        assert "\n" not in problem.message
        assert problem.location is not None
        position = str(problem.location).removeprefix(f"{file}").removeprefix(":")
        lines.append(f"{position}: {problem.message}" + (f" | {problem.hint}" if problem.hint else ""))
    return lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ": is empty"),
        ("# only a comment\n", ": is empty"),
        ("- a\n", "1:1: must be a mapping"),
        ("hello\n", "1:1: must be a mapping"),
        ("evaluation: [\n", "2:1: is not YAML: "),
        ("a: b: c\n", "1:5: is not YAML: mapping values"),
        ("evaluation:\n\ttasks: []\n", "2:1: the line is indented with a tab | indent YAML with spaces"),
        ("a: 1\nb: 2\na: 3\n", "3:1: repeated key 'a'; first in line 1"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document starts here"),
        ("a: !!python/object:os.system {}\n", "1:4: the tag tag:yaml.org,2002:python/object:os.system is not"),
        ("a: &x [*x]\n", "1:4: this alias refers to itself"),
        ("env_vars: {yes: lit:a}\n", "1:12: the key 'yes' is not text in YAML | put it in quotes"),
        ("a: \x01\n", "1: is not YAML: control characters"),
        (b"a:\n  b: \xff\n", "2:6: is not UTF-8 text"),
        ("a: " + "[" * 50_000, "1:203: is nested too deeply"),
        ("- " * 50_000, "1:401: is nested too deeply"),
        (BOMB, ": its aliases expand to too many values"),
    ],
)  # fmt: skip
def test_invalid_yaml_is_reported(tmp_path: Path, text: str | bytes, expected: str) -> None:
    [line] = problems_of(tmp_path, text)
    assert expected in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gate:\n  tasks:\n    gsm8k: {max_dorp: 0.02}\n",
         "5:13: unknown key 'max_dorp' in gate.tasks.gsm8k; did you mean 'max_drop'?"),
        ("exportt: {}\n", "3:1: unknown key 'exportt'; did you mean 'export'?"),
        ("execution: {outptu_dir: x}\n", "3:13: unknown key 'outptu_dir' in execution; did you mean 'output_dir'?"),
        ("limit_samples: 3\n", "3:1: unknown key 'limit_samples' | it belongs to evaluation.tasks[].params"),
        ("deployment: {type: llamacpp, weights: {file: x}}\n", "3:30: 'requirement' is missing in deployment.weights"),
        ("export: {wandb: 3}\n", "3:10: export.wandb must be a mapping, not 3"),
        ("execution: {runtime: dokcer}\n",
         "3:13: execution.runtime cannot be 'dokcer'; did you mean 'docker'? | use docker or process"),
        ("gate: {tasks: {gsm8k: {tier: crit}}}\n", "3:24: gate.tasks.gsm8k.tier cannot be 'crit'; did you mean"),
        ("gate: {tasks: {gsm8k: {min: .nan}}}\n", "3:24: gate.tasks.gsm8k.min must be a finite number, not nan"),
        ("execution: {parallelism: many}\n", "3:13: execution.parallelism must be an integer, not text"),
        ("execution: {parallelism: 0}\n", "3:13: execution.parallelism must be more than 0, not 0"),
        ("execution: {memory: 8}\n", "3:13: execution.memory must be text, not 8 | put it in quotes: '8'"),
        ("execution: {output_dir: 10:30:00}\n",
         "3:13: execution.output_dir must be text, not 37800 | put it in quotes: '10:30:00'"),
        ("execution: 3\n", "3:1: execution must be a mapping, not 3"),
        ("execution:\n", "3:1: execution must be a mapping, not empty"),
        ("target: []\n", "3:1: target must be a mapping, not a list"),
        ("deployment: []\n", "3:1: deployment must be a mapping"),
        ("execution: {type: slrum}\n", "3:13: unknown execution.type 'slrum'"),
        ("deployment: {type: vlm}\n", "3:14: unknown deployment.type 'vlm'; did you mean 'vllm'?"),
        ("target: {api_endpoint: {url: '???'}}\n", "3:25: target.api_endpoint.url has no value yet (???)"),
        ("gate: {tasks: {gsm8: {min: 0.3}}}\n", "3:16: the gate has a policy for 'gsm8', which is not run; did"),
        ("execution: {salt: '${oc.env:NOPE}'}\n",
         "3:13: execution.salt refers to the variable NOPE, which is not set | set NOPE"),
        ("execution: {salt: '${oc.env:MY_TOKEN}'}\n", "3:13: execution.salt would put the value of MY_TOKEN into"),
        ("execution: {salt: '${oc.decode:${oc.env:MY_TOKEN}}'}\n", "3:13: execution.salt would put the value of MY_"),
        ("name: MY_TOKEN\nexecution: {salt: '${oc.env:${name}}'}\n", "4:13: execution.salt cannot be resolved: "),
        ("execution: {salt: '${execution.outputdir}'}\n",
         "3:13: execution.salt refers to 'execution.outputdir', which does not exist; did you mean"),
        ("execution: {salt: '${execution.salt}'}\n", "3:13: execution.salt refers to itself"),
        ("execution: {salt: 'a ${b'}\n", "3:13: execution.salt is not a valid interpolation"),
        ("execution: {salt: '${nothing:1}'}\n", "3:13: execution.salt cannot be resolved: Unsupported"),
        ("env_vars: {A: '${oc.env:SET}'}\n", "3:12: env_vars.A would put a variable's value into the spec"),
        ("env_vars: {A: secretvalue}\n", "3:12: env_vars.A must begin with host:, lit: or runtime:"),
        ("env_vars: {A: $FOO}\n", "3:12: env_vars.A has no prefix | write A: host:FOO"),
        ("env_vars: {A: [3]}\n", "3:12: env_vars.A must be text that begins with host:"),
        ("env_vars: {A: }\n", "3:12: env_vars.A has no value"),
        ("env_vars: {A-B: lit:x}\n", "3:12: env_vars.A-B is not the name of a variable"),
        ("target: {api_endpoint: {api_key_name: sk-12-abcd}}\n",
         "3:25: target.api_endpoint.api_key_name is not the name of a variable | write the name of the variable that"),
        ("deployment: {type: generic, pre_cmd: ls}\n", "3:29: deployment.pre_cmd is shell text, which is not trusted"),
        ("targets: {a: {}}\ntarget: {api_endpoint: {model_id: m}}\n", "3:1: both 'target' and 'targets' are set"),
    ],
)  # fmt: skip
def test_single_problem_has_message_position_and_hint(tmp_path: Path, text: str, expected: str) -> None:
    [line] = problems_of(tmp_path, HEAD + TASKS + text)
    assert line.startswith(expected)


@pytest.mark.parametrize("value", ["hf_abcdefgh", "sk-12-abcd", "$(touch x)"])
def test_messages_do_not_contain_possible_secrets(tmp_path: Path, value: str) -> None:
    text = f"{HEAD}{TASKS}env_vars: {{A: '{value}'}}\ntarget: {{api_endpoint: {{api_key_name: '{value}'}}}}\n"
    assert value not in "\n".join(problems_of(tmp_path, text))


def test_all_problems_are_reported_in_order_of_lines(tmp_path: Path) -> None:
    text = (
        "evaluation:\n"
        "  tasks:\n"
        "    - {name: a, limit_samples: 4}\n"
        "    - {nmae: b}\n"
        "execution:\n"
        "  outptu_dir: x\n"
        "  salt: ${nowhere}\n"
        "  memory: ???\n"
        "env_vars: {A: x y}\n"
    )
    positions = [line.split(": ")[0] for line in problems_of(tmp_path, HEAD + text)]
    assert positions == ["4:17", "5:7", "5:8", "7:3", "8:3", "9:3", "10:12"]


def test_custom_validators_of_models_are_reported(tmp_path: Path) -> None:
    text = "execution: {type: slurm, hostname: h, output_dir: /x, walltime: 10:00:00}\n"
    [line] = problems_of(tmp_path, text + TASKS)
    assert line == "1:55: execution.walltime: write it in quotes, as in '04:00:00': YAML reads it as a number otherwise"
    [line] = problems_of(tmp_path, "execution: {type: slurm, hostname: h, output_dir: x}\n" + TASKS)
    assert line.startswith("1:39: execution.output_dir: 'x' is not an absolute path")


def test_missing_value_is_reported_over_null_of_group_and_once_for_renamed_key(tmp_path: Path) -> None:
    text = "defaults: [deployment: vllm, _self_]\ndeployment: {served_model_name: m, checkpoint_path: ???}\n".replace(
        "???", "'???'"
    )
    [line] = problems_of(tmp_path, text + TASKS)
    assert line.startswith("2:36: deployment.checkpoint_path has no value yet (???)")
    [line] = problems_of(tmp_path, "evaluation: {overrides: {config.params.seed: '???'}, tasks: [{name: a}]}\n")
    assert line.startswith("1:26: evaluation.nemo_evaluator_config.config.params.seed has no value yet (???)")


def test_empty_list_of_tasks_is_reported(tmp_path: Path) -> None:
    [line] = problems_of(tmp_path, HEAD + "evaluation: {tasks: []}\n")
    assert line.startswith("2:14: there are no tasks")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("defaults: [execution: loacl, _self_]\n", "1:12: 'execution' has no option 'loacl'; did you mean 'local'?"),
        ("defaults: [exection: local, _self_]\n", "1:12: no group 'exection'; did you mean 'execution'?"),
        ("defaults: [deployment/vlm@auxiliary_deployments.j, _self_]\n", "1:12: no config 'deployment/vlm'"),
        ("defaults: {execution: local}\n", "1:1: 'defaults' must be a list"),
        ("defaults: [3, _self_]\n", "1:12: must be `group: option` or `_self_`"),
        ("defaults: [execution: local, execution: local, _self_]\n", ": execution appears more than once"),
        ("defaults: [execution: local, _self_]\nexecution: []\n", "2:1: execution must be a mapping"),
    ],
)
def test_problems_of_defaults_list(tmp_path: Path, text: str, expected: str) -> None:
    [line] = problems_of(tmp_path, text + TASKS)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("foo", "-o foo: cannot parse the override 'foo' | write -o key=value"),
        ("=3", "-o =3: cannot parse the override"),
        ("a b=3", "-o a b: cannot parse the override"),
        ("execution.output_dir=[", "-o execution.output_dir: cannot parse the value of 'execution.output_dir'"),
        ("execution.outputdir=3", "-o execution.outputdir: the spec has no 'execution.outputdir' to override"),
        ("+execution.outputdir=3", "-o execution.outputdir: unknown key 'outputdir' in execution; did you mean"),
        ("execution.parallelism=x", "-o execution.parallelism: execution.parallelism must be an integer, not text"),
        ("evaluation.tasks.gsm.x=1", "-o evaluation.tasks.gsm.x: no task 'gsm' in evaluation.tasks | did you mean"),
        ("evaluation.tasks.gsm8k.params={a: [", "-o evaluation.tasks.gsm8k.params: the value is not YAML"),
        ("evaluation.tasks.gsm8k.params.seed=x", "-o evaluation.tasks.gsm8k.params.seed: evaluation.tasks[0].params"),
        ("execution=loacl", "-o execution: 'execution' has no option 'loacl'; did you mean 'local'?"),
        ("~nothing", "-o nothing: Could not delete from config"),
        ("execution.salt=${oc.env:NOPE}", "-o execution.salt: execution.salt refers to the variable NOPE"),
    ],
)
def test_problems_of_overrides(tmp_path: Path, override: str, expected: str) -> None:
    [line] = problems_of(tmp_path, HEAD + TASKS, [override])
    assert line.startswith(expected)


def test_override_of_group_that_is_not_in_defaults_list(tmp_path: Path) -> None:
    [line] = problems_of(tmp_path, TASKS, ["deployment=vllm"])
    assert line.startswith("-o deployment: the file's defaults list has no 'deployment' to choose")


def test_override_of_ambiguous_task_name(tmp_path: Path) -> None:
    text = HEAD + "evaluation: {tasks: [{name: a.b}, {name: c.b}]}\n"
    [line] = problems_of(tmp_path, text, ["evaluation.tasks.b.params.seed=3"])
    assert line.endswith("several tasks are named 'b' | use the index: evaluation.tasks.0.…")


@pytest.mark.parametrize(("name", "expected"), [("nope.yaml", "no such file"), ("folder", "is a folder, not a file")])
def test_missing_file_or_directory_is_reported(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpecError, match=expected):
        load_spec(tmp_path / name)


def test_missing_or_ambiguous_name_is_reported() -> None:
    with pytest.raises(UsageError, match="no spec is named"):
        load_spec()
    with pytest.raises(UsageError, match="both a file and a config name"):
        load_spec(Path("a.yaml"), config_name="b")


def test_invalid_yaml_in_own_group_is_reported(tmp_path: Path) -> None:
    (tmp_path / "execution").mkdir()
    (tmp_path / "execution" / "mine.yaml").write_text("type: local\n\tx: 1\n")
    (tmp_path / "s.yaml").write_text("defaults: [execution: mine, _self_]\n" + TASKS)
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "s.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/execution/mine.yaml:2:1: the line is indented with a tab")


@pytest.mark.parametrize("authority", ["user:pass@h", "token@h:80", "@h"])
def test_credentials_in_a_url_are_refused_and_not_repeated(tmp_path: Path, authority: str) -> None:
    url = f"https://{authority}/v1/chat/completions"
    [line] = problems_of(tmp_path, f"target: {{api_endpoint: {{model_id: m, url: '{url}'}}}}\n" + TASKS)
    assert line.startswith("1:38: target.api_endpoint.url: a URL must not contain a user name or password")
    assert "pass@" not in line
