"""Runs that start from pytest's own command line, with options that select the cells."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack

import pytest
from pydantic import ValidationError

from harness.errors import UserError
from harness.lib.documents import reason
from harness.report.progress import RichProgress
from harness.request.request import Request
from harness.results.folder import RunFolder, make_run_folder
from harness.run.engine import begin_run

#: Option → field of :class:`Request`. The options in ``_LISTS`` take several values.
_LISTS = {"kernel": "kernels", "cpu": "cpus", "smp": "smp", "cc": "compilers"}
_VALUES = {"accel": "accel", "qemu": "qemu"}


def request_from(given: Mapping[str, str]) -> Request:
    """Return the request for the plugin's cell options, named without ``--uintr-``.

    :raise UserError: an option does not accept its value.
    """
    fields: dict[str, object] = {
        _LISTS[name]: tuple(value.split(",")) for name, value in given.items() if name in _LISTS
    }
    fields |= {_VALUES[name]: value for name, value in given.items() if name in _VALUES}
    try:
        return Request.model_validate(fields)
    except ValidationError as error:
        why, field = reason(error)
        names = {field: name for name, field in {**_LISTS, **_VALUES}.items()}
        first = field.partition(".")[0]
        raise UserError(
            f"this is no value of the option: {why}",
            where=f"--uintr-{names.get(first, first)}",
            hint="pytest --help lists the options",
        ) from error


def prepare_standalone(config: pytest.Config, given: Mapping[str, str]) -> RunFolder:
    """Plan and build a run, and return its folder. The caller has to end the run.

    Progress is shown on the terminal although pytest captures output.

    :raise HarnessError: as :func:`harness.run.engine.begin_run`.
    """
    request = request_from(given)
    capture = config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as stack:
        if capture is not None:
            stack.enter_context(capture.global_and_fixture_disabled())
        progress = stack.enter_context(RichProgress())
        return begin_run(request, progress, lambda: make_run_folder(None), sys.argv).folder
