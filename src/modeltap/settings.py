"""One frozen `Settings`: flag > environment MODELTAP_* > <home>/modeltap.toml > default, with the source of every value."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from modeltap.errors import InvalidInput, nearest

Source = Literal["flag", "environment", "modeltap.toml", "default"]
PREFIX = "MODELTAP_"
CONFIG_FILE = "modeltap.toml"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Field `max_body_bytes` is the flag --max-body-bytes, MODELTAP_MAX_BODY_BYTES and a key of modeltap.toml."""

    home: Path = Path("~/.modeltap")
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    grpc_port: int | None = None
    """None is the one above `port`."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Processes that serve the one port; more than one have a parent that counts limits and starts jobs."""
    database_url: str | None = None
    """Of a PostgreSQL server; None is the SQLite file of the home."""
    artifacts_url: str | None = None
    """s3://BUCKET/PREFIX of datasets, versions and files; None is the home. Credentials come by the AWS variables."""
    artifacts_cache_bytes: Annotated[int, msgspec.Meta(ge=1)] = 20 * 1024**3
    """Of what lies in a bucket, so much may also lie on the disk."""
    durability: Literal["process", "power"] = "process"
    """What a usage record survives before its answer is sent: the end of the process, or of the power."""
    currency: str = "EUR"
    """Of every price and budget; a name, nothing is converted."""
    model_memory_bytes: Annotated[int, msgspec.Meta(ge=1)] = 4 * 1024**3
    """Of loaded models together; the one that was not used for longest makes room."""
    unload_after_s: Annotated[float, msgspec.Meta(gt=0)] | None = 3600.0
    """A model that nobody called for so long is unloaded until the next call; None never."""
    cors_origins: str = ""
    """Origins of pages that may call from a browser, separated by commas."""
    trusted_proxies: str = ""
    """Addresses whose X-Forwarded-* headers are believed, separated by commas; networks as 10.0.0.0/8."""
    shared_memory: bool | None = None
    """Whether callers on this machine may send tensors in shared memory; None where no other machine reaches the server."""
    upstream_hosts: str = ""
    """Hosts that deployments may lead to, separated by commas; one whose address is not public is named with its port."""
    upstream_programs: str = ""
    """Programs that deployments may start, separated by commas, as their commands name them."""
    job_slots: int = 2
    """Trainings at a time; imports and evaluations have slots of their own, so that they never wait behind a long one."""
    threads: int | None = None
    """Of a training process whose recipe names none; None is the cores divided by the job slots."""
    job_threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Of all jobs together; None is one more than the cores. Of several, one is kept for imports and evaluations."""
    job_memory_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Of a job that names no limit, with all its processes; None is nine tenths of the machine's."""
    checkpoint_every_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    """Between two checkpoints of a training: what a crash costs at most. 0 is after every step."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Of a prediction or control request."""
    max_upload_bytes: int = 8 * 1024**3
    """Of a dataset, a model, or the rows of a batch."""
    import_sandbox: Literal["limits", "no-network", "no-writes"] = "limits"
    """What a process that reads a model from elsewhere must at least be confined to; where the system gives less, none is
    imported. It is always confined as far as the system can."""
    explain_max_rows: Annotated[int, msgspec.Meta(ge=1)] = 20_000
    """That an engine may run for one explanation."""
    explain_max_instances: Annotated[int, msgspec.Meta(ge=1)] = 16
    """Rows, pictures or texts that one call may have explained."""
    explain_deadline_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """A call for explanations that is not answered by then is stopped, and charged what ran."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_public_bind: bool = False
    """Serve other machines without TLS; keys then cross the network in the clear."""
    idle_exit_s: float | None = None
    """A server started in the background ends this long after its last job and request; None never."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def shown(self) -> dict[str, Any]:
        """Every value as it may be shown: paths as text, and no password."""
        values: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        if self.database_url is not None:
            values["database_url"] = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", self.database_url)
        return values


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a client finds its server; None is the one of the home."""

    url: str | None = None
    key: str | None = None


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, and for each where its value came from."""

    settings: Settings
    sources: dict[str, Source]


def load_settings(flags: Mapping[str, Any] | None = None, *, environment: Mapping[str, str] | None = None) -> Resolved:
    """Settings from all sources. A flag that is None was not given.

    Raises InvalidInput for an unknown key in modeltap.toml or a value of the wrong type, naming where it was found.
    """
    environ = os.environ if environment is None else environment
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    home = Path(given.get("home") or environ.get(PREFIX + "HOME") or Settings().home).expanduser().absolute()
    from_file = _read_file(home / CONFIG_FILE)
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for name in Settings.__struct_fields__:
        variable = PREFIX + name.upper()
        if name in given:
            values[name], sources[name] = _convert(name, given[name], f"--{name.replace('_', '-')}"), "flag"
        elif environ.get(variable):
            values[name], sources[name] = _convert(name, environ[variable], variable), "environment"
        elif name in from_file:
            values[name], sources[name] = _convert(name, from_file[name], CONFIG_FILE), "modeltap.toml"
        else:
            sources[name] = "default"
    values["home"] = home
    return Resolved(settings=Settings(**values), sources=sources)


def load_client_settings(
    url: str | None = None, key: str | None = None, *, environment: Mapping[str, str] | None = None
) -> ClientSettings:
    """The flags, else MODELTAP_URL and MODELTAP_KEY."""
    environ = os.environ if environment is None else environment
    return ClientSettings(url=url or environ.get(PREFIX + "URL") or None, key=key or environ.get(PREFIX + "KEY") or None)


def _read_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise InvalidInput(f"{CONFIG_FILE} in the home is not TOML: {problem}") from None
    known = [name for name in Settings.__struct_fields__ if name != "home"]
    for name in values:
        if name not in known:
            raise InvalidInput(f"{CONFIG_FILE} has an unknown key '{name}'{nearest(name, known)}")
    return values


_FIELD_TYPES = {field.name: field.type for field in msgspec.structs.fields(Settings)}


def _convert(name: str, value: Any, where: str) -> Any:
    text = str(value) if isinstance(value, Path) else value
    if isinstance(text, str) and _FIELD_TYPES[name] in (bool, bool | None):
        text = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}.get(
            text.casefold(), text.casefold()
        )
    wanted = str if _FIELD_TYPES[name] in (Path, Path | None) else _FIELD_TYPES[name]
    try:
        converted = msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as problem:
        raise InvalidInput(f"{where} is '{value}': {str(problem).replace('`', '')}") from None
    return Path(converted).expanduser() if _FIELD_TYPES[name] in (Path, Path | None) else converted
