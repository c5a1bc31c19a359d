"""From recorded operators to what each layer did in each step.

assignment says which execution of which layer (spans) each operator belongs to, gradient_sums
whose autograd's sums of gradients are, optimizer which are the optimizer's, interrupted which did
nothing, and memory which blocks outlived the execution that allocated them. tallies adds up
operators per execution, kernels what they did on the device, and rows per layer, phase and step;
peaks says what all tensors of a step held at once.
"""

from lightning_profile.attribution.assignment import layers_of_nodes
from lightning_profile.attribution.peaks import step_peaks
from lightning_profile.attribution.rows import attribute

__all__ = ["attribute", "layers_of_nodes", "step_peaks"]
