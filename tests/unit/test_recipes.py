"""The pipeline recipes in ci/: valid for their systems, and of commands that the documents show."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness import cli, paths

from .test_documents import COMMANDS

#: The options that make the checker know each recipe's form.
RECIPES = {
    "github": ["--builtin-schema", "vendor.github-workflows"],
    "gitlab": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}

#: What a recipe puts in for its cell, and what the documents have in that place.
PUT_IN = {"${{ matrix.args }}": "--cpu hidden --smp 2", "$CPU": "hidden", "$SMP": "2"}


def read(name: str) -> Any:
    return YAML(typ="safe").load(path(name))


def path(name: str) -> Path:
    return paths.ROOT / "ci" / f"{name}.yml"


def check(file: Path, options: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *options, str(file)],
        capture_output=True,
        text=True,
    )


def scripts(tree: Any) -> list[str]:
    """Return the lines that a recipe's jobs run."""
    found: list[str] = []
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in {"run", "script"} and not isinstance(value, dict):
                found += value.splitlines() if isinstance(value, str) else value
            else:
                found += scripts(value)
    elif isinstance(tree, list):
        for value in tree:
            found += scripts(value)
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_its_system_takes(name: str, tmp_path: Path) -> None:
    done = check(path(name), RECIPES[name])
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / f"{name}.yml"
    text = path(name).read_text()
    broken.write_text(re.sub(r"^( +)(run|script):", r"\1runs:", text, count=2, flags=re.MULTILINE))
    assert check(broken, RECIPES[name]).returncode == 1


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_what_the_documents_show(name: str) -> None:
    shown = {line for _, line in COMMANDS}
    lines = scripts(read(name))
    assert sum(line.startswith("ci/bootstrap run ") for line in lines) == 1
    for line in lines:
        command = line.partition(" >> ")[0]
        for variable, value in PUT_IN.items():
            command = command.replace(variable, value)
        assert command in shown


def test_the_matrix_of_github_is_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """What the recipe asks of a job of the matrix is there, and its options make one cell."""
    (line,) = (line for line in scripts(read("github")) if "bootstrap plan" in line)
    assert cli.invoke(shlex.split(line.partition(" >> ")[0])[1:]) == 0
    matrix = json.loads(capsys.readouterr().out.partition("=")[2])["include"]
    asked = set(re.findall(r"matrix\.(\w+)", path("github").read_text())) - {"outputs"}
    assert asked == {"cell", "args"}
    assert len(matrix) == 4
    for job in matrix:
        assert asked <= job.keys()
        assert cli.invoke(["plan", *shlex.split(job["args"]), "--format", "json"]) == 0
        (cell,) = json.loads(capsys.readouterr().out)["cells"]
        assert cell["smp"] == job["smp"]
        assert cell["cpu"]["name"] == job["cpu"]


def test_recipes_keep_what_a_run_leaves() -> None:
    github, gitlab = read("github"), read("gitlab")
    steps = github["jobs"]["run"]["steps"]
    kept = [step["with"]["path"] for step in steps if "upload" in step.get("uses", "")]
    assert kept == ["results", "results/junit.xml"]
    assert all(step["if"] == "always()" for step in steps[-3:])
    artifacts = gitlab["uintr-run"]["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["paths"] == ["results/"]
    assert artifacts["reports"]["junit"] == "results/junit.xml"
    # The jobs of the cells restore the cache that the build saved.
    keys = [
        step["with"]["key"]
        for job in github["jobs"].values()
        for step in job["steps"]
        if "cache" in step.get("uses", "")
    ]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert gitlab["uintr-run"]["cache"]["key"] == gitlab[".uintr"]["cache"]["key"]
