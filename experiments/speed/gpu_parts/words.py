"""What the page says before its tables."""

from __future__ import annotations

HEADINGS = {
    "Machine": "What it was measured on",
    "Rules and composites": "Right",
    "Main job": "The main job",
    "What a rule costs once: vgg16": "Quick",
    "A batch that is too large": "Sparing",
    "max_batch bounds the peak": "Sparing",
}

CPU = (
    "Written by `make gpu` on a machine without a GPU. **All figures on this page are those of a "
    "CPU.** They show that the program runs, and what it will tell once a GPU is there: it does less "
    "here, on smaller inputs and batches. Where a table speaks of the device it is this CPU; what "
    "compares a device with the CPU waits for a GPU."
)
CUDA = (
    "Written by `make gpu`. All figures on this page were measured on the GPU named above, unless a "
    "row says CPU; networks have random weights and data are made up."
)
ONCE = "Seconds until the first explanation: the network is captured for the first rule, and bound to each further one."
EXPLANATIONS = (
    "Medians. One gradient of the predicted logits with respect to the input, at the same batch, is "
    "the unit; float32 with all its digits (tf32 off); on a GPU between two events on the device. "
    "Peak: memory of tensors above what was held before. Zennit has no rules for attention; the "
    "efficient form is this program's own, after that of the library LXT: a gradient times the input "
    "through a network with some gradients halved and some factors held."
)
VARIANTS = (
    "Beside a gradient in float32 at the same batch. *Ledger open by*: what arrived at a layer less "
    "what is accounted for, in units of the largest term, worst layer and sample. *From float32*: the "
    "largest difference of the relevance, in units of the largest relevance. *Without checks*: what "
    "the engine made of the network, without the engine's own looks at the numbers, each of which "
    "waits for a GPU. *Seconds once*: capture, recording or compilation."
)
INTRODUCTIONS = {
    "cuda": CUDA,
    "cpu": CPU,
    "Rules and composites": (
        "Each of `conf/rule/` on a small network: the largest difference of the relevance, in units "
        "of the largest relevance; tf32 off. *Ledger open by*: what arrived at a layer less what is "
        "accounted for, in units of the largest term, worst layer and sample."
    ),
    "Operators": ("Each row of the engine's table of operators, followed by a dense layer, under LRP-epsilon."),
    "Evaluators": (
        "Each of `conf/metric/` on LRP-epsilon of a small network: the largest difference of any of "
        "its values, each in units of the largest of its kind (of 0.001 where all are smaller). "
        "Includes the difference of the explanation. A rank or a class that rounding changes is a "
        "large difference."
    ),
    "Draws": (
        "Random numbers on the device and on the CPU, 32 samples of 1000 each or of the sample's "
        "size. Normal ones go through a quantile function, which may round differently."
    ),
    "Main job": (
        "`python -m lrp_bench rule=epsilon,alphabeta --multirun` with these options, each time whole: "
        "data, training, explanations, metrics, MLflow, table."
    ),
    "Is it the same table?": ("Every value of every sample, and the means that the table shows."),
    "The efficient form beside AttnLRP": (
        "Whether both give the same relevance, the stabiliser being 1e-12: in units of the largest relevance."
    ),
    "Perturbation curves": ("MiniVGG, pictures of 3 x 32 x 32, one pixel set after the other set to zero."),
    "Training MiniVGG": (
        "Made-up pictures of CIFAR's size. The plain loop has them on the device; the project's "
        "training goes through Lightning, validates and keeps the best epoch. *With data*: the "
        "seconds with making the data."
    ),
    "A batch that is too large": "Most of the memory is forbidden to the process, and all pictures are one batch.",
    "max_batch bounds the peak": (
        "Peak memory of one evaluator on a batch of samples: it must follow max_batch until all that "
        "there is fits into one."
    ),
    "A job of a sweep, its model trained before": (
        "Explanations, metrics, files and MLflow of one job within a process."
    ),
    "What its three largest parts are": (
        "The functions that `lrp_bench/run.py` calls, by the seconds spent in them; the profiler slows all of it."
    ),
}
BEGINNINGS = {
    "What a rule costs once": ONCE,
    "Explanations": EXPLANATIONS,
    "Variants": VARIANTS,
    "torch.compile": VARIANTS,
    "CUDA graphs": VARIANTS,
}


def introduction(table: str) -> list[str]:
    """What is said before a table, if anything."""
    said = INTRODUCTIONS.get(table) or BEGINNINGS.get(table.split(":")[0])
    return [said] if said else []
