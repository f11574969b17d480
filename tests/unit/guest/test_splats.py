"""Golden console logs, each with its own expectation, and excuses."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths
from harness.guest.limits import MATCHED
from harness.guest.verdict import splat_report, splat_rules, splats
from harness.guest.verdict.splat_rules import RULES
from harness.guest.verdict.splats import scan
from harness.guest.verdict.storm import MAX_SPLATS
from harness.lib.text import clean_line
from tools.splats import frames_of

from .golden_logs import GOLDEN, LOGS, REPORTS, SINGLE, differences, lines, texts


@pytest.mark.parametrize("name", LOGS)
def test_golden(name: str) -> None:
    assert LOGS[name].expected is not None, "a golden log begins with what is expected"
    assert differences(name) == []


def test_a_title_has_no_control_characters() -> None:
    (splat,) = scan([b"BUG: KA\x13AN: use-after-free in f\x1b[2J+0x1/0x2\xe2\x80\xae"])
    assert splat.title == clean_line(splat.title)
    assert "\\x13" in splat.title


def test_the_corpus_is_large_and_has_benign_logs() -> None:
    # What this bench provoked in kernels, not what is written after a kernel's source.
    made = [log for name, log in LOGS.items() if name.startswith(("provoked-", "checked-"))]
    assert sum(len(log.expected or ()) for log in made) >= 150
    assert sum(not log.expected for log in LOGS.values()) >= 10


def test_each_rule_is_needed_by_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the rules out one by one: some log has to be read wrongly each time."""
    unnoticed = []
    for rule in RULES:
        concerned = [name for name, log in LOGS.items() if any(map(rule.match, texts(log)))]
        for name in ("RULES", "_WITHOUT_KEY"):
            some = tuple(other for other in getattr(splats, name) if other is not rule)
            monkeypatch.setattr(splats, name, some)
        if not any(differences(name) for name in concerned):
            unnoticed.append((rule.kind, rule.key))
        monkeypatch.undo()
    assert unnoticed == []


def test_a_report_has_its_place_and_its_text() -> None:
    for name in SINGLE:
        (splat,) = scan(lines(name))
        first = lines(name)[splat.first_line - 1]
        assert splat.excerpt.splitlines()[0].encode() == first, name


def test_the_same_fault_has_the_same_fingerprint() -> None:
    moves = (
        (b"12.345678", b"99.000001"),
        (b"CPU: 0", b"CPU: 3"),
        (b"CPU: 1 ", b"CPU: 2 "),
        (b"PID: 1", b"PID: 7"),
        (b"0xffff888104a2c018", b"0xffff888104aaaaaa"),
        (b"kmemleak: 3", b"kmemleak: 8"),
    )
    for name in SINGLE:
        moved = lines(name)
        for old, new in moves:
            moved = [line.replace(old, new) for line in moved]
        (first,), (second,) = scan(lines(name)), scan(moved)
        assert (first.fingerprint, first.title) == (second.fingerprint, second.title), name


def with_an_end(name: str) -> bool:
    """Tell whether a log holds a report that must have a call trace or a last line."""
    kind = (LOGS[name].expected or ())[0].kind
    whole = not name.startswith(("dropped", "cut"))
    framed = any(splat_report._FRAME.match(line) for line in texts(LOGS[name]))
    return whole and framed and kind in {"warn", "kasan", "lockdep", "oops", "kfence"}


def test_a_report_without_its_frames_is_cut() -> None:
    for name in filter(with_an_end, SINGLE):
        frames = [i for i, line in enumerate(texts(LOGS[name])) if splat_report._FRAME.match(line)]
        (cut, *_) = scan(lines(name)[: frames[0]])
        assert cut.corrupted, name


def test_reports_of_two_cpus_stay_apart_by_their_caller() -> None:
    one = [line.replace(b"[   T88]", b"[   T1]") for line in lines("warn-6.19")]
    two = [
        line.replace(b"[   T88]", b"[   T2]").replace(b"uintr_exit", b"uintr_other")
        for line in lines("warn-6.19")
    ]
    alone = (*scan(one), *scan(two))
    mixed = scan([line for pair in zip(one, two, strict=True) for line in pair])
    assert [(s.title, s.fingerprint, s.excerpt, s.corrupted) for s in mixed] == [
        (s.title, s.fingerprint, s.excerpt, s.corrupted) for s in alone
    ]


def test_contexts_are_bounded() -> None:
    forged = [b"[    1.000000][ T%d] WARNING: bad contention detected!" % i for i in range(5000)]
    scanner = splats.Scanner()
    for line in forged:
        scanner.feed(line)
    assert len(scanner._open) <= splats.MAX_OPEN


