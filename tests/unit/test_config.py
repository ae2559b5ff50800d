# SPDX-License-Identifier: MIT
"""Every argument of a queue is checked before anything starts."""

from __future__ import annotations

import os
import pickle
import sys

import pytest

from localq.config import QueueConfig
from localq.errors import ConfigError
from localq.machine import usable_cpus, usable_memory


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_the_defaults_are_those_of_the_design() -> None:
    config = QueueConfig.check()

    assert config.workers == usable_cpus()
    assert config.queues == ("default",)
    assert (config.capacity, config.result_cache_size, config.result_ttl) == (65536, 10_000, 3600.0)
    assert config.memory == usable_memory() // 2
    assert (config.start_method, config.preload, config.initializer, config.initargs) == ("clean", (), None, ())
    assert (config.max_tasks_per_child, config.max_memory_per_child, config.max_retries) == (None, None, 0)
    assert (config.serialization, config.threads_per_worker) == ("msgpack", 1)
    assert config.drain_timeout == 5.0


@pytest.mark.parametrize(
    ("argument", "value", "field"),
    [
        ("workers", 3, 3),
        ("name", "my-queue_1.0", "my-queue_1.0"),
        ("queues", ["a", "b"], ("a", "b")),
        ("capacity", 1, 1),
        ("memory", 1 << 20, 1 << 20),
        ("memory", "512MB", 512_000_000),
        ("memory", "2GiB", 2 << 30),
        ("memory", " 1.5 gib ", 3 << 29),
        ("memory", "2000000", 2_000_000),
        ("memory", "2000000B", 2_000_000),
        ("memory", "2000kB", 2_000_000),
        ("memory", "1TiB", 1 << 40),
        ("result_cache_size", 0, 0),
        ("result_ttl", None, None),
        ("result_ttl", 5, 5.0),
        ("start_method", "fork", "fork"),
        ("preload", ["numpy", "a.b"], ("numpy", "a.b")),
        ("initializer", print, print),
        ("initargs", [1, 2], (1, 2)),
        ("max_tasks_per_child", 1, 1),
        ("max_memory_per_child", "1GB", 10**9),
        ("max_retries", 15, 15),
        ("serialization", "json", "json"),
        ("threads_per_worker", None, None),
        ("threads_per_worker", 4, 4),
    ],
)
def test_an_allowed_value_is_kept_in_its_plain_form(argument: str, value: object, field: object) -> None:
    assert getattr(QueueConfig.check(**{argument: value}), argument) == field


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("workers", 0, "1 or more"),
        ("workers", -2, "1 or more"),
        ("workers", True, "whole number"),
        ("workers", 2.0, "whole number"),
        ("workers", "2", "whole number"),
        ("workers", 10**9, "whole number"),
        ("name", "", "characters"),
        ("name", "a b", "characters"),
        ("name", "a/b", "characters"),
        ("name", "x" * 65, "1 to 64"),
        ("name", 3, "characters"),
        ("queues", (), "1 to 16"),
        ("queues", "default", "('default',)"),
        ("queues", ("a", "a"), "different"),
        ("queues", tuple(map(str, range(17))), "1 to 16"),
        ("queues", ("a b",), "characters"),
        ("queues", (1,), "characters"),
        ("queues", {"a"}, "names"),
        ("queues", ([], []), "different"),
        ("capacity", 0, "1 to 1_000_000"),
        ("capacity", 1_000_001, "1 to 1_000_000"),
        ("capacity", 10.0, "whole number"),
        ("capacity", True, "whole number"),
        ("memory", 1000, "1 MiB"),
        ("memory", 0, "1 MiB"),
        ("memory", -5, "1 MiB"),
        ("memory", 1 << 60, "64 TiB"),
        ("memory", "12", "1 MiB"),
        ("memory", "many", "512MB"),
        ("memory", "1e9", "512MB"),
        ("memory", "1.2.3GB", "512MB"),
        ("memory", "GB", "512MB"),
        ("memory", "-1GB", "512MB"),
        ("memory", "٣GB", "512MB"),
        ("memory", 1e9, "512MB"),
        ("memory", True, "512MB"),
        ("result_cache_size", -1, "0 to"),
        ("result_cache_size", None, "whole number"),
        ("result_ttl", 0, "above 0"),
        ("result_ttl", -1.0, "above 0"),
        ("result_ttl", float("nan"), "above 0"),
        ("result_ttl", float("inf"), "None"),
        ("result_ttl", "1h", "seconds"),
        ("result_ttl", True, "seconds"),
        ("start_method", "spawn", "'clean' or 'fork'"),
        ("start_method", "clen", "did you mean 'clean'"),
        ("start_method", None, "'clean' or 'fork'"),
        ("preload", "numpy", "('numpy',)"),
        ("preload", ("a b",), "module names"),
        ("preload", ("",), "module names"),
        ("preload", (os,), "module names"),
        ("initializer", 3, "callable"),
        ("initargs", "abc", "tuple"),
        ("initargs", 3, "tuple"),
        ("max_tasks_per_child", 0, "or None"),
        ("max_memory_per_child", 5, "1 MiB"),
        ("max_retries", 16, "0 to 15"),
        ("max_retries", None, "0 to 15"),
        ("serialization", "yaml", "'msgpack' or 'pickle' or 'json'"),
        ("threads_per_worker", 0, "or None"),
        ("initializer", Unprintable(), "a Unprintable"),
    ],
)
def test_anything_else_is_refused_by_name_with_what_is_allowed(argument: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        QueueConfig.check(**{argument: value})

    assert str(caught.value).startswith(f"{argument} must be ")
    assert allowed in str(caught.value)
    if not isinstance(value, Unprintable):
        assert repr(value)[:70] in str(caught.value)


def test_an_endless_repr_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        QueueConfig.check(name="x" * 10_000)

    assert len(str(caught.value)) < 300


def test_a_misspelled_argument_is_put_right() -> None:
    with pytest.raises(ConfigError, match=r"worker'; did you mean 'workers'"):
        QueueConfig.check(worker=3)
    with pytest.raises(ConfigError, match=r"no argument 'zzz'$"):
        QueueConfig.check(zzz=3)


def test_slots_and_cached_results_share_one_limit() -> None:
    with pytest.raises(ConfigError, match="together"):
        QueueConfig.check(capacity=1_000_000)

    assert QueueConfig.check(capacity=1_000_000, result_cache_size=0).capacity == 1_000_000


@pytest.mark.parametrize(
    ("argv", "stem"),
    [
        (["/a/b/train model.py"], "train_model"),
        (["-c"], "python"),
        ([""], "python"),
        ([], "python"),
        (["/site/package/__main__.py"], "package"),
        (["/a/" + "x" * 200 + ".py"], "x" * 52),
        (["/usr/bin/tool"], "tool"),
    ],
)
def test_a_queue_without_a_name_is_named_after_the_program(
    argv: list[str], stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)

    assert QueueConfig.check().name == f"{stem}-{os.getpid()}"
    assert len(QueueConfig.check().name) <= 64


def test_a_configuration_is_frozen_and_travels() -> None:
    config = QueueConfig.check(workers=1).replace(name="other", queues=("a", "b"))

    with pytest.raises(AttributeError, match="frozen"):
        config.workers = 2
    assert pickle.loads(pickle.dumps(config)) == config
    assert (config.name, config.queues) == ("other", ("a", "b"))
