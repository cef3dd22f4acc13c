"""The wheel's scripts and styles go without comments and indentation; the repository and the sdist keep theirs.

Stripped, not compiled: nobody needs Node, and tests/wheel and tests/browser run on what ships. Minifiers that shorten names save
another seventh, but the one that there is for Python moved a declaration above what it uses (tdewolff-minify 2.24).
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import rcssmin
import rjsmin
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["STRIP", "StrippedStaticFiles"]

STATIC: Final = "notifications/static"
STRIP: Final[Mapping[str, Callable[[str], str]]] = {".css": rcssmin.cssmin, ".js": rjsmin.jsmin}


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
