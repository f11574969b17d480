"""Runs for who starts pytest by hand and says which guest: planned and built before the tests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pytest
from pydantic import ValidationError

from harness.artefacts.store import Store
from harness.errors import UserError
from harness.report.progress import RichProgress
from harness.request.request import Request
from harness.results.folder import RunFolder, make_run_folder
from harness.run.prepare import choose_machine, prepare

#: Option → field of :class:`Request`; those in the first group take several values.
_LISTS = {"kernel": "kernels", "cpu": "cpus", "smp": "smp", "cc": "compilers"}
_VALUES = {"accel": "accel", "qemu": "qemu"}


def request_from(given: Mapping[str, str]) -> Request:
    """Read the plugin's cell options, by name without ``--uintr-``.

    :raise UserError: a value is none that the option takes.
    """
    fields: dict[str, object] = {
        _LISTS[name]: tuple(value.split(",")) for name, value in given.items() if name in _LISTS
    }
    fields |= {_VALUES[name]: value for name, value in given.items() if name in _VALUES}
    try:
        return Request.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        names = {field: name for name, field in {**_LISTS, **_VALUES}.items()}
        raise UserError(
            first["msg"], where=f"--uintr-{names.get(str(first['loc'][0]), first['loc'][0])}"
        ) from error


def prepare_by_hand(config: pytest.Config, given: Mapping[str, str]) -> RunFolder:
    """Plan and build, with progress on the terminal that pytest has captured already.

    :raise HarnessError: as :func:`harness.run.prepare.prepare`.
    """
    request = request_from(given)
    capture = config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as stack:
        if capture is not None:
            stack.enter_context(capture.global_and_fixture_disabled())
        progress = stack.enter_context(RichProgress())
        plan = request.plan()
        store = Store.open(progress)
        machine = choose_machine(plan, request.qemu, store, progress)
        prepared = prepare(
            plan,
            machine,
            store,
            progress,
            options=request.cell_options(plan),
            keep_going=False,
        )
        folder = make_run_folder(None)
        folder.write_plan(plan)
        folder.write_artefacts(prepared.artefacts)
    return folder
