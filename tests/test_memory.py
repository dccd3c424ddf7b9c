"""Asking the C library to keep memory: done on glibc, left alone elsewhere."""

from __future__ import annotations

import platform
import sys

import pytest

from spectra_app.memory import keep_freed_blocks


def test_glibc_accepts_the_thresholds() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library of this platform is not glibc")
    assert keep_freed_blocks() is True


def test_other_platforms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_blocks() is False
