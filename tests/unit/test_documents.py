"""The documents: their commands parse, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from harness import names, paths
from harness.cli import app
from harness.errors import ExitCode
from harness.guest.verdict.failure import FailureCause
from harness.request.profiles import load_cpu, load_emulator, load_kernel
from tools import documents

PAGES = {str(path.relative_to(paths.ROOT)): path for path in documents.documents()}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
COMMANDS = [(name, line) for name, text in TEXTS.items() for line in documents.commands(text)]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    assert not [str(fault) for fault in documents.faults(PAGES[page])]


def test_the_documents_show_commands() -> None:
    lines = [line for _, line in COMMANDS]
    assert sum(line.startswith("uintr-harness run") for line in lines) > 20
    for name in app.list_commands(click.Context(app)):
        if name != "completion":  # shown inside of an eval
            assert any(re.match(rf"(uintr-harness|ci/bootstrap) {name}\b", line) for line in lines)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("`--no-such-option`", "no option --no-such-option"),
        ("```console\n$ python -m tools.judge\n$ uintr-harness no\n```\n", "no command ['no']"),
        ("`uintr-harness run --smp many`", "'many' is not a valid integer"),
        ("`harness/no_such.py`", "no harness/no_such.py"),
        ("`no-such/file.toml`", "no no-such/file.toml"),
        ("`guest-tests/NAME/none/NAME.c`", "no guest-tests/NAME/none/NAME.c"),
        ("[a page](no-such.md)", "no page no-such.md"),
        ("[a heading](README.md#no-such)", "README.md has no heading #no-such"),
    ],
)
def test_what_is_not_there_is_found(text: str, what: str) -> None:
    (fault,) = documents.faults(paths.ROOT / "README.md", f"\n{text}\n")
    assert what in str(fault)
    assert fault.line == (4 if "```" in text else 2)


@pytest.mark.parametrize(
    "text",
    [
        "`--smp`, and `git format-patch --stdout`",
        "```console\n$ uintr-harness run --cpu exposed\n```\n",
        "`guest-tests/SUBJECT/NAME.c`, `results/ktap/`, `cells/NAME/qemu.sh`",
        "[a page](docs/internals.md#where-to-change-what), [itself](#licence)",
        "[elsewhere](https://docs.kernel.org/none.md#none)",
    ],
)
def test_what_is_there_is_no_fault(text: str) -> None:
    assert not documents.faults(paths.ROOT / "README.md", text + "\n\n## Licence\n")


def test_what_commands_make_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout in which something ran has a folder `runs`, with a link or without."""
    (tmp_path / ".gitignore").write_text("/runs/\n")
    for name in ("runs", "harness", "docs"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    page = tmp_path / "docs" / "page.md"
    assert not list(documents.missing_paths(page, "see `runs/latest`"))
    assert list(documents.missing_paths(page, "see `docs/other`"))


@pytest.mark.parametrize(
    "line",
    [
        "uintr-harness no-such",
        "uintr-harness run --no-such",
        "uintr-harness run --smp many",
        "ci/bootstrap test -e no-such",
        "tox -e no-such",
        "python -m tools.judge --no-such",
        "pytest my_tests.py",
        "no/such/program",
    ],
)
def test_what_is_no_command_is_found(line: str) -> None:
    with pytest.raises((click.ClickException, ValueError, SystemExit)):
        documents.parse(line)


def test_foreign_options_are_used() -> None:
    everything = " ".join(TEXTS.values())
    for option in documents.FOREIGN_OPTIONS:
        assert option in everything


def test_the_readme_is_short_and_links_every_page() -> None:
    assert PAGES["README.md"].stat().st_size <= 10_000
    for name in PAGES:
        if name != "README.md" and not name.startswith(".github/"):
            assert f"({name})" in TEXTS["README.md"], f"{name} is not linked"


def test_the_exit_codes_are_those_of_the_code() -> None:
    table = TEXTS["docs/running.md"].partition("## Exit codes")[2].partition("##")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {
        int(code) for code in ExitCode
    }


def test_every_option_of_run_is_in_its_table() -> None:
    command = app.get_command(click.Context(app), "run")
    assert command is not None
    rows = re.findall(r"^\| (`-.*?) \| ", TEXTS["docs/options.md"], re.MULTILINE)
    documented = set(re.findall(r"--?[a-z][a-z-]*", " ".join(rows)))
    for param in command.params:
        if isinstance(param, click.Option) and "--help" not in param.opts:
            assert documented & {*param.opts, *param.secondary_opts}, param.opts


def test_every_fragment_and_cpu_is_in_its_table() -> None:
    fragments = TEXTS["docs/kernels-and-series.md"]
    for name in names.fragment_names():
        assert f"`{name}`" in fragments or name in {"base", "uintr"}, name
    table = TEXTS["docs/cpu-models.md"]
    for name in names.cpu_names():
        group, _, lacking = name.partition("-no-")
        assert f"`{name}`" in table or (f"`{group}-no-…`" in table and f"`{lacking}`" in table)


def test_every_failure_of_a_guest_is_explained() -> None:
    for cause in get_args(FailureCause):
        assert f"`{cause}`" in TEXTS["docs/troubleshooting.md"]


def test_messages_that_are_explained_are_said_somewhere() -> None:
    """A message of the table is in the code, but for what is put into it."""
    files = [paths.ROOT / "ci" / "bootstrap", *(paths.ROOT / "harness").rglob("*.py")]
    sources = (path.read_text(encoding="utf-8") for path in files)
    code = re.sub(r'"\n\s*f?"', "", "\n".join(sources)).replace("`", "")
    rows = re.findall(r"^\| (.+?) \|", TEXTS["docs/troubleshooting.md"], re.MULTILINE)
    messages = [m for m in re.findall(r"`([^`]+)`", " ".join(rows)) if " " in m]
    assert len(messages) > 4
    for message in messages:
        for part in re.split(r"…|\b\d+\b|unsure: |'uintr'|CONFIG_", message):
            assert part.strip() in code, message


def test_the_tools_table_has_every_tool() -> None:
    tools = paths.ROOT / "tools"
    single = [path.stem for path in tools.glob("*.py") if "__main__" in path.read_text("utf-8")]
    for name in (*single, *(path.parent.name for path in tools.glob("*/__main__.py"))):
        assert f"`python -m tools.{name}" in TEXTS["docs/internals.md"]


#: Rows of the table "where to change what" name functions, classes and constants with their file.
PLACES = re.findall(r"^\| ([a-z].*?) \| (.+) \|$", TEXTS["docs/internals.md"], re.MULTILINE)


@pytest.mark.parametrize(("task", "place"), PLACES, ids=[task for task, _ in PLACES])
def test_what_is_to_be_changed_is_where_the_table_says(task: str, place: str) -> None:
    spans = re.findall(r"`([^`]+)`", place)
    files = [paths.ROOT / span for span in spans if (paths.ROOT / span).is_file()]
    beside = [path.parent / span for path in files for span in spans if span.endswith(".py")]
    sources = {p: p.read_text(encoding="utf-8") for p in (*files, *beside) if p.is_file()}
    for span in spans:
        if re.fullmatch(r"(?!tools\.)[A-Za-z_][A-Za-z_.]*(?<!\.py)(\(\))?", span):
            name = span.removesuffix("()").rpartition(".")[2]
            assert any(re.search(rf"\b{name}\b", text) for text in sources.values()), span


@pytest.mark.parametrize(
    ("page", "load"),
    [
        ("docs/kernels-and-series.md", load_kernel),
        ("docs/cpu-models.md", load_cpu),
        ("docs/emulator.md", load_emulator),
    ],
)
def test_a_profile_that_is_shown_is_one(page: str, load: Any, tmp_path: Path) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", TEXTS[page], re.DOTALL | re.MULTILINE)
    (tmp_path / "uintr-v2.mbox").write_text("From a\n")
    (tmp_path / "devices.mak").touch()
    (tmp_path / "qemu").mkdir()
    (tmp_path / "qemu/meson.build").touch()
    profile = tmp_path / "mine.toml"
    profile.write_text(text.replace("/home/me/src/qemu", str(tmp_path / "qemu")))
    assert load(str(profile)).description
