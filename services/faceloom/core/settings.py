"""Settings from environment variables. A value that cannot be is one line that names the variable."""

from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from faceloom.core.errors import UsageError

_PREFIX = "FACELOOM_"


class Settings(BaseSettings):
    """A field `port_offset` is read from `FACELOOM_PORT_OFFSET`, unless it is given.

    Raises:
        UsageError: A value cannot be; names its variable.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX)

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            wrong = error.errors()[0]
            field = str(wrong["loc"][0])
            name = field if field in given else f"{_PREFIX}{field.upper()}"
            why = wrong["msg"].removeprefix("Value error, ")
            raise UsageError(f"{name}={wrong['input']}: {_plain(why)}") from None


def _plain(why: str) -> str:
    """`Input should be a valid integer, unable to parse ...` as `give a valid integer`."""
    return why.partition(", unable to parse")[0].replace("Input should be", "give", 1)
