"""The processor and runtime that answers were computed with: where both are the same, answers are equal to the bit."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

FIELDS = ("vendor_id", "cpu family", "model", "model name", "stepping")


@cache
def environment() -> dict[str, str]:
    """Processor and ONNX Runtime version, as short texts."""
    return {"processor": _processor(), "onnxruntime": version("onnxruntime")}


def _processor() -> str:
    facts: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    named = " ".join(facts[field] for field in FIELDS if field in facts)
    return f"{platform.machine()} {named or platform.processor()}".strip()


def cpu_features() -> tuple[str, ...]:
    """The vector and matrix instruction sets that decide how fast graphs run here, as /proc/cpuinfo names them."""
    wanted = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "sve")
    info = Path("/proc/cpuinfo")
    text = info.read_text(errors="replace") if info.exists() else ""
    flags = next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith(("flags", "Features"))), [])
    return tuple(name for name in wanted if name in flags)
