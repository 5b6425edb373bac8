"""config.properties, read back by the rules that java.util.Properties documents."""

import re
from pathlib import Path

import pytest
from tests.fakes import fake_service

from faceloom.runtime.torchserve.config import Ports, render_properties

LETTERS = ["jürgen", "日本", "😀"]
SIGNS = ["a b (c)", "a=b:c", "#!x", "back\\slash\\u0041", " lead", "end ", "tab\tnew\nline"]


def read(content: bytes) -> dict[str, str]:
    """Latin-1; natural lines without leading blanks and comments; key ends at the first = or : or blank."""
    found = {}
    for line in content.decode("latin-1").split("\n"):
        line = line.lstrip(" \t\f")
        if not line or line[0] in "#!":
            continue
        key, value = re.fullmatch(r"((?:\\.|[^=: \t])*)[ \t\f]*[=:]?[ \t\f]*(.*)", line).groups()  # type: ignore[union-attr]
        found[unescaped(key)] = unescaped(value)
    return found


def unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(match[2], match[2])

    units = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, text)
    return units.encode("utf-16", "surrogatepass").decode("utf-16")


@pytest.mark.parametrize("name", LETTERS + SIGNS)
def test_java_reads_the_path_that_was_meant(name: str) -> None:
    for store in (Path("/home", name, "mar"), Path("/home", name)):
        text = render_properties([fake_service()], store, Ports())

        properties = read(text.encode("ascii"))
        assert properties["model_store"] == str(store)
        assert properties["load_models"] == "fake.mar"
        assert properties["inference_address"] == "http://127.0.0.1:8080"
