"""Data sets: one LightningDataModule each, held in memory, with a fixed explained subset."""

from lrp_bench.data.arithmetic import Arithmetic
from lrp_bench.data.base import Contents, Settings, TensorData
from lrp_bench.data.batching import Split
from lrp_bench.data.cifar10 import CIFAR10
from lrp_bench.data.clutter import DigitsOnTexture
from lrp_bench.data.concrete import Concrete
from lrp_bench.data.folder import ImageFolder
from lrp_bench.data.mnist import MNIST, FashionMNIST
from lrp_bench.data.scikit import Digits, Iris
from lrp_bench.data.shortcut import Shortcut
from lrp_bench.data.sst import SST
from lrp_bench.data.synthetic import Synthetic
from lrp_bench.data.tables import Given, Halves, Regression, ShuffledIris
from lrp_bench.data.tetromino import Tetromino
from lrp_bench.data.text import TextData

__all__ = [
    "CIFAR10",
    "MNIST",
    "SST",
    "Arithmetic",
    "Concrete",
    "Contents",
    "Digits",
    "DigitsOnTexture",
    "FashionMNIST",
    "Given",
    "Halves",
    "ImageFolder",
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
