"""Data sets: one LightningDataModule each, held in memory, with a fixed explained subset."""

from lrp_bench.data.base import Contents, Settings, TensorData
from lrp_bench.data.batching import Split
from lrp_bench.data.sets.arithmetic import Arithmetic
from lrp_bench.data.sets.cifar10 import CIFAR10
from lrp_bench.data.sets.concrete import Concrete
from lrp_bench.data.sets.digits_on_texture import DigitsOnTexture
from lrp_bench.data.sets.mnist import MNIST, FashionMNIST
from lrp_bench.data.sets.scikit import Digits, Iris
from lrp_bench.data.sets.shortcut import Shortcut
from lrp_bench.data.sets.sst import SST
from lrp_bench.data.sets.synthetic import Synthetic
from lrp_bench.data.sets.tetromino import Tetromino
from lrp_bench.data.sources.folders import ImageFolder
from lrp_bench.data.tables import Given, Halves, Regression, ShuffledIris
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
