"""Types for secrets in memory that do not show their content.

Tracebacks with local variables, debuggers and error reporters show the ``repr`` of a value, also inside lists and
dictionaries. Logs and pages show its ``str``.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, Self

from live_push.exceptions import SecretMisuse

MASKED_REPR: Final = "***"
"""The ``repr`` of a secret."""


class _HiddenContent:
    """Mixin: the ``repr`` is ``***``, and pickling raises an error."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASKED_REPR

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SecretMisuse("A secret can't be pickled: its text would leave the process.")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Masked(_HiddenContent, str):
    """A text whose ``repr`` is ``***``, for a secret between its decryption and the request.

    The result of joining, formatting or encoding it is ordinary text, which is not masked.
    """

    __slots__ = ()


class MaskedBytes(_HiddenContent, bytes):
    """Bytes whose ``repr`` and ``str`` are ``***``, for the step between a secret text and its ciphertext."""

    __slots__ = ()

    def __str__(self) -> str:
        # bytes.__str__() would show the content.
        return MASKED_REPR


class Secret:
    """The value of an encrypted column. Neither ``repr`` nor ``str`` shows the secret.

    The value is either new or stored. A new value was assigned and is not saved yet; it has a ``text``. A stored value
    has a ``token``, the ciphertext. The value can't be changed. It keeps the result of its decryption in ``opened``,
    because the secrets of an endpoint are needed for every request.
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
        """Keep the result of the decryption, and return it: the place to which the secret is bound, and its text."""
        object.__setattr__(self, "opened", opened)
        return opened

    def forget(self) -> None:
        """Drop the result of the decryption."""
        object.__setattr__(self, "opened", None)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise SecretMisuse("A secret can't be changed; assign a new one.")

    def __repr__(self) -> str:
        return MASKED_REPR

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
