from __future__ import annotations

from pathlib import PurePosixPath

from nel_action.executors.slurm.layout import JobDir
from nel_action.executors.slurm.progress import MOST, ProgressReader
from nel_action.executors.slurm.transport import Finished
from nel_action.model.task import Progress

BAR = "Requesting API:  30%|###       | 30/100 [00:01<00:02, 30.00it/s]"


def place(number: int) -> JobDir:
    return JobDir(PurePosixPath(f"/scratch/my runs/nel-{number:016x}-1"))


def answers(*texts: str) -> list[Finished]:
    return [Finished(0, text.encode(), b"") for text in texts]


def test_each_harness_reads_its_own() -> None:
    one, two, three = places = [place(number) for number in range(3)]
    about = "".join(
        f'{each.path}/job.json:  "harness": "{name}",\n'
        for each, name in zip(places, ("command", "lm_eval", "x"), strict=True)
    )
    counts = f'{one.run}/artifacts/progress.json:{{"done": 4,\n{one.run}/artifacts/progress.json: "total": 9}}\n'
    logs = f"==> /dev/null <==\n\n==> {one.client_log} <==\n{BAR}\n\n==> {two.client_log} <==\nhello\r{BAR}\n"
    reader = ProgressReader()
    assert reader.read(places, answers(about, counts, logs)) == {
        str(one.path): Progress(4, 9),
        str(two.path): Progress(30, 100),
    }
    assert not any(str(three.path) in word for word in reader.commands(places)[0]), "it is known by now"


def test_what_is_not_there_or_makes_no_sense_is_left_out() -> None:
    one = place(1)
    about = f'{one.path}/job.json:  "harness": "command",\n'
    for counts in (
        "",
        f"{one.run}/artifacts/progress.json:{{\n",
        f'{one.run}/artifacts/progress.json:{{"done": -1}}\n',
    ):
        assert ProgressReader().read([one], answers(about, counts, "")) == {}
    assert ProgressReader().read([one], answers("", "", "")) == {}


def test_a_shared_file_system_is_not_asked_for_everything() -> None:
    words = ProgressReader().commands([place(number) for number in range(5 * MOST)])
    assert all(len(each) < 3 * MOST for each in words)
