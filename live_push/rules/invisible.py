"""Characters that are invisible or change the display of other characters.

In names, ids and answers they could control a terminal, imitate lines of a log, or reverse the order of text.
"""

from __future__ import annotations

import re
from typing import Final

# Control characters, Unicode's Bidi_Control, line and paragraph separators, characters without width (soft hyphen, zero
# width space, word joiner, invisible operators, byte order mark), and lone surrogates. The joiners U+200C and U+200D
# are not in the list, because some scripts and emoji need them.
INVISIBLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ud800-\udfff]"
)

UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
"""The invisible characters that JSON allows but some databases can't store: NUL and lone surrogates."""
