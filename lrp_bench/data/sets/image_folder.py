"""One's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from lrp_bench.contracts import BenchError
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.sources.contents import Contents
from lrp_bench.data.sources.folders import LAYOUT, read_folder
from lrp_bench.data.sources.kept import MEMORY, Keeping


class ImageFolder(TensorData):
    """Your own pictures: root/{train,test}/<class>/<picture>; classes are sorted by name, pictures resized to `shape`.

    Args:
        root: the folder that holds train/ and test/.
        cache: where decoded pictures are kept for the next run; None: nowhere.
        memory: so many MB of decoded pictures are held in memory. Where there are more, those of a batch are read from
            the cache, or decoded, when they are asked for.
        **settings: those of every data set, see TensorData.
    """

    def __init__(
        self, *, root: str | Path, cache: str | Path | None, memory: int = MEMORY, **settings: Unpack[Settings]
    ) -> None:
        # First of all: the config counts the folders for `classes`, and would complain of that number.
        if not any(path.is_dir() for path in (Path(root) / "train").glob("*")):
            where = Path(root).absolute()
            raise BenchError(
                f"Expected {LAYOUT} in {where}, got no folder of a class in {where / 'train'}: put your pictures there"
                " or set dataset.root"
            )
        super().__init__(**settings)
        self.root, self.keeping = Path(root), Keeping.of(cache, memory)

    def read(self) -> Contents:
        """Decode the pictures, or take them as they were decoded before."""
        return read_folder(self.root, self.shape, self.keeping)
