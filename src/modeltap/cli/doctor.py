"""modeltap doctor: what is installed, where settings come from, and whether anything is in the way. Starts no server."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from modeltap import __version__
from modeltap.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from modeltap.settings import Resolved

LOW_DISK_BYTES = 1_000_000_000
LIBRARIES = ("numpy", "polars", "onnx", "onnxruntime", "fastapi", "uvicorn", "SQLAlchemy", "msgspec", "httpx", "typer")
OPTIONAL = ("torch", "scikit-learn", "onnxscript", "safetensors", "matplotlib")
EXTRAS = ("train",)
"""Extras that a user installs; `dev` and `bench` are of the project itself."""

Level = Literal["ok", "warning", "broken"]


def register(parent: typer.Typer) -> None:
    command(parent, "doctor", example="modeltap doctor")(doctor)


def doctor(run: Invocation) -> None:
    """Check the installation. What is there, where each setting comes from, and what is in the way."""
    from modeltap.bundle.environment import cpu_features

    resolved = run.load_settings()
    home = resolved.settings.home
    libraries = {name: _version(name) for name in (*LIBRARIES, *OPTIONAL)}
    extras = {extra: _lacking(extra) for extra in EXTRAS}
    server = _server(run)
    checks = [_check_home(home), _check_disk(home), _check_libraries(libraries), *_check_extras(extras)]
    checks.append(_check_sandbox(resolved.settings.import_sandbox))
    document: dict[str, Any] = {
        "name": "doctor",
        "modeltap": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "home": str(home),
        "free_disk_bytes": _free_bytes(home),
        "cpus": os.cpu_count(),
        "cpu_features": list(cpu_features()),
        "cuda": _has_cuda(),
        "libraries": libraries,
        "extras": {extra: not lacking for extra, lacking in extras.items()},
        "settings": {name: {"value": value, "source": resolved.sources[name]} for name, value in _values(resolved).items()},
        "server": server,
        "checks": [{"check": name, "level": level, "detail": detail} for name, level, detail in checks],
    }
    run.out.answer(document, lambda: _show(run, document))
    if any(level == "broken" for _, level, _ in checks):
        raise typer.Exit(1)


def _show(run: Invocation, facts: dict[str, Any]) -> None:
    from modeltap.cli.output import size

    out = run.out
    free = facts["free_disk_bytes"]
    server = facts["server"]
    out.facts(
        [
            ("modeltap", facts["modeltap"]),
            ("python", f"{facts['python']} on {facts['platform']}"),
            ("home", facts["home"]),
            ("free disk", None if free is None else size(free)),
            ("processor", f"{facts['cpus']} cores; {', '.join(facts['cpu_features']) or 'no vector instructions known'}"),
            ("GPU", "NVIDIA driver found" if facts["cuda"] else "none"),
            ("server", f"{server['url']} (process {server['pid']})" if server["running"] else "none runs; commands start one"),
        ]
    )
    out.say()
    out.table(("library", "version"), [(name, found or "not installed") for name, found in facts["libraries"].items()])
    out.say()
    settings = facts["settings"].items()
    out.table(("setting", "value", "from"), [(name, _shown(entry["value"]), entry["source"]) for name, entry in settings])
    out.say()
    colours = {"ok": "green", "warning": "yellow", "broken": "bold red"}
    for check in facts["checks"]:
        out.say(f"{check['level']:8} {check['check']}: {check['detail']}", style=colours[check["level"]])


def _server(run: Invocation) -> dict[str, Any]:
    from modeltap.cli.connect import find_server

    server = find_server(run.home)
    if server is None:
        return {"running": False}
    return {"running": True, "url": server.url, "pid": server.pid, "background": server.background}


def _check_home(home: Path) -> tuple[str, Level, str]:
    nearest = next(p for p in (home, *home.parents) if p.exists())
    if not nearest.is_dir():
        return "home", "broken", f"{nearest} is not a folder; choose another with --home or MODELTAP_HOME"
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as problem:
        reason = problem.strerror or problem
        return "home", "broken", f"{nearest} cannot be written ({reason}); choose another with --home or MODELTAP_HOME"
    return "home", "ok", f"{home} can be written" if home.exists() else f"{home} will be made"


def _check_disk(home: Path) -> tuple[str, Level, str]:
    free = _free_bytes(home)
    if free is None:
        return "disk", "warning", "how much is free could not be found out"
    if free < LOW_DISK_BYTES:
        return "disk", "warning", f"only {free / 1e9:.2f} GB are free; modeltap gc removes what nothing refers to"
    return "disk", "ok", f"{free / 1e9:,.1f} GB are free"


def _check_libraries(libraries: Mapping[str, str | None]) -> tuple[str, Level, str]:
    lacking = [name for name in LIBRARIES if libraries[name] is None]
    if lacking:
        return "libraries", "broken", f"{', '.join(lacking)} not installed; run: pip install modeltap"
    return "libraries", "ok", "all that serving needs is installed"


def _check_extras(extras: Mapping[str, list[str]]) -> list[tuple[str, Level, str]]:
    checks: list[tuple[str, Level, str]] = []
    for extra, lacking in extras.items():
        if lacking:
            checks.append((f"extra {extra}", "warning", f"{', '.join(lacking)} lacking; run: pip install 'modeltap[{extra}]'"))
        else:
            checks.append((f"extra {extra}", "ok", "installed"))
    return checks


def _check_sandbox(least: str) -> tuple[str, Level, str]:
    """How far a process that reads a model from elsewhere is confined, as one tried itself."""
    from modeltap.importing.sandbox import how_to_get_more, measure_sandbox
    from modeltap.importing.sandbox_walls import LEVELS

    held = measure_sandbox()
    more = how_to_get_more(held)
    told = f"{held.told()}{f'; {more}' if more else ''}"
    if LEVELS.index(held.level) < [str(level) for level in LEVELS].index(least):
        return "import sandbox", "broken", f"{told}. The setting import_sandbox asks for {least}, so no model is imported"
    return "import sandbox", "ok" if held.level == LEVELS[-1] else "warning", told


def _lacking(extra: str) -> list[str]:
    """The distributions that the extra names and that are not installed."""
    marker = f"extra == '{extra}'"
    try:
        wanted = [r for r in requires("modeltap") or [] if marker in r.replace('"', "'")]
    except PackageNotFoundError:
        wanted = list(OPTIONAL)
    names = [
        r.split(";")[0].strip().split("[")[0].split(">")[0].split("<")[0].split("=")[0].split("!")[0].strip() for r in wanted
    ]
    return [name for name in names if _version(name) is None]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _has_cuda() -> bool:
    """Whether there is an NVIDIA driver and a torch to use it; torch itself is not loaded."""
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return driver and find_spec("torch") is not None


def _free_bytes(home: Path) -> int | None:
    nearest = next(p for p in (home, *home.parents) if p.exists())
    try:
        return shutil.disk_usage(nearest).free
    except OSError:
        return None


def _values(resolved: Resolved) -> dict[str, Any]:

    return resolved.settings.shown()


def _shown(value: Any) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
