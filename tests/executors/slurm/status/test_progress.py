from __future__ import annotations

from pathlib import PurePosixPath

from nel_action.executors.slurm.layout import AttemptDir
from nel_action.executors.slurm.status.progress import MAX_JOBS, PROGRESS_MARK, ProgressReader
from nel_action.executors.slurm.transport import CommandResult
from nel_action.model.task import Progress

PROGRESS_BAR = "Requesting API:  30%|###       | 30/100 [00:01<00:02, 30.00it/s]"


def attempt_dir(number: int) -> AttemptDir:
    return AttemptDir(PurePosixPath(f"/scratch/my runs/nel-{number:016x}-1"))


def results(*texts: str) -> list[CommandResult]:
    return [CommandResult(0, text.encode(), b"") for text in texts]


def test_progress_reader_asks_the_harness_of_each_job() -> None:
    first, second, third = directories = [attempt_dir(number) for number in range(3)]
    job_files = "".join(
        f'{each.path}/job.json:  "harness": "{name}",\n'
        for each, name in zip(directories, ("command", "lm_eval", "x"), strict=True)
    )
    counts = f'{first.run}/artifacts/progress.json:{{"done": 4,\n{first.run}/artifacts/progress.json: "total": 9}}\n'
    logs = (
        f"==> /dev/null <==\n\n==> {first.client_log} <==\n{PROGRESS_BAR}\n\n"
        f"==> {second.client_log} <==\nhello\r{PROGRESS_BAR}\n"
    )
    reader = ProgressReader()
    assert reader.parse(directories, results(job_files, counts, logs)) == {
        str(first.path): Progress(4, 9),
        str(second.path): Progress(30, 100),
    }
    assert not any(str(third.path) in argument for argument in reader.commands(directories)[0]), "remembered"


def test_progress_reader_omits_missing_and_malformed_progress() -> None:
    directory = attempt_dir(1)
    job_files = f'{directory.path}/job.json:  "harness": "command",\n'
    for counts in (
        "",
        f"{directory.run}/artifacts/progress.json:{{\n",
        f'{directory.run}/artifacts/progress.json:{{"done": -1}}\n',
    ):
        assert ProgressReader().parse([directory], results(job_files, counts, "")) == {}
    assert ProgressReader().parse([directory], results("", "", "")) == {}


def test_progress_reader_limits_the_number_of_files() -> None:
    commands = ProgressReader().commands([attempt_dir(number) for number in range(5 * MAX_JOBS)])
    assert all(len(argv) < 3 * MAX_JOBS for argv in commands)


def test_progress_of_an_earlier_start_is_ignored() -> None:
    directory = attempt_dir(1)
    job_file = f'{directory.path}/job.json:  "harness": "lm_eval",\n'
    log = f"==> /dev/null <==\n\n==> {directory.client_log} <==\n{PROGRESS_BAR}\n{PROGRESS_MARK}2 of this attempt\n"
    assert ProgressReader().parse([directory], results(job_file, "", log)) == {}
    later = f"{log}{PROGRESS_BAR.replace('30/100', '31/100')}\n"
    (progress,) = ProgressReader().parse([directory], results(job_file, "", later)).values()
    assert progress == Progress(31, 100)
