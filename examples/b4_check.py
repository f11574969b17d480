#!/usr/bin/env python3
"""A check for ``b4 review``: test the series whose cover letter, or first patch, is on stdin.

``git config b4.review-series-check-cmd "…/examples/b4_check.py --tree . -k delivery"``; arguments
are options of ``uintr-harness run``. With ``--each`` first, they are options of ``uintr-harness
build --check-series``, which builds and boots each patch by itself.

The answer is the JSON that b4 reads: a status, one line, and the report as text for a mail.
"""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

#: Exit codes of uintr-harness that are a verdict on the series. Others are the host's or the
#: command's fault, of which b4 warns.
VERDICTS = {0: "pass", 1: "fail", 3: "fail"}


def check(message: bytes, options: list[str]) -> dict[str, str]:
    message_id = str(email.message_from_bytes(message).get("Message-ID", "")).strip().strip("<>")
    harness = os.environ.get("UINTR_HARNESS", "uintr-harness")
    each = options[:1] == ["--each"]
    command = ["build", "--check-series"] if each else ["run"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results"
        argv = [harness, *command, "--series", message_id, "--out", str(out), *options[each:]]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        answer = {
            "tool": "uintr-harness",
            "status": VERDICTS.get(done.returncode, "warn"),
            "summary": said[-1],
            "details": "\n".join(said[-40:]),
        }
        if not each and done.returncode in {0, 1}:
            told = subprocess.run(
                [harness, "report", "--mail", out], capture_output=True, text=True
            )
            verdicts = [line for line in told.stdout.splitlines() if line.startswith(("Pa", "Fa"))]
            answer |= {"summary": verdicts[0] if verdicts else said[-1], "details": told.stdout}
    return answer


if __name__ == "__main__":
    print(json.dumps(check(sys.stdin.buffer.read(), sys.argv[1:])))
