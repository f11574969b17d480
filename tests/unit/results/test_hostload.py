from __future__ import annotations

import os
from pathlib import Path

from harness.results.hostload import Watch
from harness.results.latency import busiest
from harness.results.records import HostLoad


def write(proc: Path, ticks: str, threads: dict[str, str]) -> None:
    (proc / "stat").write_text(f"cpu  {ticks}\ncpu0 1 2 3\n")
    for thread, times in threads.items():
        folder = proc / "7" / "task" / thread
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "schedstat").write_text(times + "\n")


def test_waiting_and_steal_are_of_the_time_between(tmp_path: Path) -> None:
    write(tmp_path, "100 0 0 900 0 0 0 50 0 0", {"7": "1000 5000 3", "8": "0 0 0"})
    watch = Watch(7, tmp_path)
    # One thread ran 600 and waited 100, the other is new and ran 200 and waited 100.
    write(tmp_path, "180 0 0 990 0 0 0 80 0 0", {"7": "1600 5100 9", "9": "200 100 1"})
    done = watch.done()
    assert done.waited_percent == 20.0
    assert done.steal_percent == 15.0
    assert done.seconds >= 0


def test_a_host_without_these_files_says_nothing(tmp_path: Path) -> None:
    done = Watch(7, tmp_path).done()
    assert done.waited_percent is None
    assert done.steal_percent is None
    (tmp_path / "7" / "task" / "7").mkdir(parents=True)
    (tmp_path / "7" / "task" / "7" / "schedstat").write_text("no numbers")
    assert Watch(7, tmp_path).done().waited_percent is None
    assert Watch(None, tmp_path).done().waited_percent is None


def test_it_reads_this_host() -> None:
    watch = Watch(os.getpid())
    sum(range(200_000))
    done = watch.done()
    assert done.load >= 0
    assert done.waited_percent is None or 0 <= done.waited_percent <= 100


def test_the_busiest_of_several_stands_for_them() -> None:
    calm = HostLoad(seconds=1, load=9, waited_percent=1, steal_percent=0)
    busy = HostLoad(seconds=1, load=1, waited_percent=30)
    assert busiest([calm, None, busy]) == busy
    assert busiest([None]) is None
