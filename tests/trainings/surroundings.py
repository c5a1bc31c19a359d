"""What a process has that a library could change: patches, handlers, modes, flags."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import _len_torch_function_stack
from torch.utils._python_dispatch import _len_torch_dispatch_stack

_CLASSES = (
    nn.Module,
    nn.Conv2d,
    nn.Linear,
    torch.Tensor,
    nn.Parameter,
    torch.autograd.Function,
    torch.optim.Optimizer,
    torch.optim.Adam,
    torch.utils.data.DataLoader,
)
_MODULES = (torch, torch.autograd, torch.utils.checkpoint, nn.functional, warnings, sys)
_BACKENDS = ("cuda", "cuda.matmul", "cudnn", "mkldnn", "mkl", "mha", "nnpack", "opt_einsum")
_SYS_STATE = ("last_", "_", "modules", "path", "stdout", "stderr", "stdin")


def surroundings() -> dict[str, Any]:
    """Everything by name, to be compared by equality."""
    return dict(
        [*_classes(), *_modules(), *_hooks(), *_modes(), *_flags(), *_process(), *_loggers()]
    )


def _classes() -> Iterator[tuple[str, Any]]:
    for kind in _CLASSES:
        for name, value in vars(kind).items():
            yield f"{kind.__qualname__}.{name}", id(value)


def _modules() -> Iterator[tuple[str, Any]]:
    for module in _MODULES:
        for name, value in vars(module).items():
            if callable(value) and not name.startswith(_SYS_STATE):
                yield f"{module.__name__}.{name}", id(value)


def _hooks() -> Iterator[tuple[str, Any]]:
    for module in ("torch.nn.modules.module", "torch.optim.optimizer"):
        for name, value in vars(sys.modules[module]).items():
            if name.startswith("_global_") and isinstance(value, dict):
                yield f"{module}.{name}", dict(value)
    yield "saved-tensor hooks", torch._C._autograd._top_saved_tensors_default_hooks(True)


def _modes() -> Iterator[tuple[str, Any]]:
    yield "gradients", torch.is_grad_enabled()
    yield "inference", torch.is_inference_mode_enabled()
    yield "anomalies", torch.is_anomaly_enabled()
    yield "autocast", [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")]
    yield "multithreaded backward", torch.autograd.is_multithreading_enabled()
    yield "dispatch modes", _len_torch_dispatch_stack()
    yield "function modes", _len_torch_function_stack()


def _flags() -> Iterator[tuple[str, Any]]:
    yield "threads", (torch.get_num_threads(), torch.get_num_interop_threads())
    yield "type", (torch.get_default_dtype(), torch.get_default_device())
    yield "determinism", torch.get_deterministic_debug_mode()
    yield "precision", torch.get_float32_matmul_precision()
    yield "flush denormals", float(torch.tensor(1e-42) * 1)
    for path in _BACKENDS:
        backend = torch.backends
        for part in path.split("."):
            backend = getattr(backend, part)
        for name in dir(backend):
            value = getattr(backend, name, None)
            if isinstance(value, (bool, int, str)) and not name.startswith("__"):
                yield f"{path}.{name}", value


def _process() -> Iterator[tuple[str, Any]]:
    yield "filters of warnings", list(warnings.filters)
    yield "hooks of exceptions", (sys.excepthook, sys.unraisablehook, threading.excepthook)
    yield "tracing", (sys.gettrace(), sys.getprofile(), threading.gettrace())
    yield "recursion limit", sys.getrecursionlimit()
    yield "switch interval", sys.getswitchinterval()
    yield "handlers of signals", {each: signal.getsignal(each) for each in signal.valid_signals()}
    yield "environment", dict(os.environ)
    yield "folder", os.getcwd()  # noqa: PTH109
    yield "garbage collector", (gc.isenabled(), gc.get_threshold(), list(gc.callbacks))
    yield "patience of sockets", socket.getdefaulttimeout()
    yield "streams", (sys.stdin, sys.stdout, sys.stderr)
    yield "finders of modules", (list(sys.meta_path), list(sys.path), list(sys.path_hooks))


def _loggers() -> Iterator[tuple[str, Any]]:
    yield "logging", (logging.root.level, list(logging.root.handlers), logging.root.disabled)
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            state = (logger.level, list(logger.handlers), list(logger.filters), logger.propagate)
            yield f"logger {name}", state
