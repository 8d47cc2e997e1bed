"""What the page says before its tables."""

HEADINGS = {
    "Machine": "What it was measured on",
    "Rules and composites": "Right",
    "Main job": "The main job",
    "Explanations: vgg16": "Quick",
    "A batch that is too large": "Sparing",
}

INTRODUCTIONS = {
    "cuda": "Written by `make gpu`. Every figure on this page was measured on the GPU named above, on random weights and "
    "made-up data; nothing is a mean over runs of other machines.",
    "cpu": "Written by `make gpu` on a machine without a GPU. **These are figures of a CPU**: they show that the program "
    "runs whole and what it will tell; smaller networks' inputs, smaller batches. Where a table speaks of the device, it "
    "is this CPU: the differences between the device and the CPU must be 0 here, and say something on a GPU only.",
}