@pytest.mark.parametrize(
    "filler", [b"a", b" at ", b"): ", b"lock ", b"0000 [#", b"word: ", b"at a:1"]
)
def test_rules_take_no_more_than_their_share_of_time(filler: bytes) -> None:
    """A quadratic expression would take minutes for lines of this length."""
    begun = time.process_time()
    for rule in RULES:
        for line in (rule.key + filler * 20000, filler * 20000 + rule.key):
            rule.match(line[:60000] + line[-100:])
            rule.search(line[:60000] + line[-100:])
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("place", [0, 300, 600, 60_000])
def test_no_rule_sees_more_than_a_part_of_a_line(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are made of each rule's key, repeated or far behind others, with stamps and without."""
    longest = 0

    def first_line(line: bytes, others_stamped: bool | None) -> None:
        nonlocal longest
        longest = max(longest, len(line))

    monkeypatch.setattr(splats, "_first_line", first_line)
    scanner = splats.Scanner()
    for rule in RULES:
        for stamp in (b"", b"[    1.000000] "):
            scanner.feed(stamp + b"x" * place + (rule.key or b"key") * 200)
            scanner.feed(b"x" * place + stamp + (rule.key or b"key") * 200)
    assert 0 < longest <= MATCHED


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
    name = data.draw(st.sampled_from(sorted(LOGS)))
    text = (GOLDEN / f"{name}.log").read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    scan(text[start:end].splitlines())


# --- which function a title names ----------------------------------------------------------------

#: Names that begin like those of functions that report, and that no report may skip. They are of
#: Linux 6.12, outside of the allocators, the sanitizers and the lock checks.
ORDINARY = """
alloc_anon_inode alloc_desc alloc_etherdev_mqs alloc_fdtable alloc_inode alloc_netdev_mqs alloc_pid
alloc_pipe_info alloc_skb_with_frags alloc_super alloc_tty_struct alloc_uid alloc_vfsmnt
alloc_workqueue check_brk_limits check_conflicting_open check_cpu_itimer check_flush_dependency
check_kill_permission check_null_seg_clears_base check_preempt_wakeup_fair check_tsc_sync_target
check_tty_count check_vma_flags copy_clone_args_from_user copy_creds copy_fpstate_to_sigframe
copy_fs_struct copy_mount_options copy_namespaces copy_page_range copy_process copy_siginfo
copy_splice_read copy_strings copy_thread copy_tree copy_vma debug_stats_open die_cpus_read
free_anon_bdev free_bprm free_desc free_event free_fdtable_rcu free_fib_info free_fs_struct
free_inode_nonrcu free_ioctx free_irq free_mnt_ns free_moved_vector free_netdev free_nsproxy
free_percpu_irq free_pgd_range free_pgtables free_pid free_pipe_info free_resource free_task
free_uid free_workqueue_attrs handle_bad_irq handle_bus_lock handle_cfi_failure handle_edge_irq
handle_fasteoi_irq handle_futex_death handle_irq_desc handle_irq_event_percpu handle_mm_fault
handle_pmi_common handle_sysrq kfree_link kfree_skb_list_reason kfree_skb_partial kfree_skbmem
kmalloc_reserve kobject_uevent_env list_lru_add list_lru_del list_sort lock_for_kill
lock_get_status lock_mm_and_find_vma lock_mnt_tree lock_rename lock_timer_base lock_two_directories
lock_vector_lock lock_vma_under_rcu mark_mounts_for_expiry mark_oom_victim mark_page_accessed
oops_count_show print_cfs_rq print_cpu_info print_event_fields print_hex_dump print_mp_irq_info
print_trace_line refcount_stats scheduler_tick slab_build_skb stream_open strict_sas_size
strict_work_handler string sysfs_emit verify_dirent_name verify_patch __d_free __free_event
__io_uring_free __kfifo_free __kfree_skb __sk_free __sock_wfree
""".split()  # noqa: SIM905  # one name a line is too long to read


@pytest.mark.parametrize("name", ORDINARY)
def test_no_rule_skips_the_frame_of_an_ordinary_function(name: str) -> None:
    skips = [splat_rules.GENERIC, *(rule.skip for rule in RULES if rule.skip)]
    assert [skip.pattern for skip in skips if skip.match(name.encode())] == []


#: complain.c has a function for each report that it provokes, and helpers of theirs.
COMPLAIN = paths.ROOT / "tools" / "complaints" / "complain.c"
OWN = set(re.findall(r"^(?:WAY|static) [\w ]*?\**(\w+)\(", COMPLAIN.read_text(), re.MULTILINE))
PROVOKED = [name for name in REPORTS if name.startswith("provoked-") and "-lkdtm-" not in name]


def test_complain_has_functions() -> None:
    assert {"oob_read", "burn_irqs_off", "warn_here", "complain"} <= OWN
    assert len(PROVOKED) > 40


@pytest.mark.parametrize("name", PROVOKED)
def test_a_provoked_report_names_the_function_that_provoked_it(name: str) -> None:
    """The expected frames in the heads could be copied from the output. These cannot."""
    trace = b"\n".join(lines(name))
    called = {found.decode() for found in re.findall(rb"\]  (?:\[<\w+>\] )?(\w+)\+0x", trace)}
    called |= {found.decode() for found in re.findall(rb"RIP: 0010:(\w+)\+0x", trace)}
    first, *_ = scan(lines(name))  # what follows may be found by a function that it called
    if (frames := frames_of(first)) and called & (OWN - {"complain"}):
        assert frames[0] in OWN - {"complain"}
