"""Before any test is read: an environment without the settings of whoever runs them, and what lies beside tests importable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

for _name in [name for name in os.environ if name.startswith("MODELTAP_") and not name.startswith("MODELTAP_TEST_")]:
    del os.environ[_name]

# Threads that wait for each other in a spin take the processor from those they wait for, where other processes run too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A test imports what lies beside it by its name; files of tests themselves may share a name across folders.
_tests = Path(__file__).parent / "tests"
sys.path[:0] = [*sorted(str(folder) for folder in _tests.iterdir() if folder.is_dir()), str(_tests)]
