"""What `jaxperceptual benchmark` measures; imports no JAX."""

import dataclasses

from jaxperceptual.core.errors import InputError, check_choice, check_range

_DAY = 86_400  # s


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure: table 1 if none of the first four."""

    train: bool = False
    inference: bool = False
    gatys: bool = False
    input: bool = False
    reference: tuple[str, ...] = ()
    sizes: tuple[int, ...] = (256, 512, 1024)  # px, of all but training
    norms: tuple[str, ...] = ("batch", "instance")  # table 1 has the config's
    upsamplings: tuple[str, ...] = ("transposed", "resize")  # likewise
    batch_size: int = 4  # of training and input
    train_size: int = 256  # px, of input as well
    data: tuple[str, ...] = ("embedded",)  # sources of input
    repeats: int = 5
    budget: float = 60.0  # s a size, for the iterations of table 1
    full: bool = False  # all iterations of table 1, whatever they take
    precision: str = "float32"
    forms: bool = False  # also ours without the forms of `cpu`, and on a canvas
    memory: bool = True  # also the peak of each variant, in a process of its own
    compiled: bool = True  # also what a reference's compiler makes
    config: str = "style_muse.py"  # its network, objective, VGG and learning rate

    @property
    def table1(self) -> bool:
        return not (self.train or self.inference or self.gatys or self.input)

    def check(self) -> None:
        """Raises InputError for what cannot be; the rest is checked by `plan`."""
        if self.full and not self.table1:
            raise InputError(
                "--full is for table 1; leave out --train, --inference, --gatys and "
                "--input."
            )
        if not 0 < self.budget <= _DAY:  # or NaN
            raise InputError(
                f"--budget {self.budget:g}; use seconds above 0, up to {_DAY} (a day)."
            )
        for name, values, low, high in (
            ("--sizes", self.sizes, 16, 4096),
            ("--train-size", [self.train_size], 16, 1024),
            ("--batch-size", [self.batch_size], 1, 256),
            ("--repeats", [self.repeats], 1, 1000),
        ):
            for value in values:
                check_range(name, value, low, high)
        for norm in self.norms:
            check_choice("--norms", norm, type(self).norms)
