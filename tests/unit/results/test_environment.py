from __future__ import annotations

import json
import sys
from pathlib import Path

from harness.results.environment import (
    Environment,
    cpu_model,
    cpu_ticks,
    finish,
    observe,
    tool_version,
)

STAT = "cpu  100 1 20 300 4 0 5 70 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5 0\n"


def test_proc_files() -> None:
    assert cpu_ticks(STAT) == (500, 70)
    assert cpu_ticks("cpu  100 1 20 300\n") == (421, 0)
    assert cpu_ticks("") == (0, 0)
    assert cpu_ticks("cpu a b\n") == (0, 0)
    assert cpu_model("processor\t: 0\nmodel name\t: A CPU @ 2.0: GHz\n") == "A CPU @ 2.0: GHz"
    assert cpu_model("processor : 0\n") == ""


def test_what_a_tool_says_about_itself() -> None:
    says = "print('tool 1.2'); print('more')"
    assert tool_version([sys.executable, "-c", says]) == "tool 1.2"
    assert tool_version([sys.executable, "-c", "raise SystemExit(3)"]).endswith("(exit code 3)")
    assert tool_version(["/no/such/tool"]) == "not found"
    assert tool_version(["/"]) == "does not answer: PermissionError"


def test_a_run_has_a_start_and_an_end(tmp_path: Path) -> None:
    environment = observe({"python3": [sys.executable, "--version"]})
    assert environment.tools["python3"].startswith("Python 3")
    assert environment.host.cores >= 1
    assert environment.host.memory_mib > 0
    start = environment.start
    later = start.model_copy(
        update={"ticks": start.ticks + 400, "stolen_ticks": start.stolen_ticks + 10}
    )
    done = finish(environment, later)
    assert done.steal_percent == 2.5
    assert finish(environment, start).steal_percent is None
    path = tmp_path / "environment.json"
    done.write(path)
    assert json.loads(path.read_text())["schema"] == 1
    assert Environment.model_validate_json(path.read_text()) == done
