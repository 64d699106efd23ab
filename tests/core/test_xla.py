"""XLA's flags."""

from jaxperceptual.core import xla


def test_flags_are_set_only_where_known_and_never_override(monkeypatch):
    monkeypatch.setattr(xla.metadata, "version", lambda _: "0.10.2")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    monkeypatch.setenv("XLA_FLAGS", "")
    xla.configure_xla()
    assert xla.os.environ["XLA_FLAGS"] == ""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_foo=1")
    xla.configure_xla()
    assert xla.os.environ["XLA_FLAGS"].split() == [
        "--xla_foo=1",
        "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution",
        "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
        "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
    ]
    xla.configure_xla()
    assert xla.os.environ["XLA_FLAGS"].count("ynn") == 1
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_scheduler_type=mine")
    xla.configure_xla()
    assert xla.os.environ["XLA_FLAGS"].count("scheduler") == 1
    monkeypatch.setattr(xla.metadata, "version", lambda _: "0.99.0")
    monkeypatch.setenv("XLA_FLAGS", "")
    xla.configure_xla()
    assert xla.os.environ["XLA_FLAGS"] == ""
