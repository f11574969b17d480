"""``report.html`` in a real browser: it runs nothing, loads nothing, and fits a phone.

Each check is also made of a page that fails it, because a browser that says nothing proves nothing.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from harness.report.html import html
from harness.results.environment import observe
from harness.results.latency import read_folder
from harness.results.measurements import gather, with_intervals
from harness.results.records import Record
from harness.results.summary import Outcome, fold
from tests.unit.results import make

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
PHONE, DESK = (390, 2400), (1280, 2400)


class Server(HTTPServer):
    """Counts who asks for anything."""

    asked: list[str]


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class's name
            found.asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    found = Server(("127.0.0.1", 0), Handler)
    found.asked = []
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join(10)


@pytest.fixture
def hostile(server: Server) -> str:
    """Return what a guest prints to run in a page, and to call home."""
    home = f"http://127.0.0.1:{server.server_port}"
    return (
        "</pre></title></style><script>document.title='owned'</script>"
        f"<img src='{home}/img' onerror=\"document.title='owned'\">"
        f"<link rel=stylesheet href={home}/css><iframe src={home}/frame></iframe>"
        "<svg onload=\"document.title='owned'\">{{ 7 * 7 }}"
    )


@pytest.fixture
def outcome(tmp_path: Path, hostile: str) -> Outcome:
    records: list[Record] = []
    random = np.random.default_rng(1)
    for number, (mechanism, factor) in enumerate(
        {"uintr": 1, "eventfd": 2.5, "signalfd": 0.4}.items()
    ):
        for mode in ("ping-pong", "one-way-blocked-fair-same-cpu-64-senders"):
            folder = tmp_path / "samples" / f"{number}-{mode}"
            folder.mkdir(parents=True)
            values = (random.lognormal(8, 0.3, 2000) * factor).astype(int).tolist()
            data = struct.pack(f"<{len(values)}Q", *values)
            (folder / f"{mechanism}.{mode}.ns.u64").write_bytes(data)
            records += read_folder(
                folder, cell=make.CELL, program="latency/x", run=tmp_path
            ).records
    for smp in (1, 2, 4, 8):
        name = make.cell(smp).name
        records.append(make.boot(cell=name, smp=smp, phases={"kernel": 1.0, "init": 3.0}))
        records.append(make.case("a", cell=name))
    records += [
        make.case(hostile, "fail", message=hostile, diagnostics=f"{hostile}\n" * 9),
        make.case("b", "fail", program="api/x", message="word" * 200),
        make.splat(title=hostile, excerpt=hostile, program=hostile),
        make.lost(message=hostile, console_tail=f"{hostile}\n{'long ' * 100}"),
    ]
    found = fold(records)
    summary = with_intervals(found.summary, gather(found.takes))
    return found.model_copy(update={"summary": summary})


def browse(page: Path, size: tuple[int, int] = DESK, *more: str) -> tuple[str, str]:
    """Open a page; return what became of it as HTML, and what the browser's console said."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
            f"--user-data-dir={page.parent / 'profile'}",
            f"--window-size={size[0]},{size[1]}",
            *(more or ["--dump-dom"]),
            page.as_uri(),
        ],
        capture_output=True,
        timeout=120,
    )
    said = done.stderr.decode(errors="replace")
    console = "\n".join(line for line in said.splitlines() if ":CONSOLE" in line)
    return done.stdout.decode(errors="replace"), console


def title(dom: str) -> str:
    found = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    return found[1] if found else ""


def test_what_a_guest_printed_neither_runs_nor_loads(
    outcome: Outcome, tmp_path: Path, hostile: str, server: Server
) -> None:
    page = tmp_path / "report.html"
    page.write_text(html(outcome, tmp_path, observe({})))
    dom, console = browse(page)
    assert title(dom).startswith("Failed: ")
    assert "owned" not in title(dom)
    assert console == ""
    assert server.asked == []
    assert "{{ 7 * 7 }}" in dom
    # The same text on a page that does not care: the browser and this test would have seen it.
    careless = tmp_path / "careless.html"
    careless.write_text(f"<title>t</title><pre>{hostile}</pre>")
    dom, _ = browse(careless)
    assert title(dom) == "owned"
    assert "/img" in server.asked


def test_even_unescaped_text_could_not_run(outcome: Outcome, tmp_path: Path, hostile: str) -> None:
    """The page's policy is a second fence."""
    page = tmp_path / "report.html"
    page.write_text(html(outcome, tmp_path).replace("<main>", f"<main>{hostile}"))
    dom, console = browse(page)
    assert title(dom).startswith("Failed: ")
    assert "Content Security Policy" in console


def measured(text: str, page: Path, size: tuple[int, int]) -> dict[str, int]:
    """Return widths of a page, told by a script that the page itself would not let run."""
    script = (
        "<script>addEventListener('load', () => { const w = document.documentElement; "
        "document.title = [w.scrollWidth, innerWidth, document.querySelectorAll('svg').length,"
        " getComputedStyle(document.body).backgroundColor == 'rgb(255, 255, 255)' ? 1 : 0].join()"
        "})</script>"
    )
    text = re.sub(r"<meta http-equiv[^>]*>", "", text)
    page.write_text(text.replace("</body>", f"{script}</body>"))
    dom, _ = browse(page, size)
    names = ("page", "window", "drawings", "light")
    return dict(zip(names, map(int, title(dom).split(",")), strict=True))


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_the_page_is_as_wide_as_its_window(
    outcome: Outcome, tmp_path: Path, size: tuple[int, int]
) -> None:
    text = html(outcome, tmp_path, observe({}))
    found = measured(text, tmp_path / "report.html", size)
    assert found["page"] <= found["window"]
    assert found["drawings"] > 10
    assert found["light"] == 1
    # Without its places for wide tables it would not be.
    wide = measured(text.replace("overflow-x: auto", ""), tmp_path / "wide.html", PHONE)
    assert wide["page"] > wide["window"]


def brightness(picture: Path) -> int:
    """Return how bright a PNG's first pixel is, from 0 to 255."""
    import zlib

    data = picture.read_bytes()
    place, packed = 8, b""
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += 12 + length
    # The first pixel of the first row is the same under each of PNG's filters.
    return sum(zlib.decompress(packed)[1:4]) // 3


def test_it_is_dark_for_who_wants_that(outcome: Outcome, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(html(outcome, tmp_path))
    shots = {}
    for scheme, number in (("dark", 0), ("light", 1)):
        picture = tmp_path / f"{scheme}.png"
        preferred = f"--blink-settings=preferredColorScheme={number}"
        browse(page, PHONE, f"--screenshot={picture}", preferred)
        shots[scheme] = brightness(picture)
    assert shots["dark"] < 60
    assert shots["light"] > 200
