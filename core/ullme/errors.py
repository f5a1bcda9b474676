"""Every error a user can meet. Each names its cause and the next step; the command line prints it without a traceback.

A bug of ours is any other exception: those keep their traceback.
"""


class UllmeError(Exception):
    """Base class: the user can mend it. The command line prints the message and exits with code 2."""


class ConfigError(UllmeError, ValueError):
    """The YAML, an override or a command-line value is wrong."""


class UnknownPlugin(UllmeError, LookupError):
    """No installed distribution provides this name."""


class AmbiguousPlugin(UllmeError, LookupError):
    """Several distributions provide this name and none is preferred."""


class PluginRefused(UllmeError):
    """A deny or allow list forbids this plugin, or it does not fit this version of ullme."""


class PluginLoadError(UllmeError, ImportError):
    """The plugin was found but its code could not be imported or does not implement its interface."""


class PluginError(UllmeError, RuntimeError):
    """A plugin raised while it was working in a run; the message names it and its distribution."""


class HookError(UllmeError, RuntimeError):
    """A lifecycle hook raised; the message names the hook, the plugin and its distribution."""


class DataError(UllmeError, ValueError):
    """A row, file or text cannot be used; the message says where it stands and what was expected."""


class AssetError(UllmeError, OSError):
    """Weights or data named by a path could not be fetched, verified or read."""


class AttentionError(UllmeError):
    """The model cannot honestly be given the attention that was asked for."""


class TrainingError(UllmeError, RuntimeError):
    """Training cannot go on: a loss is not finite, or a checkpoint does not belong to this run."""


class OutputError(UllmeError, OSError):
    """An output could not be written; what was there before is untouched."""


class ExportError(UllmeError):
    """A format cannot express this model, or what was written is not the model when it is read back."""
