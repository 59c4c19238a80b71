"""Who reads much asks for the memory first: what is asked, and who always says yes."""

from typing import Protocol

from service.errors import OVERLOADED, Unavailable


class Hold(Protocol):
    """Bytes of memory that are spoken for, as long as this lives."""

    def grow(self, count: int) -> None:
        """Speak for so many bytes more. Raises Unavailable or TooLarge if there is no room."""

    def shrink(self, count: int) -> None:
        """Give so many bytes back."""

    def refusal(self) -> Unavailable:
        """Return, and count, what to raise where there is no room."""
        ...


class Uncounted:
    """For tools and tests, which count nothing."""

    def grow(self, count: int) -> None:
        """Say yes."""

    def shrink(self, count: int) -> None:
        """Say nothing."""

    def refusal(self) -> Unavailable:
        """Return what to raise."""
        return Unavailable("There is no room for this now.", code=OVERLOADED)
