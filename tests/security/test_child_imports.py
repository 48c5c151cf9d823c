"""What the hostile half brings into its process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROBE = """
import json, sys
before = set(sys.modules)
from sandbox.child import main
main.preload()
names = {name.partition(".")[0] for name in set(sys.modules) - before}
rooms = sorted(name for name in sys.modules if name.startswith("sandbox"))
print(json.dumps([sorted(names - set(sys.stdlib_module_names)), rooms]))
"""


def test_the_child_imports_stdlib_lupa_and_re2_only() -> None:
    """A ready child holds no package but lupa and re2, and of ours only its vocabulary."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PROBE}"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    packages, rooms = json.loads(done.stdout)

    # lupa is written in Cython, whose runtime counts as its own; _re2 is re2's compiled half.
    own = {name for name in packages if not name.startswith(("_cython", "cython_runtime", "_re2"))}
    assert own == {"lupa", "re2", "sandbox"}
    assert [name for name in rooms if not name.startswith("sandbox.child")] == [
        "sandbox",
        "sandbox.limit_specs",
        "sandbox.reasons",
        "sandbox.script_names",
        "sandbox.wire",
    ]
