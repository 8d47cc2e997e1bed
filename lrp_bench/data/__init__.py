"""Data sets: where samples come from (sources/), the named ones (sets/), and what all of them share.

protocol.py says what a data set promises, base.py keeps it for all: normalisation, the validation cut, the explained
subset, batches. Begin with protocol.py, then a short set: sets/scikit.py.
"""

from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.protocol import DataSet
from lrp_bench.data.regression import Regression
from lrp_bench.data.sets.arithmetic import Arithmetic
from lrp_bench.data.sets.cifar10 import CIFAR10
from lrp_bench.data.sets.concrete import Concrete
from lrp_bench.data.sets.digits_on_texture import DigitsOnTexture
from lrp_bench.data.sets.given import Given
from lrp_bench.data.sets.halves import Halves
from lrp_bench.data.sets.image_folder import ImageFolder
from lrp_bench.data.sets.mnist import MNIST, FashionMNIST
from lrp_bench.data.sets.scikit import Digits, Iris, ShuffledIris
from lrp_bench.data.sets.shortcut import Shortcut
from lrp_bench.data.sets.sst import SST
from lrp_bench.data.sets.synthetic import Synthetic
from lrp_bench.data.sets.tetromino import Tetromino
from lrp_bench.data.sources.contents import Contents, Inputs, Split
from lrp_bench.data.text import TextData

__all__ = [
    "CIFAR10",
    "MNIST",
    "SST",
    "Arithmetic",
    "Concrete",
    "Contents",
    "DataSet",
    "Digits",
    "DigitsOnTexture",
    "FashionMNIST",
    "Given",
    "Halves",
    "ImageFolder",
    "Inputs",
    "Iris",
    "Regression",
    "Settings",
    "Shortcut",
    "ShuffledIris",
    "Split",
    "Synthetic",
    "TensorData",
    "Tetromino",
    "TextData",
]
