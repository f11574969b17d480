"""Mutants as files, and records of their runs."""

from __future__ import annotations

import json
from pathlib import Path

from harness.campaigns.mutants import (
    MUTANTS_FILE,
)
from harness.results.records import CaseRecord

CELL = "linux-6.12-exposed-smp1-gcc"

PATCH = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A Tester <tester@example.org>
Date: Tue, 24 Nov 2026 12:00:00 +0000
Subject: [PATCH] forget {what}

The rule is that {what} is remembered.
{trailer}
---
 a.c | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

diff --git a/a.c b/a.c
--- a/a.c
+++ b/a.c
@@ -1 +1 @@
-int {what} = 1;
+int {what} = 0;
"""


def failing(case: str = "first", **more: object) -> CaseRecord:
    values = {"cell": CELL, "program": "bare-metal/a", "case": case, "status": "fail"}
    return CaseRecord.model_validate({**values, "message": "1 is not 2", **more})


def statuses(out: Path) -> dict[str, str]:
    found = json.loads((out / MUTANTS_FILE).read_text())
    assert found["schema"] == 1
    return {result["name"]: result["status"] for result in found["results"]}
