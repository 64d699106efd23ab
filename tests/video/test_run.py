"""The threads beside the network."""

import os
import sys
import threading

import pytest

pytest.importorskip("av")

from jaxperceptual.video import run
from jaxperceptual.video.writing import Writer


def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness")
def test_the_network_goes_first():
    class Notes(Writer):
        def write(self, item):
            self.niceness = niceness()

    writer = Notes()
    finisher = run._Finisher(writer, steady=False, strength=1.0, preserve_color=False)
    finisher.put((None, None, None))
    finisher.end()
    finisher.result()
    (reader,) = run._Thread(niceness() for _ in range(1))

    own = niceness()
    assert reader == writer.niceness == min(own + 10, 19)
