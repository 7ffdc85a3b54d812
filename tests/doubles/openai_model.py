"""The model of `openai_server`: its answers, and the probability that it assigns to a text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BadRequestError", "Model"]

SUM = re.compile(r"(-?\d+)\s*([-+*])\s*(\d+)(?!.*\d\s*[-+*]\s*\d)", re.DOTALL)


class BadRequestError(ValueError):
    """A request body that an OpenAI-compatible server rejects."""


@dataclass(frozen=True)
class Model:
    """Answers sums and the questions in `answers`, correctly at a rate of `accuracy`."""

    name: str = "fake"
    accuracy: float = 0.75
    """Share of questions that are answered correctly, 0 to 1."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Part of a question → correct answer; for other questions, the last sum in the question is computed."""
    template: str = "Let me think. The answer is {}."
    salt: str = ""
    """Selects the items that are answered correctly: different models of the same accuracy."""
    text: str | None = None
    """A constant answer to every question."""

    def right(self, question: str) -> str:
        """Return the correct answer; `unknown` if there is none."""
        for part, answer in self.answers.items():
            if part in question:
                return answer
        if match := SUM.search(question):
            left, sign, right = int(match[1]), match[2], int(match[3])
            return str({"+": left + right, "-": left - right, "*": left * right}[sign])
        return "unknown"

    def knows(self, question: str) -> bool:
        """Whether the model answers a question correctly."""
        return _share(f"{self.salt}\0{self._core(question)}") < self.accuracy

    def says(self, question: str) -> str:
        """Return the model's complete answer to a question."""
        if self.text is not None:
            return self.text
        return self.template.format(self._choice(question))

    def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request to `/v1/chat/completions`.

        Raises:
            BadRequestError: the body is invalid.
        """
        question = _last_message(body)
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
            for index, (text, reason) in enumerate([self._truncated(question, body)] * int(body.get("n") or 1))
        ]
        return self._envelope("chat.completion", choices, question)

    def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request to `/v1/completions`: text, or log-probabilities of the prompt with `echo` and `logprobs`.

        Raises:
            BadRequestError: the body is invalid.
        """
        prompts = _prompts(body)
        echo = bool(body.get("echo")) and body.get("logprobs") is not None
        choices = [
            {"index": index, "finish_reason": "length", "text": _decode(prompt), "logprobs": self._logprobs(prompt)}
            if echo
            else self._text_choice(index, _decode(prompt), body)
            for index, prompt in enumerate(prompts)
        ]
        return self._envelope("text_completion", choices, " ".join(map(_decode, prompts)))

    def _text_choice(self, index: int, prompt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        text, reason = self._truncated(prompt, body)
        return {"index": index, "text": f" {text}" if text else "", "finish_reason": reason, "logprobs": None}

    def _core(self, question: str) -> str:
        """Reduce a question to its identifying part, so that few-shot examples do not change the answer."""
        part = next((part for part in self.answers if part in question), None)
        match = None if part else SUM.search(question)
        return part or (match[0] if match else question)

    def _choice(self, question: str) -> str:
        correct = self.right(question)
        if self.knows(question):
            return correct
        others = sorted({answer for answer in self.answers.values() if answer != correct})
        share = _share(self._core(question))
        if correct.lstrip("-").isdigit():
            return str(int(correct) + 1 + int(share * 9))
        return others[int(share * len(others))] if others else "wrong"

    def _truncated(self, question: str, body: Mapping[str, Any]) -> tuple[str, str]:
        """Apply the request's stop words and token limit; return the text and the finish reason."""
        text, stops = self.says(question), body.get("stop") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.partition(stop)[0] if stop else text
        tokens = re.findall(r"\s*\S+", text)
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(tokens)
        return "".join(tokens[:limit]), "length" if len(tokens) > limit else "stop"

    def _logprobs(self, prompt: str | list[int]) -> dict[str, Any]:
        """Return each token's log-probability: near 0 if the model would generate it, else well below."""
        text = _decode(prompt)
        tokens = [chr(byte) for byte in text.encode()]
        likely = f" {self._choice(text)}"
        start = len(tokens) - len(likely.encode()) if text.endswith(likely) else len(tokens)
        values = [-0.01 if index >= start else -2.0 - 2 * _share(text[:index]) for index in range(len(tokens))]
        top = [None, *({token: value} for token, value in zip(tokens[1:], values[1:], strict=True))]
        # NOTE: the generated token follows the echoed ones; clients drop the last one.
        return {
            "tokens": [*tokens, "."],
            "token_logprobs": [None, *values[1:], -0.01],
            "top_logprobs": [*top, {".": -0.01}],
            "text_offset": list(range(len(tokens) + 1)),
        }

    def _envelope(self, kind: str, choices: list[dict[str, Any]], question: str) -> dict[str, Any]:
        texts = [choice.get("text") or choice.get("message", {}).get("content") or "" for choice in choices]
        prompt_tokens, completion_tokens = len(question.split()), sum(len(text.split()) for text in texts)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        name = hashlib.sha256(f"{kind}{question}".encode()).hexdigest()[:12]
        return {"id": name, "object": kind, "created": 0, "model": self.name, "choices": choices, "usage": usage}


def _share(text: str) -> float:
    """Map texts uniformly to [0, 1)."""
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
