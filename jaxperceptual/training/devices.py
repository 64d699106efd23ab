"""The device axis of `pmap`: local devices, copies on each, slices of a batch.

Of one host; `step` maps the update over it.
"""

import jax
import numpy as np

from jaxperceptual.core.errors import InputError

DEVICES = "devices"


def devices_for(batch_size: int) -> list[jax.Device]:
    """As many local devices as the batch divides over; says so if some stay idle.

    Raises InputError in one of many processes: each would train a network of its own.
    """
    if jax.process_count() > 1:
        raise InputError(
            f"process {jax.process_index()} of {jax.process_count()}: training over "
            "many hosts is not supported; start one process with one host's devices."
        )
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if count < len(devices):
        print(
            f"using {count} of {len(devices)} devices: data.batch_size={batch_size} "
            "divides over no more"
        )
    return devices[:count]


def replicate(tree, devices: list[jax.Device] | None = None):
    """A copy of every array on each device, with a leading device axis.

    devices: None for all local ones.
    """
    devices = devices or jax.local_devices()
    if not jax.tree.leaves(tree):
        return tree

    def stack(x):
        return np.broadcast_to(np.asarray(x)[None], (len(devices), *np.shape(x)))

    return jax.pmap(lambda x: x, axis_name=DEVICES, devices=devices)(
        jax.tree.map(stack, tree)
    )


def unreplicate(tree):
    """The first device's copy, on the host, in memory of its own."""
    # A copy: on a CPU an array may be a view of a buffer that the next step reuses.
    return jax.tree.map(
        lambda x: np.array(np.asarray(x.addressable_shards[0].data)[0]), tree
    )


def shard(images: np.ndarray, num_devices: int) -> np.ndarray:
    """[steps n ...] -> [devices steps n/devices ...]; n must divide."""
    steps, n, *image = images.shape
    images = images.reshape(steps, num_devices, n // num_devices, *image)
    return np.moveaxis(images, 1, 0)
