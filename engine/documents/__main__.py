"""`python -m engine.documents DIR`: write the manual pages and the completion below DIR."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from engine.documents import documents


def write(prefix: Path) -> None:
    """Write every file below a prefix; its directories are made. Raises UndocumentedError, OSError."""
    for name, text in documents(date()).items():
        place = prefix / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def date() -> str:
    """The day of SOURCE_DATE_EPOCH, so that a build can be repeated (reproducible-builds.org); else today."""
    return time.strftime("%Y-%m-%d", time.gmtime(float(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m engine.documents DIR")
    write(Path(sys.argv[1]))
