"""Types that were settled are read by many threads at once; one that was not may end the process."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from modeltap.domain import struct_types
from modeltap.domain.job import Job
from modeltap.domain.struct_types import settle_types

MANY_THREADS = """
import sys, threading
import msgspec
from modeltap.domain import struct_types

sys.setswitchinterval(1e-6)
source = ["from __future__ import annotations", "import msgspec"]
for number in range(60):
    inner = f"C{number - 1}" if number else "int"
    source.append(f"class C{number}(msgspec.Struct):\\n    a: int\\n    b: {inner} | None = None\\n    c: list[{inner}] = []")
exec("\\n".join(source), globals())
struct_types.PACKAGE = __name__
assert struct_types.settle_types() == 60
barrier = threading.Barrier(6)

def read():
    barrier.wait()
    assert msgspec.json.decode(b'{"a": 1, "b": {"a": 2}}', type=C59).b.a == 2

threads = [threading.Thread(target=read) for _ in range(6)]
for one in threads:
    one.start()
for one in threads:
    one.join()
"""


def test_many_threads_read_types_for_the_first_time():
    for _ in range(3):
        subprocess.run([sys.executable, "-c", MANY_THREADS], check=True)


def test_types_of_this_package_are_settled_and_no_others(monkeypatch):
    class Foreign(msgspec.Struct):
        unknown: NotThere  # type: ignore[name-defined]  # noqa: F821

    assert Foreign not in set(struct_types._structs(msgspec.Struct)) and Job in set(struct_types._structs(msgspec.Struct))
    before = settle_types()
    monkeypatch.setattr(struct_types, "PACKAGE", __name__)
    assert before and settle_types() == 0, "what cannot be known is left alone"
