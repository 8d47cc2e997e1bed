"""Where a part writes what it found: a file with a line for each number, so that nothing found is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Cell = float | int | str
NOTE = "note"  # the column of words: why a row holds no numbers, or what else is to be said


@dataclass(frozen=True)
class Scale:
    """device: cpu or cuda. size: gpu, cpu or smoke, how much is done."""

    device: str
    size: str


@dataclass(frozen=True)
class Sheet:
    """What one part has found. ends: seconds since 1970 after which it begins nothing more."""

    file: Path
    part: str
    ends: float

    def put(self, table: str, row: str, **cells: Cell) -> None:
        """Fill cells of a row of a table; `_` in a column's name stands for a blank."""
        with self.file.open("a") as out:
            for column, value in cells.items():
                line = {
                    "part": self.part,
                    "table": table,
                    "row": row,
                    "column": column.replace("_", " "),
                    "value": value,
                }
                out.write(json.dumps(line) + "\n")

    def attempt(self, table: str, row: str, work: Callable[[], Mapping[str, Cell]]) -> bool:
        """Fill a row with what work returns, or with the reason why it holds nothing; whether it holds something."""
        if time.time() > self.ends:
            self.put(table, "the rest", note="left out: the time of this part was used up")
            return False
        try:
            found = work()
        except Exception as error:  # whatever it is, the rows after it stand for themselves
            self.put(table, row, note=f"failed: {reason(error)}")
            return False
        self.put(table, row, **found)
        return True


def reason(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"[:300]


def read(file: Path) -> list[dict[str, Cell]]:
    """The lines of a sheet; a last one that was cut off is left out."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found
