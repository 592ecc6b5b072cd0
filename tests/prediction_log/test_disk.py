"""The disk's small facts."""

from pathlib import Path

import pytest

from prediction_log.spool.disk import data_end, direct, filesystem_of
from prediction_log.spool.home import move_in

MOUNTS = """\
/dev/root / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/export /srv/spool nfs4 rw 0 0
/dev/sdb /srv xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/run/pointsman", "tmpfs"),
        ("/srv/spool/a", "nfs4"),
        ("/srv/spool2", "xfs"),
        ("/runs", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(tmp_path, path, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)

    assert filesystem_of(Path(path), mounts) == kind
    assert filesystem_of(Path(path), tmp_path / "nothing") == ""


def test_a_spool_on_a_file_system_that_forgets_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("prediction_log.spool.home.filesystem_of", lambda _: "tmpfs")
    import os

    home = move_in(direct, tmp_path, "worker-0", bytes(16))
    os.close(home.lock_fd)

    assert "tmpfs" in caplog.text


@pytest.mark.parametrize("content", [b"", b"a", bytes(5000), b"a" + bytes(2**21), bytes(2**20) + b"b" + bytes(2**20)])
def test_the_end_of_the_data_is_after_the_last_byte_that_is_not_zero(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        assert data_end(file.fileno()) == len(content.rstrip(b"\0"))
        assert data_end(file.fileno(), 1) == max(len(content.rstrip(b"\0")), 1)
