# SPDX-License-Identifier: MIT
"""Every argument of a queue is checked before anything starts."""

from __future__ import annotations

import inspect
import os
import pickle
import sys

import pytest

from localq import LocalExecutor, LocalQueue
from localq.config import VARIABLES, QueueConfig, from_environment
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
        ("task_modules", ["numpy", "a.b"], ("numpy", "a.b")),
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


# --- variables of the environment -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "text", "value"),
    [
        ("workers", "3", 3),
        ("workers", "none", None),
        ("workers", " 3 ", 3),
        ("queues", "default, mail", ("default", "mail")),
        ("capacity", "1_000", 1000),
        ("memory", "2GiB", "2GiB"),
        ("memory", "none", None),
        ("result_cache_size", "0", 0),
        ("result_ttl", "None", None),
        ("result_ttl", "2.5", 2.5),
        ("start_method", "fork", "fork"),
        ("preload", "json,os.path", ("json", "os.path")),
        ("max_tasks_per_child", "none", None),
        ("max_memory_per_child", "1GB", "1GB"),
        ("max_retries", "2", 2),
        ("serialization", "json", "json"),
        ("threads_per_worker", "none", None),
        ("drain_timeout", "0", 0.0),
        ("max_crashes", "1", 1),
        ("task_timeout", "30", 30.0),
        ("grace_period", "1", 1.0),
        ("concurrency", "10", 10),
        ("output", "off", "off"),
        ("arguments", "readonly", "readonly"),
        ("results", "copies", "copies"),
    ],
)
def test_a_variable_stands_for_an_argument_that_is_not_given(
    argument: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[argument], text)

    assert from_environment(()) == {argument: value}
    assert from_environment((argument,)) == {}


def test_every_argument_that_a_text_can_say_has_a_variable() -> None:
    assert set(VARIABLES) == set(QueueConfig.__slots__) - {"initializer", "initargs"}


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("LOCALQ_WORKERS", "many", "a whole number from 1 to 240 or None; got 'many'"),
        ("LOCALQ_WORKERS", "0", "1 or more"),
        ("LOCALQ_WORKERS", "2.5", "a whole number"),
        ("LOCALQ_MEMORY", "lots", "512MB"),
        ("LOCALQ_QUEUES", "a,,b", "1 to 16 different names"),
        ("LOCALQ_RESULT_TTL", "nan", "above 0"),
        ("LOCALQ_RESULT_TTL", "soon", "got 'soon'"),
        ("LOCALQ_CAPACITY", "none", "a whole number"),
        ("LOCALQ_OUTPUT", "plian", "did you mean 'plain'"),
        ("LOCALQ_PRELOAD", "a b", "module names"),
    ],
)
def test_a_refusal_names_the_variable(variable: str, text: str, allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)

    with pytest.raises(ConfigError) as caught:
        from_environment(())

    assert str(caught.value).startswith(f"{variable} must be ")
    assert allowed in str(caught.value)


def test_the_name_in_the_environment_is_a_default_and_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_NAME", "nightly")

    with LocalQueue(workers=1) as first, LocalQueue(workers=1) as second, LocalQueue(workers=1, name="own") as third:
        assert [first.name, second.name, third.name] == ["nightly", "nightly.2", "own"]

    monkeypatch.setenv("LOCALQ_NAME", "no name")
    with pytest.raises(ConfigError, match=r"^LOCALQ_NAME must be"):
        LocalQueue(workers=1)


def test_empty_and_unknown_variables_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_WORKERS", "")
    monkeypatch.setenv("LOCALQ_NOTHING", "many")

    assert from_environment(()) == {}


def test_what_is_given_wins_also_where_it_is_the_default_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_WORKERS", "1")
    monkeypatch.setenv("LOCALQ_CAPACITY", "100")
    monkeypatch.setenv("LOCALQ_MAX_RETRIES", "3")
    monkeypatch.setenv("LOCALQ_RESULT_TTL", "60")

    with LocalQueue(capacity=65536, result_ttl=None) as q:
        assert (q.config.workers, q.config.capacity) == (1, 65536)
        assert (q.config.max_retries, q.config.result_ttl) == (3, None)
    with LocalQueue(None) as q:
        assert (q.config.workers, q.config.capacity) == (usable_cpus(), 100)
    with LocalQueue(workers=2) as q:
        assert q.config.workers == 2


def test_who_attaches_has_the_options_of_the_queue_not_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalQueue(workers=1, name="elsewhere", max_retries=1) as q:
        monkeypatch.setenv("LOCALQ_WORKERS", "many")
        monkeypatch.setenv("LOCALQ_MAX_RETRIES", "5")
        attached = LocalQueue.attach("elsewhere")
        try:
            assert (attached.config.workers, attached.config.max_retries) == (1, 1)
        finally:
            attached.close()
        assert q.delay(_own_retries).result(10) == 1


def test_an_executor_heeds_them_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_WORKERS", "1")
    monkeypatch.setenv("LOCALQ_OUTPUT", "off")

    with LocalExecutor() as executor:
        assert executor._queue is not None
        assert (executor._queue.config.workers, executor._queue.config.output) == (1, "off")
    with LocalExecutor(2, output="prefix") as executor:
        assert executor._queue is not None
        assert (executor._queue.config.workers, executor._queue.config.output) == (2, "prefix")


def test_the_signature_shows_the_defaults_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = inspect.signature(LocalQueue).parameters

    assert list(shown) == list(QueueConfig.__slots__)
    with monkeypatch.context() as patched:
        patched.delenv("LOCALQ_NAME", raising=False)
        given = {name: parameter.default for name, parameter in shown.items()}
        assert QueueConfig.check(**given) == QueueConfig.check()
    with pytest.raises(TypeError, match="unexpected keyword argument 'worker'"):
        LocalQueue(worker=1)  # type: ignore[call-arg]


def _own_retries() -> int:
    return LocalQueue.current().config.max_retries
