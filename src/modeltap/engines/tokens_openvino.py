"""OpenVINO GenAI as an engine of tokens: continuous batching on the processor, one token a text and step.

What was seen of it, and why its settings are these: docs/decisions.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modeltap.bundle.environment import environment
from modeltap.domain.generation import GenerationRequest, Grammar, Sampling
from modeltap.domain.model import Language
from modeltap.engines.tokens import Chosen, Ended, check_bounds, tokens_left
from modeltap.engines.tokens_wire import EngineSettings
from modeltap.errors import Broken, InvalidInput, MissingExtra, Overloaded

NEEDED = ("openvino_model.xml", "openvino_model.bin", "openvino_tokenizer.xml", "openvino_tokenizer.bin", "config.json")
BLOCK_TOKENS = 32
"""Keys and values are kept in pieces of so many tokens on a processor."""
MOST_THREADS = 2
GREEDY_BELOW = 1e-4
"""Of the temperature: beneath it the most likely token has all the probability, and its logits would overflow."""
ANY_OBJECT = '{"type":"object"}'
CACHE = {"float32": ("f32", 4), "float16": ("f16", 2), "u8": ("u8", 1)}
SCALE_BYTES = 16
"""Beside the u8 keys and values of one head and token."""


def check(request: GenerationRequest, language: Language, settings: EngineSettings) -> None:
    """Raises InvalidInput, naming what this engine cannot honour."""
    check_bounds(request, language)
    if request.sampling.echo and settings.prefix_cache:
        raise InvalidInput("echo is not possible where prompts that begin the same are kept; leave it out")
    if (grammar := request.sampling.grammar) is not None and "\0" in grammar.text:
        raise InvalidInput("the grammar holds the character U+0000; leave it out")


def tokens_environment() -> dict[str, str]:
    """Where golden prompts repeat to the last id: the processor, and the version of the engine."""
    return environment() | {"openvino-genai": version("openvino-genai")}


class OpenVinoTokens:
    """One model, loaded. Raises Broken, MissingExtra."""

    def __init__(self, folder: Path, *, language: Language, settings: EngineSettings, end_ids: frozenset[int]) -> None:
        missing = [name for name in NEEDED if not (folder / name).is_file()]
        if missing:
            raise Broken(f"the bundle has no {', '.join(missing)}; convert the model first")
        try:
            import openvino
            import openvino_genai
        except ModuleNotFoundError as problem:
            raise MissingExtra(what="openvino-genai", extra="llm") from problem
        self._genai, self._openvino = openvino_genai, openvino
        self._language = language
        self._end_ids = end_ids
        self._handles: dict[int, tuple[Any, int]] = {}
        """Number → handle, and how many of the next ids belong to a prompt that is echoed."""
        try:
            self._pipeline = openvino_genai.ContinuousBatchingPipeline(
                str(folder), self._scheduling(folder, settings), "CPU", properties_of(language, settings)
            )
        except RuntimeError as problem:
            raise Broken(f"OpenVINO cannot load the model: {_last_line(problem)}") from None
        reason = openvino_genai.GenerationFinishReason
        self._ended: dict[Any, Ended] = {reason.STOP: "stop", reason.LENGTH: "length"}
        self._given_up = (openvino_genai.GenerationStatus.IGNORED, openvino_genai.GenerationStatus.CANCEL)

    @property
    def is_busy(self) -> bool:
        return bool(self._handles) or bool(self._pipeline.has_non_finished_requests())

    def add(self, number: int, prompt_ids: Sequence[int], sampling: Sampling) -> None:
        import numpy as np

        tensor = self._openvino.Tensor(np.array([prompt_ids], dtype=np.int64))
        try:
            handle = self._pipeline.add_request(number, tensor, self._config(prompt_ids, sampling))
        except (RuntimeError, TypeError) as problem:
            raise InvalidInput(f"the engine does not take the request: {_last_line(problem)}") from None
        self._handles[number] = handle, len(prompt_ids) if sampling.echo else 0

    def drop(self, number: int) -> None:
        if (found := self._handles.pop(number, None)) is not None:
            found[0].cancel()

    def step(self) -> list[Chosen]:
        self._pipeline.step()
        chosen = []
        for number, (handle, num_prompt) in list(self._handles.items()):
            if handle.can_read():
                chosen.append(self._read(number, handle, num_prompt))
            elif handle.get_status() in self._given_up:
                del self._handles[number]
                problem = Overloaded("the text does not fit into what the engine may keep; ask for a shorter one")
                chosen.append(Chosen(number, (), problem=problem))
        return chosen

    def _read(self, number: int, handle: Any, num_prompt: int) -> Chosen:
        ids: list[int] = []
        logprobs: list[float] = []
        finish: Ended | None = None
        while handle.can_read():
            for output in handle.read().values():
                ids += output.generated_ids
                logprobs += output.generated_log_probs
                finish = self._ended.get(output.finish_reason)
        prompt_logprobs: Sequence[float | None] = ()
        if num_prompt:
            prompt_logprobs = (None, *logprobs[1:num_prompt])
            ids, logprobs = ids[num_prompt:], logprobs[num_prompt:]
        if finish is None:
            self._handles[number] = handle, 0
        else:
            del self._handles[number]
        return Chosen(number, ids, logprobs, prompt_logprobs, finish)

    def _config(self, prompt_ids: Sequence[int], sampling: Sampling) -> Any:
        config = self._genai.GenerationConfig()
        config.max_new_tokens = tokens_left(prompt_ids, sampling, self._language)
        config.apply_chat_template = False
        ends = self._end_ids if not sampling.ignore_end else frozenset()
        config.ignore_eos = sampling.ignore_end
        if ends:
            config.eos_token_id = min(ends)
        config.stop_token_ids = {*ends, *sampling.stop_ids}
        config.echo = sampling.echo
        config.logprobs = int(sampling.logprobs or sampling.echo)
        config.presence_penalty = sampling.presence_penalty
        config.frequency_penalty = sampling.frequency_penalty
        if sampling.temperature >= GREEDY_BELOW:
            config.do_sample = True
            config.temperature = sampling.temperature
            config.top_p = sampling.top_p
            if sampling.top_k:
                config.top_k = sampling.top_k
            config.rng_seed = secrets.randbits(32) if sampling.seed is None else sampling.seed % (1 << 63)
        if sampling.grammar is not None:
            config.structured_output_config = structured(self._genai, sampling.grammar)
        return config

    def _scheduling(self, folder: Path, settings: EngineSettings) -> Any:
        config = self._genai.SchedulerConfig()
        config.cache_size = 0
        config.num_kv_blocks = cache_blocks(json.loads((folder / "config.json").read_bytes()), self._language, settings)
        config.max_num_seqs = settings.max_streams
        config.max_num_batched_tokens = max(settings.step_tokens, settings.max_streams)
        config.dynamic_split_fuse = True
        config.enable_prefix_caching = settings.prefix_cache
        return config


def properties_of(language: Language, settings: EngineSettings) -> dict[str, Any]:
    """What OpenVINO is told about precision and threads."""
    precision, _ = CACHE[language.cache]
    properties = {
        # Several processes would be pinned to the same cores.
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_NUM_THREADS": settings.threads or min(MOST_THREADS, os.cpu_count() or 1),
        "KV_CACHE_PRECISION": precision,
    }
    if language.weights == "float32" and language.cache == "float32":
        properties |= {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    return properties


def cache_blocks(config: Mapping[str, Any], language: Language, settings: EngineSettings) -> int:
    """How many blocks of keys and values are kept at the most; the longest text always fits."""
    import psutil

    def number(*names: str) -> int | None:
        return next((int(config[name]) for name in names if config.get(name)), None)

    heads = number("num_attention_heads", "n_head") or 1
    width = number("hidden_size", "n_embd") or 1
    per_head = number("head_dim") or width // heads
    kept_heads = (number("num_key_value_heads") or heads) * (number("num_hidden_layers", "n_layer") or 1) * 2
    _, value_bytes = CACHE[language.cache]
    block_bytes = BLOCK_TOKENS * kept_heads * (per_head * value_bytes + (SCALE_BYTES if language.cache == "u8" else 0))
    one_text = -(-language.context_tokens // BLOCK_TOKENS) + 1
    wanted_bytes = settings.cache_bytes or min(
        settings.max_streams * one_text * block_bytes, psutil.virtual_memory().available // 4
    )
    return max(one_text, wanted_bytes // block_bytes)


def structured(genai: Any, grammar: Grammar) -> Any:
    """The grammar as GenAI takes it. What does not compile fails everybody's next step: it was tried before."""
    config = genai.StructuredOutputConfig()
    if grammar.kind == "regex":
        config.regex = grammar.text
    else:
        config.json_schema = grammar.text if grammar.kind == "json-schema" else ANY_OBJECT
    return config


def _last_line(problem: BaseException) -> str:
    """Of a message whose first lines are paths of those who built the library."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[-1][:300]
