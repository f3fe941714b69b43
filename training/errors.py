"""What can go wrong in training, one tree.

TrainingError
|- DataError            rows, files, views: names the file, the line and the reason
|- ModelError           the model or tokenizer does not fit the method
|- OutputError          the output directory is in use, full, or no run to resume
|- Diverged             a loss or gradient is not finite; names step and rows
|- RolloutError         sampling, scoring or pushing weights failed in online training
`- ConfigInvalid        a setting makes no sense; names it and what is allowed
"""


class TrainingError(Exception):
    """Root of all errors that training raises on purpose."""


class DataError(TrainingError):
    """Data that cannot be trained on; the message names the file, the line and the reason."""


class ModelError(TrainingError):
    """A model or tokenizer that does not fit the method."""


class OutputError(TrainingError):
    """An output directory that cannot be used, or holds nothing to resume."""


class Diverged(TrainingError):
    """A loss or gradient that is not finite; the message names the step and the rows."""


class RolloutError(TrainingError):
    """Sampling, scoring or a weight push that failed in online training."""


class ConfigInvalid(TrainingError):
    """A setting that makes no sense; the message names it and what is allowed."""
