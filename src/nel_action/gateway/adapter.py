"""Adapter steps: changes of requests before they are sent, and of answers before the harness receives them.

A request is changed first and its key computed afterwards; the record holds answers as the endpoint gave them, so that
the removal of reasoning is applied to replayed answers as well. Streams are sent changed and passed on as they are.
"""

from __future__ import annotations

import json
from typing import Any, Mapping

__all__ = ["Adapter", "AdapterError"]

_KEYS = (
    "system_prompt", "system_prompt_strategy", "params_to_add", "params_to_remove", "params_to_rename", "reasoning",
)  # fmt: skip
_STRATEGIES = ("prepend", "replace", "append")
_REASONING_KEYS = ("start", "end", "keep_unfinished")
_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking")
"""Types of parts of a content that hold reasoning."""


class AdapterError(ValueError):
    """The configuration of the steps is wrong."""


class Adapter:
    """The steps of one configuration; without any, everything is passed on as it is."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Check the configuration.

        Args:
            config: `system_prompt` (text), `system_prompt_strategy` (before other messages, in place of the system
                messages, or after all), `params_to_remove` (list), `params_to_add` (mapping), `params_to_rename`
                (mapping), `reasoning` (`start`, `end`, `keep_unfinished`).

        Raises:
            AdapterError: a key is unknown, or a value is not of its type.
        """
        _check(config)
        self._system_prompt: str | None = config.get("system_prompt")
        self._strategy: str = config.get("system_prompt_strategy", _STRATEGIES[0])
        self._remove: list[str] = list(config.get("params_to_remove", ()))
        self._add: dict[str, Any] = dict(config.get("params_to_add", {}))
        self._rename: dict[str, str] = dict(config.get("params_to_rename", {}))
        self._reasoning = _Reasoning(config["reasoning"]) if config.get("reasoning") is not None else None
        self.changes_requests = bool(self._system_prompt is not None or self._remove or self._add or self._rename)

    def request(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a request as it is sent: parameters removed, added, renamed, then the system prompt."""
        changed = {name: value for name, value in body.items() if name not in self._remove}
        changed.update(self._add)
        for old, new in self._rename.items():
            if old in changed:
                changed[new] = changed.pop(old)
        messages = changed.get("messages")
        if self._system_prompt is not None and isinstance(messages, list):
            changed["messages"] = self._with_system_prompt(messages)
        return changed

    def _with_system_prompt(self, messages: list[Any]) -> list[Any]:
        prompt = {"role": "system", "content": self._system_prompt}
        if self._strategy == "append":
            return [*messages, prompt]
        if self._strategy == "replace":
            messages = [item for item in messages if not (isinstance(item, dict) and item.get("role") == "system")]
        return [prompt, *messages]

    def answer(self, body: bytes) -> bytes:
        """Return the body of an answer as the harness receives it; a body of another form is returned as it is."""
        if self._reasoning is None:
            return body
        try:
            value = json.loads(body)
            choices = value["choices"]
            changed = [self._reasoning.remove(choice) for choice in choices if isinstance(choice, dict)]
        except (ValueError, RecursionError, TypeError, KeyError):
            return body
        return json.dumps(value, separators=(",", ":")).encode() if any(changed) else body


class _Reasoning:
    """Removes reasoning from an answer: text up to the end token, and parts of a content that hold reasoning.

    Fields of their own (`reasoning_content`, `reasoning`) are not part of the text and stay as they are.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._start: str | None = config.get("start", "<think>")
        self._end: str = config.get("end", "</think>")
        self._keep_unfinished: bool = config.get("keep_unfinished", True)

    def remove(self, choice: dict[str, Any]) -> bool:
        """Change a choice in place; return whether it changed."""
        holder, name = choice, "text"
        if isinstance(choice.get("message"), dict):
            holder, name = choice["message"], "content"
        before = holder.get(name)
        if isinstance(before, str):
            holder[name] = self._answer_of(before, separate=_has_reasoning_field(holder))
        elif isinstance(before, list):
            holder[name] = self._parts(before)
        return bool(holder.get(name) != before)

    def _parts(self, parts: list[Any]) -> list[Any]:
        kept: list[Any] = []
        for part in parts:
            if not isinstance(part, dict):
                kept.append(part)
            elif part.get("type") not in _REASONING_PARTS:
                text = part.get("text")
                kept.append({**part, "text": self._answer_of(text, separate=False)} if isinstance(text, str) else part)
        return kept

    def _answer_of(self, text: str, *, separate: bool) -> str:
        """Return the text without its reasoning.

        Args:
            text: of the answer.
            separate: the endpoint put the reasoning into a field of its own, so an unfinished one is not in the text.
        """
        _, token, answer = text.rpartition(self._end)
        if token:
            return answer.strip("\n")
        unfinished = self._start is None or self._start in text
        return "" if unfinished and not self._keep_unfinished and not separate else text


def _has_reasoning_field(message: Mapping[str, Any]) -> bool:
    return any(
        isinstance(message.get(name), str) and message[name].strip() for name in ("reasoning_content", "reasoning")
    )


def _check(config: Mapping[str, Any]) -> None:
    unknown = [name for name in config if name not in _KEYS]
    reasoning = config.get("reasoning")
    if isinstance(reasoning, dict):
        unknown += [f"reasoning.{name}" for name in reasoning if name not in _REASONING_KEYS]
    if unknown:
        msg = "adapter: unknown key {!r}; known are {}".format(unknown[0], ", ".join(_KEYS))
        raise AdapterError(msg)
    for name, kind in (
        ("system_prompt", str),
        ("params_to_add", dict),
        ("params_to_remove", list),
        ("params_to_rename", dict),
        ("reasoning", dict),
    ):
        if name in config and not isinstance(config[name], kind):
            msg = f"adapter.{name}: {config[name]!r} is not of type {kind.__name__}"
            raise AdapterError(msg)
    if config.get("system_prompt_strategy", _STRATEGIES[0]) not in _STRATEGIES:
        msg = "adapter.system_prompt_strategy: {!r} is none of {}".format(
            config["system_prompt_strategy"], ", ".join(_STRATEGIES)
        )
        raise AdapterError(msg)
    for name in ("start", "end"):
        value = (reasoning or {}).get(name, "x")
        if not (isinstance(value, str) and value) and not (name == "start" and value is None):
            msg = f"adapter.reasoning.{name}: {value!r} is not a text"
            raise AdapterError(msg)
