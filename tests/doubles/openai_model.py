"""The model behind `openai_server`: what it answers, and how likely it finds a text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BadRequestError", "Model"]

SUM = re.compile(r"(-?\d+)\s*([-+*])\s*(\d+)(?!.*\d\s*[-+*]\s*\d)", re.DOTALL)


class BadRequestError(ValueError):
    """The body is not one that an OpenAI-compatible server takes."""


@dataclass(frozen=True)
class Model:
    """Knows the answer to sums, and to what `answers` holds; gives a wrong one at a rate of `1 - accuracy`."""

    name: str = "fake"
    accuracy: float = 0.75
    answers: Mapping[str, str] = field(default_factory=dict)
    """A part of the question → the right answer. Else the last sum in the question is computed."""
    template: str = "Let me think. The answer is {}."
    salt: str = ""
    """Another salt, other items right: a model of the same skill that is not the same model."""
    text: str | None = None
    """Always this answer, whatever is asked."""

    def right(self, question: str) -> str:
        """Return the right answer; `unknown` where there is none."""
        for part, answer in self.answers.items():
            if part in question:
                return answer
        if found := SUM.search(question):
            left, sign, right = int(found[1]), found[2], int(found[3])
            return str({"+": left + right, "-": left - right, "*": left * right}[sign])
        return "unknown"

    def knows(self, question: str) -> bool:
        """Say whether this question is one that the model gets right."""
        return _share(f"{self.salt}\0{self._core(question)}") < self.accuracy

    def says(self, question: str) -> str:
        """Return the model's whole answer to a question."""
        if self.text is not None:
            return self.text
        return self.template.format(self._choice(question))

    def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer `/v1/chat/completions`."""
        question = _last_message(body)
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
            for index, (text, reason) in enumerate([self._cut(question, body)] * int(body.get("n") or 1))
        ]
        return self._envelope("chat.completion", choices, question)

    def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer `/v1/completions`: text, or with `echo` and `logprobs` how likely the prompt is."""
        prompts = _prompts(body)
        echo = bool(body.get("echo")) and body.get("logprobs") is not None
        choices = [
            {"index": index, "finish_reason": "length", "text": _decode(prompt), "logprobs": self._logprobs(prompt)}
            if echo
            else self._plain(index, _decode(prompt), body)
            for index, prompt in enumerate(prompts)
        ]
        return self._envelope("text_completion", choices, " ".join(map(_decode, prompts)))

    def _plain(self, index: int, prompt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        text, reason = self._cut(prompt, body)
        return {"index": index, "text": f" {text}" if text else "", "finish_reason": reason, "logprobs": None}

    def _core(self, question: str) -> str:
        """Reduce a question to what makes it this question, so that few-shot examples do not change its answer."""
        held = next((part for part in self.answers if part in question), None)
        found = None if held else SUM.search(question)
        return held or (found[0] if found else question)

    def _choice(self, question: str) -> str:
        right = self.right(question)
        if self.knows(question):
            return right
        others = sorted({answer for answer in self.answers.values() if answer != right})
        share = _share(self._core(question))
        if right.lstrip("-").isdigit():
            return str(int(right) + 1 + int(share * 9))
        return others[int(share * len(others))] if others else "wrong"

    def _cut(self, question: str, body: Mapping[str, Any]) -> tuple[str, str]:
        """Cut the answer as the request's stop words and token limit say."""
        text, stops = self.says(question), body.get("stop") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.partition(stop)[0] if stop else text
        words = re.findall(r"\s*\S+", text)
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(words)
        return "".join(words[:limit]), "length" if len(words) > limit else "stop"

    def _logprobs(self, prompt: str | list[int]) -> dict[str, Any]:
        """Give each token its log-probability: near 0 where it belongs to what the model would say, else well below."""
        text = _decode(prompt)
        tokens = [chr(byte) for byte in text.encode()]
        liked = f" {self._choice(text)}"
        start = len(tokens) - len(liked.encode()) if text.endswith(liked) else len(tokens)
        values = [-0.01 if place >= start else -2.0 - 2 * _share(text[:place]) for place in range(len(tokens))]
        top = [None, *({token: value} for token, value in zip(tokens[1:], values[1:], strict=True))]
        # NOTE: the generated token comes after the echoed ones; clients cut the last one off.
        return {
            "tokens": [*tokens, "."],
            "token_logprobs": [None, *values[1:], -0.01],
            "top_logprobs": [*top, {".": -0.01}],
            "text_offset": list(range(len(tokens) + 1)),
        }

    def _envelope(self, kind: str, choices: list[dict[str, Any]], question: str) -> dict[str, Any]:
        texts = [choice.get("text") or choice.get("message", {}).get("content") or "" for choice in choices]
        asked, said = len(question.split()), sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        name = hashlib.sha256(f"{kind}{question}".encode()).hexdigest()[:12]
        return {"id": name, "object": kind, "created": 0, "model": self.name, "choices": choices, "usage": usage}


def _share(text: str) -> float:
    """Spread texts evenly over [0, 1)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _last_message(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        msg = "messages must be a list with at least one message"
        raise BadRequestError(msg)
    if body.get("stream"):
        msg = "this server does not stream"
        raise BadRequestError(msg)
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in {"system", "developer", "user", "assistant"}:
            msg = f"not a message: {message!r}"
            raise BadRequestError(msg)
    content = messages[-1].get("content")
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content or [])


def _prompts(body: Mapping[str, Any]) -> list[str | list[int]]:
    prompt = body.get("prompt")
    if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and isinstance(prompt[0], int)):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        return prompt
    msg = "prompt must be a text, a list of tokens, or a list of these"
    raise BadRequestError(msg)


def _decode(prompt: str | list[int]) -> str:
    return prompt if isinstance(prompt, str) else bytes(prompt).decode(errors="replace")
