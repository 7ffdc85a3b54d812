"""Classification of answers: what came back, how complete it is, and what it used."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Answer", "parse_answer"]

_FILTERED = ("content_filter",)


class Answer:
    """What one answer of the endpoint contains."""

    __slots__ = ("flags", "malformed", "model", "usage")

    def __init__(self, flags: tuple[str, ...], model: str | None, usage: dict[str, int], malformed: str | None) -> None:
        self.flags = flags
        """Of `empty`, `no_text`, `cut`, `filtered`, `tool_calls`, `logprobs`; an answer with none of them is a text.

        `empty` is an answer without text that the model finished normally, `no_text` one without text for any other
        reason. Requests for log-probabilities are never empty, without text or cut.
        """
        self.model = model
        """Name that the endpoint gives the model."""
        self.usage = usage
        """`prompt_tokens` and `completion_tokens` where the endpoint reports them."""
        self.malformed = malformed
        """Why the answer cannot be used; None if it can."""


def parse_answer(body: bytes, request: dict[str, Any]) -> Answer:
    """Classify the body of a successful response.

    Args:
        body: as received.
        request: the request's body.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return _malformed("the response is not JSON")
    if not isinstance(value, dict):
        return _malformed("the response is not a JSON object")
    choices = value.get("choices")
    if not isinstance(choices, list):
        return _malformed("the response has no choices")
    if not choices:
        return _malformed("the response has an empty list of choices")
    flags: list[str] = []
    logprobs = _asks_for_logprobs(request)
    for choice in choices:
        if not isinstance(choice, dict):
            return _malformed("a choice is not a JSON object")
        flags += _choice_flags(choice, logprobs=logprobs)
    model = value.get("model")
    return Answer(
        tuple(sorted(set(flags))), model if isinstance(model, str) else None, _usage(value.get("usage")), None
    )


def _malformed(reason: str) -> Answer:
    return Answer((), None, {}, reason)


def _asks_for_logprobs(request: dict[str, Any]) -> bool:
    """Return whether the request scores given text: its choices hold log-probabilities, and no new text matters."""
    return request.get("echo") is True or request.get("max_tokens") == 0 or bool(request.get("logprobs"))


def _choice_flags(choice: dict[str, Any], *, logprobs: bool) -> list[str]:
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else choice.get("text")
    reason = choice.get("finish_reason")
    calls = bool(message.get("tool_calls") or message.get("function_call")) if isinstance(message, dict) else False
    flags = ["tool_calls"] if calls else []
    if reason in _FILTERED:
        flags.append("filtered")
    if logprobs:
        return [*flags, "logprobs"]
    if reason == "length":
        flags.append("cut")
    if not calls and not _has_text(content):
        flags.append("empty" if reason in ("stop", None) else "no_text")
    return flags


def _has_text(content: Any) -> bool:  # noqa: ANN401 - JSON
    """Return whether a content has text: a string, or a list of parts of which one has."""
    if isinstance(content, str):
        return bool(content.strip())
    if isinstance(content, list):
        return any(_has_text(part.get("text")) for part in content if isinstance(part, dict))
    return False


def _usage(usage: Any) -> dict[str, int]:  # noqa: ANN401 - JSON
    if not isinstance(usage, dict):
        return {}
    return {
        name: value
        for name in ("prompt_tokens", "completion_tokens")
        for value in (usage.get(name),)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0
    }
