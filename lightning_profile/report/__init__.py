"""Where results go: one file per place. Every place uses the words of :mod:`.columns`."""

from lightning_profile.report.columns import quantities_by_row
from lightning_profile.report.run_folder import RunFolder, new_version
from lightning_profile.report.run_report import RunReport

__all__ = ["RunFolder", "RunReport", "new_version", "quantities_by_row"]
