"""Characters that can't be seen, or that change how others are seen.

They steer terminals, forge lines and turn text around.
"""

from __future__ import annotations

import re
from typing import Final

# Controls; marks that reorder text or break lines (Unicode's Bidi_Control, and separators of lines and paragraphs);
# what has no width (soft hyphen, zero width space, word joiner, invisible operators, byte order mark); halves of
# characters. The joiners U+200C and U+200D are not among them: letters and emoji are made with them.
UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ud800-\udfff]"
)

UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
"""Those among them that JSON can spell and not every database keeps."""
