"""How the cost of layers grows with the batch size.

What is meant to be used from here::

    run_study         trains a model with several batch sizes and writes what came out
    in_own_process    where it trains each of them, and in_this_process, where nothing is fresh
    Study             what came out
    StudyError        not one batch size could be trained
"""

from lightning_profile.study.conduct import Study, StudyError
from lightning_profile.study.processes import in_own_process, in_this_process
from lightning_profile.study.run import run_study

__all__ = ["Study", "StudyError", "in_own_process", "in_this_process", "run_study"]
