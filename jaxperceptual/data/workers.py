"""Threads and processes that decode batches ahead."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from multiprocessing import resource_tracker

import grain

from jaxperceptual.core import machine


def prefetch(
    dataset: grain.MapDataset, num_workers: int, batch_bytes: int
) -> grain.IterDataset:
    """Batches decoded ahead: in threads, or in processes whose number does not show."""
    if num_workers == 0:
        threads = min(16, machine.num_cores())
        ahead = min(16, max(2, 2**28 // batch_bytes))  # at most 256 MB
        return dataset.to_iter_dataset(
            grain.ReadOptions(
                num_threads=min(threads, ahead), prefetch_buffer_size=ahead
            )
        )
    iterable = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    ).mp_prefetch(
        grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
        worker_init_fn=_init_worker,
    )
    return grain.experimental.ThreadPrefetchIterDataset(
        iterable, prefetch_buffer_size=num_workers
    )


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Threads and processes begun in here leave SIGINT and SIGTERM to this one.

    A terminal or a scheduler signals the whole group. Workers that end at once would
    take away the batches with which the main process still finishes its step.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Its start would unblock the signals again.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Keeps workers begun in here from importing the main script.

    By default a spawned process imports it first: a script without the `__main__`
    guard would start training once more in every worker.
    """
    main = sys.modules["__main__"]
    hidden = {
        name: main.__dict__[name]
        for name in ("__file__", "__spec__")
        if name in main.__dict__
    }
    try:
        main.__dict__.update(dict.fromkeys(hidden, None))
        yield
    finally:
        main.__dict__.update(hidden)


def _init_worker(index: int, count: int) -> None:
    del index, count
    # What matters comes back with the batch. After the filters that modules set: one
    # of `images` decides what is skipped, and must decide the same here.
    warnings.simplefilter("ignore", append=True)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(0)

    # The main process, killed, takes its workers along.
    threading.Thread(target=follow, daemon=True).start()
