"""The image's parts that need neither apt nor a network."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from harness import paths
from harness.artefacts import image
from harness.errors import BuildError
from harness.lib import cpio

SHOW = """\
Package: dropbear-bin
Version: 2022.83-1
Depends: libc6 (>= 2.34), libtomcrypt1 (>= 1.18.2) | libother, zlib1g:amd64 (>= 1:1.1.4)
SHA256: aa
Description: x
 more

Package: busybox-static
Version: 1:1.35
SHA256: bb

Package: busybox-static
Version: 9
SHA256: cc
"""


def test_packages_as_apt_shows_them() -> None:
    dropbear, busybox = image.parse_apt_show(SHOW)
    assert dropbear.depends == ("libc6", "libtomcrypt1", "zlib1g")
    assert (busybox.name, busybox.version, busybox.depends) == ("busybox-static", "1:1.35", ())
    assert image.apt_download_argv([busybox])[-1] == "busybox-static=1:1.35"


def test_needed_libraries_of_a_real_binary() -> None:
    names, loader = image.needed_libraries(Path("/bin/sh").resolve().read_bytes())
    assert "libc.so.6" in names
    assert "ld-linux" in loader


def test_a_package_without_its_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="busybox-static"):
        list(image.image_nodes(tmp_path, {}))


def test_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    nodes = [
        cpio.file("a/b/file", b"content", 0o750),
        cpio.link("a/link", "b/file"),
        cpio.folder("tmp", 0o1777),
    ]
    data = cpio.pack(nodes)
    assert len(data) % 512 == 0
    if subprocess.run(["sh", "-c", "command -v cpio"], capture_output=True).returncode:
        pytest.skip("no cpio on this host")
    subprocess.run(["cpio", "-id", "--quiet"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "a/b/file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "a/b/file").stat().st_mode) == 0o750
    assert (tmp_path / "a/link").readlink() == Path("b/file")
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o1777


def test_archive_is_the_same_whatever_the_order() -> None:
    nodes = [cpio.file("b", b"1"), cpio.file("a/c", b"2"), cpio.character_device("dev/null", 1, 3)]
    assert cpio.pack(nodes) == cpio.pack(reversed(nodes))


def test_the_guests_init_is_a_script() -> None:
    subprocess.run(["sh", "-n", paths.IMAGES / "init"], check=True)
