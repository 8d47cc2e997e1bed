"""Models: plain modules sized to the data, and the LightningModule that trains them."""

from lrp_bench.models.classifier import Classifier, Regressor
from lrp_bench.models.cnn import LeNet, MiniVGG, TutorialCNN
from lrp_bench.models.exported import exported_model
from lrp_bench.models.fits import check_fits
from lrp_bench.models.fully_connected import FullyConnected
from lrp_bench.models.mlp import MLP
from lrp_bench.models.text import LSTM, SequenceLSTM
from lrp_bench.models.transformer import TextTransformer, ViT
from lrp_bench.models.vision import torchvision_classifier

__all__ = [
    "LSTM",
    "MLP",
    "Classifier",
    "FullyConnected",
    "LeNet",
    "MiniVGG",
    "Regressor",
    "SequenceLSTM",
    "TextTransformer",
    "TutorialCNN",
    "ViT",
    "check_fits",
    "exported_model",
    "torchvision_classifier",
]
