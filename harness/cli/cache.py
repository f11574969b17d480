"""``uintr-harness cache``: show and prune the artefact store."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from harness.cli import Command
from harness.cli.show import shown
from harness.lib.stdio import say

if TYPE_CHECKING:
    from harness.artefacts.prune import Kept

_HOURS = {"h": 1, "d": 24, "w": 7 * 24}
#: A hundred years.
_MOST_HOURS = 100 * 365 * 24


class Age(click.ParamType[timedelta]):
    """An age: ``12h``, ``30d``, ``2w``."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read a number with its unit."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([0-9]{1,9})([hdw])", str(value))
        age = int(match[1]) * _HOURS[match[2]] if match else _MOST_HOURS + 1
        if age > _MOST_HOURS:
            self.fail(f"{value!r} is not an age such as 12h, 30d or 2w", param, ctx)
        return timedelta(hours=age)


class Size(click.ParamType[int]):
    """A number of bytes: ``500M``, ``5G``, ``5GiB``."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read a number with its unit."""
        from pydantic import ByteSize, TypeAdapter, ValidationError

        try:
            size = int(TypeAdapter(ByteSize).validate_python(value))
        except (ValidationError, OverflowError):
            size = -1
        if not 0 <= size < 1 << 63:
            self.fail(f"{value!r} is not a size such as 500M, 5G or 5GiB", param, ctx)
        return size


@click.group("cache")
def command() -> None:
    """Show and prune the artefact cache.

    It is in $UINTR_HARNESS_CACHE, or in ~/.cache/uintr-harness.
    """


_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@command.command("list", cls=Command)
@_JSON
def list_command(as_json: bool) -> None:
    """List the contents of the cache, most recently used first."""
    from harness.artefacts.prune import contents
    from harness.artefacts.store import Store
    from harness.report.cache import print_contents
    from harness.report.console import make_console

    with shown() as progress:
        store = Store.open(progress)
        with progress.step("look through the cache"):
            kept = contents(store)
    if as_json:
        _echo({"root": str(store.root), "total": _total(kept), "contents": _plain(kept)})
        return
    print_contents(make_console(), kept, store.root)


@command.command("prune", cls=Command)
@click.option(
    "--older-than", type=Age(), metavar="AGE", help="Remove what was not used for 12h, 30d, 2w."
)
@click.option(
    "--keep-bytes",
    type=Size(),
    metavar="SIZE",
    help="Remove the least recently used until 500M, 5G, 5GiB are left.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@_JSON
def prune_command(
    older_than: timedelta | None, keep_bytes: int | None, dry_run: bool, as_json: bool
) -> None:
    """Remove artefacts and build folders that were not used for long.

    Nothing that a run is using is removed. Fetched source packages of QEMU are kept too: the next
    fetch could bring another version.
    """
    from harness.artefacts.prune import choose, contents, prune
    from harness.artefacts.store import Store
    from harness.report.cache import print_pruned
    from harness.report.console import make_console

    if older_than is None and keep_bytes is None:
        raise click.UsageError("say what to remove: --older-than, --keep-bytes, or both")
    with shown() as progress:
        store = Store.open(progress)
        with progress.step("look through the cache"):
            kept = contents(store)
        chosen = choose(kept, datetime.now(UTC), older_than, keep_bytes)
        removed: list[Kept] = []
        used: list[Kept] = []
        with progress.step("remove") as step:
            for number, (one, gone) in enumerate(
                ((one, True) for one in chosen) if dry_run else prune(store, chosen), 1
            ):
                step.update(one.name or one.kind, done=number, total=len(chosen))
                (removed if gone else used).append(one)
    left = _total(kept) - _total(removed)
    if as_json:
        found = {"freed": _total(removed), "left": left, "dry_run": dry_run}
        _echo({**found, "removed": _plain(removed), "in_use": _plain(used)})
        return
    print_pruned(make_console(), removed, used, left, dry_run=dry_run)


def _total(kept: list[Kept]) -> int:
    return sum(one.size for one in kept)


def _plain(kept: list[Kept]) -> list[dict[str, object]]:
    return [one.model_dump(mode="json") for one in kept]


def _echo(table: dict[str, object]) -> None:
    say(json.dumps({"schema": 1, **table}, indent=2, allow_nan=False))
