"""Golden console logs: one report each, its kind, title and fingerprint."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.guest.verdict.known_splats import KNOWN_SPLATS, load_known_splats, unexcused
from harness.guest.verdict.splats import MAX_SPLATS, Splat, scan

GOLDEN = Path(__file__).parent / "golden"
TODAY = datetime.date(2026, 11, 22)

EXPECTED = {
    "panic-before-init": (
        "panic",
        "panic:mount_root_generic|prepare_namespace|kernel_init_freeable|kernel_init",
    ),
    "oops": ("oops", "oops:uintr_post|emulate_senduipi|uintr_fixup_ud"),
    "gpf": ("oops", "oops:uintr_receiver_put|uintr_fd_release|__fput|task_work_run|do_exit"),
    "bug": (
        "bug",
        "bug:uintr_free_upid|uintr_unregister_handler|__x64_sys_uintr_unregister_handler",
    ),
    "warn": ("warn", "warn:uintr_deliver|exit_to_user_mode_loop|irqentry_exit_to_user_mode"),
    "warn-message": ("warn", "warn:uintr_alloc_vector|__do_sys_uintr_create_fd"),
    "kasan": ("kasan", "kasan:uintr_post|emulate_senduipi"),
    "kcsan": ("kcsan", "kcsan:uintr_set_uif|emulate_stui|uintr_kick"),
    "kcsan-virtio": (
        "kcsan",
        (
            "kcsan:virtqueue_get_buf_ctx|virtqueue_get_buf|virtnet_send_command_reply"
            "|virtnet_config_changed_work|process_one_work"
        ),
    ),
    "lockdep": ("lockdep", "lockdep:uintr_register_sender|__x64_sys_uintr_register_sender"),
    "suspicious-rcu": ("lockdep", "lockdep:uintr_lookup|emulate_senduipi"),
    "rcu-stall": ("rcu-stall", "rcu-stall:uintr_wait_loop|__x64_sys_uintr_wait"),
    "rcu-self-stall": ("rcu-stall", "rcu-stall:uintr_spin"),
    "hung-task": ("hung-task", "hung-task:uintr_flush|uintr_fd_release"),
    "soft-lockup": ("soft-lockup", "soft-lockup:uintr_kick|emulate_senduipi"),
    "ubsan": ("ubsan", "ubsan:uintr_set_pending"),
    "list-corruption": ("list", "list:uintr_unlink_sender|uintr_unregister_sender"),
    "refcount": ("refcount", "refcount:uintr_receiver_put|uintr_fd_release"),
    "scheduling-while-atomic": ("atomic", "atomic:uintr_do_wait"),
    "sleeping-function": ("atomic", "atomic:uintr_push_frame"),
    "kmemleak": (
        "leak",
        "leak:kmemleak: N new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    ),
    "nobody-cared": ("irq", "irq:__report_bad_irq"),
}


def lines(name: str) -> list[bytes]:
    return (GOLDEN / f"{name}.log").read_bytes().splitlines()


def test_every_golden_log_is_expected() -> None:
    assert {path.stem for path in GOLDEN.glob("*.log")} == {*EXPECTED, "two-reports", "clean-boot"}


@pytest.mark.parametrize("name", EXPECTED)
def test_golden(name: str) -> None:
    found = scan(lines(name))
    assert [(splat.kind, splat.fingerprint) for splat in found] == [EXPECTED[name]]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_report_has_its_place_and_its_text(name: str) -> None:
    (splat,) = scan(lines(name))
    assert splat.excerpt.splitlines()[0].encode() == lines(name)[splat.first_line - 1]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_same_fault_has_the_same_fingerprint(name: str) -> None:
    (first,) = scan(lines(name))
    moved = [
        line.replace(b"12.345678", b"99.000001")
        .replace(b"CPU: 0", b"CPU: 3")
        .replace(b"CPU: 1 ", b"CPU: 2 ")
        .replace(b"PID: 1", b"PID: 7")
        .replace(b"0xffff888104a2c018", b"0xffff888104aaaaaa")
        .replace(b"kmemleak: 3", b"kmemleak: 8")
        for line in lines(name)
    ]
    (second,) = scan(moved)
    assert (first.fingerprint, first.title) == (second.fingerprint, second.title)


def test_a_clean_boot_is_clean() -> None:
    assert scan(lines("clean-boot")) == ()


def test_reports_that_follow_each_other_are_told_apart() -> None:
    assert [splat.kind for splat in scan(lines("two-reports"))] == ["warn", "oops", "panic"]


def test_without_time_stamps() -> None:
    bare = [line.partition(b"] ")[2] for line in lines("warn")]
    assert [splat.kind for splat in scan(bare)] == ["warn"]


def test_a_kernel_that_warns_for_ever_is_bounded() -> None:
    assert len(scan(lines("warn") * (MAX_SPLATS * 2))) <= MAX_SPLATS + 1


@given(st.lists(st.binary(max_size=200), max_size=50))
def test_never_raises(noise: list[bytes]) -> None:
    scan(noise)


@given(st.data())
def test_never_raises_on_a_cut_report(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(EXPECTED)))
    text = (GOLDEN / f"{name}.log").read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    scan(text[start:end].splitlines())


# --- excuses -------------------------------------------------------------------------------

ENTRY = """
[[splat]]
match = "{match}"
reason = "known upstream, harmless here"
link = "https://example.org/1"
expires = {expires}
"""


def known(path: Path, match: str, expires: str = "2026-12-31") -> Path:
    path.write_text(ENTRY.format(match=match, expires=expires))
    return path


def splat(kind: str = "warn") -> Splat:
    title = "WARNING: CPU: N PID: N at a.c:1 f+ADDR/ADDR"
    return Splat(kind=kind, title=title, fingerprint=f"{kind}:f|g", first_line=1, excerpt="")


@pytest.mark.parametrize(
    ("match", "left"), [("warn:f", 0), ("warn: WARNING.*a.c", 0), ("warn:x", 1)]
)
def test_excuses(tmp_path: Path, match: str, left: int) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", match), TODAY)
    assert len(unexcused([splat()], entries)) == left


def test_a_panic_is_never_excused(tmp_path: Path) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", "panic"), TODAY)
    assert len(unexcused([splat("panic")], entries)) == 1


def test_an_excuse_lasts_to_its_last_day(tmp_path: Path) -> None:
    load_known_splats(known(tmp_path / "k.toml", "warn", "2026-11-22"), TODAY)
    with pytest.raises(UserError, match="expired"):
        load_known_splats(known(tmp_path / "k.toml", "warn", "2026-11-21"), TODAY)


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "[[other]]\n",
        '[[splat]]\nmatch = "warn"\n',
        ENTRY.format(match="(", expires="2026-12-31"),
        ENTRY.format(match="warn", expires='"soon"'),
        ENTRY.format(match="warn", expires="2026-12-31").replace("https", "see"),
        ENTRY.format(match="warn", expires="2026-12-31") + 'extra = "x"\n',
    ],
)
def test_a_malformed_excuse_is_the_users_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.toml").write_text(text)
    with pytest.raises(UserError):
        load_known_splats(tmp_path / "k.toml", TODAY)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        load_known_splats(tmp_path / "none.toml", TODAY)


def test_the_repositorys_own_excuses_are_narrow() -> None:
    entries = load_known_splats(KNOWN_SPLATS)
    excused = {name for name in EXPECTED if not unexcused(scan(lines(name)), entries)}
    assert excused == {"kcsan-virtio"}
