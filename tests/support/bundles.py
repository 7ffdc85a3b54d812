"""Bundles as nemo-evaluator 0.3 writes them."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["bundle"]


def bundle(folder: Path, rewards: list[float], *, name: str = "gsm8k", repeats: int = 1, **config: object) -> Path:
    """Write a bundle as nemo-evaluator 0.3 does."""
    folder.mkdir(parents=True)
    binary = all(reward in (0.0, 1.0) for reward in rewards)
    metric = "pass@1" if binary else "mean_reward"
    entry = {"value": round(sum(rewards) / len(rewards), 4), "ci_lower": 0.1, "ci_upper": 0.9}
    samples = len(rewards) // repeats
    document = {
        "run_id": f"eval-20261122T000000Z-{name}",
        "sdk_version": "0.3.0",
        "config": {"model": "acme-7b", "max_problems": None, **config},
        "benchmark": {"name": name, "samples": samples, "repeats": repeats, "scores": {metric: entry, "summary": {}}},
        "n_results": len(rewards),
    }
    (folder / f"eval-20261122T000000Z-{name}.json").write_text(json.dumps(document))
    rows = [
        {"problem_idx": index % samples, "repeat": index // samples, "reward": reward, "prompt": f"q{index % samples}"}
        for index, reward in enumerate(rewards)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
