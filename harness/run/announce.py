"""What a run will download and do with it, said before the first download."""

from __future__ import annotations

from collections.abc import Iterator

from harness.artefacts.source.series import is_fetched
from harness.artefacts.store import Store
from harness.progress import Progress
from harness.values import (
    DebianArchiveSource,
    DebianSource,
    GitSource,
    KernelProfile,
    LoreSeries,
    Plan,
    Source,
    TarballSource,
    TreeSource,
)


def announce(plan: Plan, store: Store, progress: Progress) -> None:
    """Note what happens with each series of lore that is not in the store yet."""
    for kernel in dict.fromkeys(cell.kernel for cell in plan.cells):
        if isinstance(kernel.series, LoreSeries) and not is_fetched(kernel.series, store):
            cells = [cell.name for cell in plan.cells if cell.kernel == kernel]
            for line in intentions(kernel, kernel.series, cells):
                progress.note(line)


def intentions(kernel: KernelProfile, series: LoreSeries, cells: list[str]) -> Iterator[str]:
    """Yield, in order, what a run does with a series that has to be fetched."""
    yield f"series {series.message_id} is not here yet. This run will"
    yield "  1. fetch its thread from lore.kernel.org with b4, and show what b4 says of signatures"
    yield f"  2. apply the patches to {_named(kernel.source)}"
    yield f"  3. build the kernel {kernel.name} from that, which runs code of the patches here"
    count = f"{len(cells)} guests" if len(cells) > 1 else "a guest"
    yield f"  4. boot {count} and run the programs: {', '.join(cells)}"


def _named(source: Source) -> str:
    match source:
        case DebianSource(package=package):
            return f"Debian's {package}"
        case DebianArchiveSource(package=package, suite=suite):
            return f"Debian's source package {package} of {suite}"
        case TarballSource(url=url):
            return f"the tarball {url}"
        case GitSource(url=url, revision=revision):
            return f"{revision} of {url}"
        case TreeSource(path=path, revision=None):
            return f"a copy of {path}"
        case TreeSource(path=path, revision=revision):
            return f"commit {revision} of {path}"
