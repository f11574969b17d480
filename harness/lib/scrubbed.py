"""The environment of compilers, make and other tools: no tokens, and nothing that steers a build.

A tree's Makefiles run their author's code. What they do not get, they cannot pass on by mistake.
"""

from __future__ import annotations

import os

#: Variables that a command gets: who and where the user is, how text is written, where programs,
#: libraries and headers are, and what all tools do at a fixed date.
PASSED_ON = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"),
        *("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH"),
        *("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"),
        *("CCC_OVERRIDE_OPTIONS", "SYSROOT", "SOURCE_DATE_EPOCH"),
    }
)
#: Beginnings of such names: the locale, pkg-config, compiler caches and farms, and the compiler's
#: wrapper of NixOS.
PREFIXES = ("LC_", "PKG_CONFIG", "CCACHE_", "DISTCC_", "ICECC_", "NIX_")


def build_environment() -> dict[str, str]:
    """Return the part of this process's environment that a command of a build gets."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PREFIXES)
    }
