"""Who reads much asks for the memory first: what is asked, and who always says yes."""

from typing import Protocol


class Hold(Protocol):
    """Bytes of memory that are spoken for, as long as this lives."""

    def grow(self, count: int) -> None:
        """Speak for so many bytes more. Raises Unavailable or TooLarge if there is no room."""

    def shrink(self, count: int) -> None:
        """Give so many bytes back."""


class Uncounted:
    """For tools and tests, which count nothing."""

    def grow(self, count: int) -> None:
        """Say yes."""

    def shrink(self, count: int) -> None:
        """Say nothing."""
