"""What takes the place of what is removed.

fills.py holds constants, means, noise, blur and other samples, road.py linear imputation from the neighbours,
inpaint.py that of OpenCV. Begin with fills.py, which says what an imputer promises.
"""

from lrp_bench.metrics.imputers.fills import (
    Blur,
    Constant,
    DatasetMean,
    Fill,
    FromData,
    ImageMean,
    Imputer,
    Noise,
    Sample,
)
from lrp_bench.metrics.imputers.inpaint import Inpaint
from lrp_bench.metrics.imputers.road import Road

__all__ = [
    "Blur",
    "Constant",
    "DatasetMean",
    "Fill",
    "FromData",
    "ImageMean",
    "Imputer",
    "Inpaint",
    "Noise",
    "Road",
    "Sample",
]
