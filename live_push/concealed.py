"""Two ways to hold a secret in memory without showing it.

Tracebacks with local variables, debuggers and error reporters show a value by its ``repr``, also inside lists and
dictionaries; logs and pages by its ``str``.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from .exceptions import SecretMisuse

MASK: Final = "***"


class Masked(str):
    """A secret on its short way from where it is decrypted to where it is sent: a text whose ``repr`` is ``***``.

    As soon as it is joined, formatted or encoded, the result is ordinary text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SecretMisuse("A secret can't be pickled: its text would leave the process.")

    def __copy__(self) -> Masked:
        return self

    def __deepcopy__(self, memo: object) -> Masked:
        return self


class Secret:
    """A secret column's value, which neither ``repr`` nor ``str`` shows.

    Either fresh (assigned, not yet stored: ``text`` is set) or sealed (as stored: ``token``, the ciphertext, is set).
    Unchangeable; but it remembers what it was decrypted to, for as long as its row is in memory, because the secrets of
    an endpoint are wanted for each of its requests.
    """

    __slots__ = ("opened", "text", "token")
    text: Masked | None
    token: str | None
    opened: tuple[list[str], Masked] | None

    def __init__(self, *, text: str | None = None, token: str | None = None) -> None:
        object.__setattr__(self, "text", None if text is None else Masked(text))
        object.__setattr__(self, "token", token)
        object.__setattr__(self, "opened", None)

    def remember(self, opened: tuple[list[str], Masked]) -> tuple[list[str], Masked]:
        """Keep what decrypting gave, and return it: the place that the text is bound to, and the text."""
        object.__setattr__(self, "opened", opened)
        return opened

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise SecretMisuse("A secret is not changed: assign a new one.")

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.text, self.token) == (other.text, other.token)

    def __hash__(self) -> int:
        return hash((self.text, self.token))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.token is None:
            raise SecretMisuse("A secret that is not stored yet can't be pickled: its text would leave the process.")
        return _sealed, (self.token,)


def _sealed(token: str) -> Secret:
    return Secret(token=token)
