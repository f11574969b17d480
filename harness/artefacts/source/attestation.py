"""What b4 says of the signatures of a series.

b4 checks DKIM and patatt signatures of each mail, by the user's policy and keys
(``b4.attestation-policy``). ``b4 am`` prints a line for each result: once for all patches if they
agree, otherwise below each subject. With ``softfail``, its default, a wrong signature is printed,
and the series is written all the same.
"""

from __future__ import annotations

import re

#: A result, as b4 0.14 to 0.16 print it: a mark, in colour or plain, and what was found. A subject
#: cannot look like one: b4 prints it behind its bracket.
_RESULT = re.compile(r"^\s+[✓✗vx] ((?:Signed|BADSIG|No key): \S.*)$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CHECKED = "Checking attestation"
#: Results that are kept, and characters of each.
_MOST, _LONGEST = 10, 200


def read_attestation(output: str) -> str:
    """Return in one line what b4's output says of signatures."""
    plain = _COLOUR.sub("", output)
    if _CHECKED not in plain:
        return "b4 checked no signatures (b4.attestation-policy is off)"
    found = list(dict.fromkeys(line.strip()[:_LONGEST] for line in _RESULT.findall(plain)))
    if not found:
        return "no signatures"
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more
