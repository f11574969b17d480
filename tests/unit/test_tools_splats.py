"""The tool that runs the splat rules over logs and kernel trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.splats import head_of, main, read_log, unknown_messages

WARNING = """# source: made up
# kind: warn
# title: WARNING in f
# frames: f
# corrupted: no
WARNING: CPU: 1 PID: 2 at a.c:1 f+0x1/0x2
RIP: 0010:f+0x1/0x2
---[ end trace 0 ]---
"""


def folder(path: Path, **logs: str) -> str:
    for name, text in logs.items():
        (path / f"{name}.log").write_text(text)
    return str(path)


def test_a_right_log_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([folder(tmp_path, right=WARNING, silent="# source: benign\nhello\n")]) == 0
    assert "2 logs, 1 reports: 0 missed, 0 false, 0 named wrongly" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (WARNING.replace("WARNING: CPU", "NOTE: CPU"), "1 missed, 0 false"),
        ("# source: benign\n" + WARNING.partition("no\n")[2], "0 missed, 1 false"),
        (WARNING.replace("in f", "in g"), "1 named wrongly"),
        (WARNING.replace("frames: f", "frames: g"), "1 named wrongly"),
        (WARNING.replace("corrupted: no", "corrupted: yes"), "1 named wrongly"),
        (WARNING.replace("kind: warn", "kind: bug"), "1 named wrongly"),
    ],
)
def test_a_wrong_log_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, counted: str
) -> None:
    assert main([folder(tmp_path, wrong=text)]) == 1
    assert counted in capsys.readouterr().out


def test_a_log_without_a_head_is_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([folder(tmp_path, bare=WARNING.partition("no\n")[2])]) == 0
    assert "1 logs have no head" in capsys.readouterr().out


def test_a_described_log_is_right(tmp_path: Path) -> None:
    from harness.guest.verdict.splats import scan

    folder(tmp_path, bare=WARNING.partition("no\n")[2])
    log = read_log(tmp_path / "bare.log")
    head = head_of(scan(log.lines), "made up")
    assert head + "\n".join(line.decode() for line in log.lines) == WARNING


def test_messages_of_a_tree_that_no_rule_knows(tmp_path: Path) -> None:
    (tmp_path / "Kbuild").touch()
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "debug.c").write_text(
        """
        pr_err("BUG: KASAN: %s in %pS\\n", a, b);
        pr_info("all is well\\n");
        pr_emerg("the pages are on fire: %d\\n", 3);
        pr_warn("WARNING: the pages "
                "are warm\\n");
        pr_warn("no complaint\\n");
        printk(KERN_ERR "the pages are gone\\n");
        """
    )
    found = [(line, text) for _, line, text in unknown_messages(tmp_path)]
    assert found == [
        (4, "the pages are on fire: %d\\n"),
        (5, "WARNING: the pages are warm\\n"),
        (8, "the pages are gone\\n"),
    ]
