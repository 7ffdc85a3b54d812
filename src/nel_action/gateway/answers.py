"""Classification of answers: what came back, how complete it is, and what it used."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Answer", "parse_answer"]

_FILTERED = ("content_filter",)
_NORMAL = ("stop", "eos", "end_turn", "stop_sequence")
"""Reasons of a model that finished its answer, as several servers call them."""


class Answer:
    """What one answer of the endpoint contains."""

    __slots__ = ("finish_reasons", "flags", "malformed", "model", "usage")

    def __init__(
        self,
        flags: tuple[str, ...] = (),
        model: str | None = None,
        usage: dict[str, int] | None = None,
        malformed: str | None = None,
        finish_reasons: tuple[str, ...] = (),
    ) -> None:
        """Describe an answer.

        Args:
            flags: see the attributes.
            model: see the attributes.
            usage: see the attributes.
            malformed: see the attributes.
            finish_reasons: see the attributes.
        """
        self.flags = flags
        """Of `empty`, `no_text`, `cut`, `filtered`, `tool_calls`, `logprobs`; an answer with none of them is a text.

        `empty` is an answer without text that the model finished normally, `no_text` one without text for any other
        reason. Requests for log-probabilities are never empty, without text or cut.
        """
        self.model = model
        """Name that the endpoint gives the model."""
        self.usage = usage or {}
        """`prompt_tokens`, `completion_tokens` and `cached_tokens` where the endpoint reports them."""
        self.malformed = malformed
        """Why the answer cannot be used; None if it can."""
        self.finish_reasons = finish_reasons
        """Of the choices, as the endpoint gives them."""


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
    if not isinstance(choices, list) or not choices:
        reason = "the response has an empty list of choices" if choices == [] else "the response has no choices"
        return Answer(usage=_usage(value.get("usage")), malformed=reason)
    flags: list[str] = []
    logprobs = _asks_for_logprobs(request)
    for choice in choices:
        if not isinstance(choice, dict):
            return _malformed("a choice is not a JSON object")
        flags += _choice_flags(choice, logprobs=logprobs)
    model = value.get("model")
    return Answer(
        tuple(sorted(set(flags))),
        model if isinstance(model, str) else None,
        _usage(value.get("usage")),
        finish_reasons=tuple(str(choice.get("finish_reason"))[:40] for choice in choices),
    )


def _malformed(reason: str) -> Answer:
    return Answer(malformed=reason)


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
        flags.append("empty" if reason in _NORMAL else "no_text")
    return flags


def _has_text(content: Any) -> bool:  # noqa: ANN401 - JSON
    """Return whether a content has text: a string, or a list of parts of which one has."""
    if isinstance(content, str):
        return bool(content.strip())
    if isinstance(content, list):
        return any(_has_text(part.get("text")) for part in content if isinstance(part, dict))
    return False


def _usage(usage: Any) -> dict[str, int]:  # noqa: ANN401 - JSON
    """Return the token counts; empty unless the tokens of prompt and answer are both known."""
    if not isinstance(usage, dict):
        return {}
    details = usage.get("prompt_tokens_details")
    values = {
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens", 0),
        "cached_tokens": details.get("cached_tokens", 0) if isinstance(details, dict) else 0,
    }
    counts = {
        name: value
        for name, value in values.items()
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0
    }
    if "prompt_tokens" not in counts or "completion_tokens" not in counts:
        return {}
    return {name: value for name, value in counts.items() if value or name != "cached_tokens"}
