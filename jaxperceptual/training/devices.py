"""The device axis of `pmap`: devices, copies on each, slices of a batch.

Of all processes (`core.distributed`), the first one's devices first; arrays go to and
come from this process's own. `step` maps the update over them.
"""

import functools
from collections import defaultdict

import jax
import numpy as np

from jaxperceptual.core.errors import InputError

DEVICES = "devices"


def devices_for(batch_size: int) -> list[jax.Device]:
    """As many devices as the batch divides over; says so if some stay idle.

    Of each process equally many. Raises InputError for a batch that does not divide
    over the processes.
    """
    of = defaultdict(list)
    for device in jax.devices():
        of[device.process_index].append(device)
    least = min(len(devices) for devices in of.values())
    counts = [n for n in range(1, least + 1) if batch_size % (n * len(of)) == 0]
    if not counts:
        raise InputError(
            f"data.batch_size={batch_size} does not divide over {len(of)} processes; "
            f"use a multiple of {len(of)}."
        )
    for devices in of.values():
        devices.sort(key=lambda device: device.id)
    chosen = [device for i in sorted(of) for device in of[i][: counts[-1]]]
    if len(chosen) < jax.device_count():
        print(
            f"using {len(chosen)} of {jax.device_count()} devices: "
            f"data.batch_size={batch_size} divides over no more"
        )
    return chosen


def own(devices: list[jax.Device]) -> list[jax.Device]:
    """Those of this process."""
    return [d for d in devices if d.process_index == jax.process_index()]


def largest(number: int, devices: list[jax.Device]) -> jax.Array | int:
    """Of all processes' numbers, which is known when the devices get there."""
    if jax.process_count() == 1:
        return number
    here = np.full(len(own(devices)), number, np.int32)
    return _maximum(tuple(devices))(here)


@functools.cache  # asked for after every step, and traced once
def _maximum(devices: tuple[jax.Device, ...]):
    return jax.pmap(
        lambda x: jax.lax.pmax(x, DEVICES), axis_name=DEVICES, devices=devices
    )


def replicate(tree, devices: list[jax.Device] | None = None):
    """A copy of every array on each device, with a leading device axis.

    devices: None for all local ones.
    """
    devices = devices or jax.local_devices()
    if not jax.tree.leaves(tree):
        return tree

    def stack(x):
        copies = (len(own(devices)), *np.shape(x))
        return np.broadcast_to(np.asarray(x)[None], copies)

    return jax.pmap(lambda x: x, axis_name=DEVICES, devices=devices)(
        jax.tree.map(stack, tree)
    )


def unreplicate(tree):
    """The first device's copy, on the host, in memory of its own."""
    # A copy: on a CPU an array may be a view of a buffer that the next step reuses.
    return jax.tree.map(lambda x: np.array(np.asarray(first_of(x))[0]), tree)


def first_of(x: jax.Array) -> jax.Array:
    """[1 ...], what this process's first device has of an array [devices ...]."""
    return x.addressable_shards[0].data


def shard(images: np.ndarray, num_devices: int) -> np.ndarray:
    """[steps n ...] -> [devices steps n/devices ...]; n must divide."""
    steps, n, *image = images.shape
    images = images.reshape(steps, num_devices, n // num_devices, *image)
    return np.moveaxis(images, 1, 0)
