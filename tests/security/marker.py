"""Secrets that can be recognised anywhere, and the search for them."""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict

# Letters and digits alone, so that no escaping changes them.
PASSWORD = "MarkerPassword7f3a9c0e"
API_KEY = "MarkerApiKey51d2e8b4"
SITE_KEY = "MarkerSiteKey90b1c2d3withsixteenandmore"
SIGNING_KEY = b"MarkerSigningKey4e5f6a7b8c9d0e1f"
SIGNING_SECRET = "whsec_" + b64encode(SIGNING_KEY).decode()

MARKERS = {
    "password": PASSWORD.encode(),
    "API key": API_KEY.encode(),
    "site's key": SITE_KEY.encode(),
    "signing secret": SIGNING_KEY,
}

USERNAME = "harmless"


def looks(marker: bytes) -> set[bytes]:
    """What a secret looks like: plain, in hexadecimal, and at any place in base64."""
    # Of each base64 only the middle, which does not depend on what stands before and behind.
    anywhere = {b64encode(b"?" * before + marker + b"??")[4:-4] for before in range(3)}
    return {marker, marker.hex().encode(), *anywhere}


class Places:
    """What was found where: texts and bytes, by the kind of place."""

    def __init__(self) -> None:
        self._contents: dict[str, list[bytes]] = defaultdict(list)

    def add(self, place: str, content: str | bytes) -> None:
        """Something that a reader of this place could see."""
        data = content.encode(errors="surrogatepass") if isinstance(content, str) else content
        self._contents[place].append(data)

    @property
    def names(self) -> set[str]:
        """The places that anything was found at."""
        return set(self._contents)

    def leaks(self) -> set[tuple[str, str]]:
        """Place and secret, wherever one shows in any look."""
        # A text often comes many times, as a frame of many reports does.
        looked_for = {name: looks(marker) for name, marker in MARKERS.items()}
        return {
            (place, name)
            for place, contents in self._contents.items()
            for name, found in looked_for.items()
            if any(look in content for content in set(contents) for look in found)
        }
