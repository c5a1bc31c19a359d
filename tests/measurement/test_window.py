"""Ending a window where that is interrupted, or fails."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import profiler as autograd_profiler

from lightning_profile.measurement import Window, is_profiler_running


def warmed_up() -> Window:
    window = Window([], torch.device("cpu"))
    window.warm_up()
    return window


def test_a_window_that_is_interrupted_before_its_end_is_ended_by_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    window = warmed_up()
    with monkeypatch.context() as once:
        once.setattr(window._cupti, "as_recording_ends", interrupt)
        with pytest.raises(KeyboardInterrupt):
            window.close()
    window.close()
    assert not is_profiler_running()
    assert not autograd_profiler._is_profiler_enabled


def test_a_session_ends_also_where_the_device_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error")

    window = warmed_up()
    with monkeypatch.context() as once:
        once.setattr(window._profile, "stop_trace", fail)
        with pytest.raises(RuntimeError, match="CUDA error") as caught:
            window.close()
    assert not is_profiler_running()
    assert not autograd_profiler._is_profiler_enabled
    later = warmed_up()  # while the exception keeps the session that failed
    later.start()
    later.close()
    assert caught.value is not None


@pytest.mark.parametrize("is_read", [True, False])
def test_cupti_is_waited_for_whatever_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, *, is_read: bool
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("broken")

    waited: list[str] = []
    window = warmed_up()
    window.start()
    monkeypatch.setattr(window._cupti, "wait", lambda: waited.append("for it"))
    if is_read:
        monkeypatch.setattr("lightning_profile.measurement.window.read_ops", fail)
    else:
        monkeypatch.setattr(window._calls, "detach", fail)
    with pytest.raises(RuntimeError, match="broken"):
        (window.finish if is_read else window.close)()
    assert waited
    assert not is_profiler_running()
