"""What the service wants of whoever makes its builds."""

from collections.abc import Callable
from typing import Protocol

from faceloom.builds.progress import BuildProgress
from faceloom.builds.run import Result
from faceloom.builds.service.records import BuildOrder


class Executor(Protocol):
    """Makes builds, several at once."""

    async def run(self, order: BuildOrder, on_progress: Callable[[BuildProgress], None]) -> Result:
        """Takes a build up wherever it stands, and returns when its dataset is complete.

        Being cancelled means that the service stops: the next one calls again. What goes on in other
        processes may go on until then.

        Raises:
            FaceloomError: The build failed. Nothing of it goes on.
        """
        ...

    async def withdraw(self, order: BuildOrder) -> None:
        """Ends what may go on for a build in other processes. What is committed stays.

        Raises:
            FaceloomError: It could not be ended.
        """
        ...
