"""A process in which grammars are compiled first: `python -P -m modeltap.engines.grammar_child FD PARENT`.

A grammar that does not compile fails the next step of an engine for everybody, and one that takes minutes holds everybody
up. Here it fails alone: with the compiler and the tokenizer of the engine, but a graph of no size, and within limits of
memory and of processor time. A grammar that passes is also walked for some tokens.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from modeltap.domain.generation import Grammar
from modeltap.engines.child_process import begin_child
from modeltap.engines.confine import limit_memory
from modeltap.engines.tokens_openvino import structured
from modeltap.engines.tokens_wire import RECEIVE_BYTES, Failed, Frames, FromTrial, OpenTrial, Ready, ToTrial, Try, Verdict, pack
from modeltap.errors import Broken, MissingExtra

WALK_TOKENS = 16
WIDTH = 4
"""Of the graph that stands for the model."""
LONGEST_PROBLEM = 300
MODEL = "openvino_model.xml"


class Compiler:
    """The tokenizer of `folder`, which gets a graph of its vocabulary written beside it."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        import openvino
        import openvino_genai

        self._genai, self._openvino = openvino_genai, openvino
        openvino.save_model(_graph(vocabulary), folder / MODEL)
        self._pipeline = openvino_genai.LLMPipeline(
            str(folder), "CPU", ATTENTION_BACKEND="SDPA", ENABLE_CPU_PINNING="NO", INFERENCE_NUM_THREADS=1
        )

    def problem(self, grammar: Grammar) -> str:
        """What is wrong with it, or nothing."""
        import numpy as np

        config = self._genai.GenerationConfig()
        config.max_new_tokens = WALK_TOKENS
        config.do_sample = True
        config.rng_seed = 0
        config.apply_chat_template = False
        config.structured_output_config = structured(self._genai, grammar)
        try:
            self._pipeline.generate(self._openvino.Tensor(np.zeros((1, 1), dtype=np.int64)), config)
        except RuntimeError as problem:
            return _told(problem)
        return ""


def _graph(vocabulary: int) -> Any:
    """The inputs and output of a language model, that says of any token much the same about the next one."""
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    chance = np.random.default_rng(0)
    ids = ops.parameter([-1, -1], np.int64)
    mask = ops.parameter([-1, -1], np.int64)
    beams = ops.parameter([-1], np.int32)
    for name, parameter in {"input_ids": ids, "attention_mask": mask, "beam_idx": beams}.items():
        parameter.output(0).set_names({name})
        parameter.set_friendly_name(name)
    table = ops.constant(chance.normal(size=(vocabulary, WIDTH)).astype(np.float32))
    head = ops.constant(chance.normal(size=(WIDTH, vocabulary)).astype(np.float32))
    logits = ops.matmul(ops.gather(table, ids, ops.constant(np.int64(0))), head, False, False)
    for unused, axes in ((mask, [0, 1]), (beams, [0])):
        total = ops.convert(ops.reduce_sum(unused, ops.constant(np.array(axes, dtype=np.int64))), "f32")
        logits = ops.add(logits, ops.multiply(total, ops.constant(np.float32(0))))
    logits.output(0).set_names({"logits"})
    return openvino.Model([logits], [ids, mask, beams], "grammar_trial")


def _told(problem: BaseException) -> str:
    """The compiler's own words, without the file and line of its source before them."""
    text = " ".join(str(problem).split())
    for mark in ("is false: ", ".cc:"):
        if mark in text:
            text = text.split(mark, 1)[1]
    return text.lstrip("0123456789: ")[:LONGEST_PROBLEM] or "it does not compile"


def main() -> None:
    """Until the parent closes the socket, or a grammar takes more than it may, which ends the process."""
    with begin_child("trial process") as link, suppress(BrokenPipeError, ConnectionResetError):
        _serve(link)
    os._exit(0)


def _serve(link: socket.socket) -> None:
    frames, decoder = Frames(), msgspec.msgpack.Decoder(ToTrial)
    compiler: Compiler | None = None
    processor_s = 0.0
    while data := link.recv(RECEIVE_BYTES):
        for body in frames.received(data):
            answer: FromTrial
            match decoder.decode(body):
                case OpenTrial(folder, vocabulary, memory_bytes, processor_s):
                    try:
                        compiler = Compiler(Path(folder), vocabulary)
                        compiler.problem(Grammar("json-object"))
                        answer = Ready()
                    except ModuleNotFoundError:
                        missing = MissingExtra(what="openvino-genai", extra="llm")
                        answer = Failed(missing.code, missing.message)
                    except RuntimeError as problem:
                        answer = Failed(Broken.code, f"grammars cannot be tried: {_told(problem)}")
                    limit_memory(_address_space() + memory_bytes)
                case Try(grammar):
                    assert compiler is not None, "the first message names the tokenizer"
                    signal.setitimer(signal.ITIMER_PROF, processor_s)  # all threads together; the signal ends the process
                    answer = Verdict(compiler.problem(grammar))
                    signal.setitimer(signal.ITIMER_PROF, 0.0)
            link.sendall(pack(answer))


def _address_space() -> int:
    """Of this process now, in bytes; 0 where the system does not tell."""
    import psutil

    return int(psutil.Process().memory_info().vms)


if __name__ == "__main__":
    main()
