"""The wheel's scripts and styles go without comments and indentation, the scripts with short names for their locals; the
repository and the sdist keep theirs as they were written. Nobody needs Node; tests/wheel and tests/browser run on what ships.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import minify
import rcssmin
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["STRIP", "StrippedStaticFiles", "shorten"]

STATIC: Final = "notifications/static"
TAKES_APART: Final = re.compile(r"\bconst(?=\s*[\[{])")


def shorten(script: str) -> str:
    """Of neighbouring `const`s tdewolff-minify (2.24) makes one, in which what takes a value apart comes first, before the
    constants that it may need. As a `let` it has no neighbour to be joined with.
    """
    return str(minify.string("application/javascript", TAKES_APART.sub("let", script)))


STRIP: Final[Mapping[str, Callable[[str], str]]] = {".css": rcssmin.cssmin, ".js": shorten}


class StrippedStaticFiles(BuildHookInterface[Any]):
    folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # it points at the repository
            return
        self.folder = Path(mkdtemp(prefix="stripped-"))
        for source in sorted(Path(self.root, STATIC).rglob("*")):
            strip = STRIP.get(source.suffix)
            if strip is None:
                continue
            name = source.relative_to(self.root)
            stripped = self.folder / name
            stripped.parent.mkdir(parents=True, exist_ok=True)
            stripped.write_text(strip(source.read_text("utf-8")), "utf-8")
            build_data["force_include"][str(stripped)] = name.as_posix()  # a file of this name replaces the one that is there

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder)
