"""From recorded operators to what each layer did in each step.

spans says which execution of which layer each operator belongs to, optimizer which are the
optimizer's, memory which blocks outlived the execution that allocated them, and rows adds up per
layer, phase and step.
"""

from lightning_profile.attribution.rows import attribute

__all__ = ["attribute"]
