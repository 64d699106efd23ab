"""The memory of L-BFGS on a CPU: products strip by strip, rows replaced in place."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

_STRIP = 16_384  # columns of `masked_products`: 1.3 MB of 20 rows


@custom_vmap
def masked_products(
    a: jax.Array, b: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """As `ops.masked_products`, strip by strip: what is masked stays in the cache."""
    return jax.tree.map(lambda x: x[0], _masked_products(a[None], b[None], mask[None]))


@masked_products.def_vmap
def _(n, are_batched, *arguments):
    return _masked_products(*_all_batched(n, are_batched, arguments)), (True, True)


def _masked_products(a, b, mask):
    n, m, k = *a.shape[:2], b.shape[1]
    a, b, mask = a.reshape(n, m, -1), b.reshape(n, k, -1), mask.reshape(n, 1, -1)

    def add(i, start, width, sums):
        x, y, kept = (
            lax.dynamic_slice(rows, (i, 0, start), (1, rows.shape[1], width))[0]
            for rows in (a, b, mask)
        )
        masked = kept * y
        products = lax.dot_general(
            x, masked, (((1,), (1,)), ((), ())), precision="highest"
        )
        return sums[0].at[i].add(products), sums[1].at[i].add(jnp.sum(masked * y, 1))

    def add_strips(sums, start, width, count):
        def body(at, sums):
            return add(at // count, start + at % count * width, width, sums)

        return lax.fori_loop(0, n * count, body, sums) if width and count else sums

    strips, rest = divmod(a.shape[2], _STRIP)
    sums = jnp.zeros((n, m, k), a.dtype), jnp.zeros((n, k), b.dtype)
    sums = add_strips(sums, 0, _STRIP, strips)
    return add_strips(sums, strips * _STRIP, rest, 1)


@custom_vmap
def replace_row(
    rows: jax.Array, index: jax.Array, row: jax.Array, keep: jax.Array
) -> jax.Array:
    """As `ops.replace_row`: in place, in a loop of one turn or none.

    Outside a loop XLA fuses the update into each use of the result, and gives each use
    a copy of all rows.
    """
    return lax.fori_loop(
        0, keep.astype(np.int32), lambda _, rows: rows.at[index].set(row), rows
    )


@replace_row.def_vmap
def _(n, are_batched, *arguments):
    rows, index, row, keep = _all_batched(n, are_batched, arguments)

    def replace(i, rows):
        return lax.fori_loop(
            0,
            keep[i].astype(np.int32),
            lambda _, rows: rows.at[i, index[i]].set(row[i]),
            rows,
        )

    return lax.fori_loop(0, n, replace, rows), True


def _all_batched(n, are_batched, arguments):
    return [
        x if batched else jnp.broadcast_to(x, (n, *x.shape))
        for x, batched in zip(arguments, are_batched, strict=True)
    ]
