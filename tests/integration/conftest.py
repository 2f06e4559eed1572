# Fixtures of the integration tests. They must never skip without a reason, nor hide that something is not built.
import ctypes
import shutil
import socket
import struct
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import lab as labs  # noqa: E402


@pytest.fixture(scope="session")
def loopback():
    with labs.Loopback() as lab:
        yield lab


@pytest.fixture(scope="session")
def namespace():
    obstacle = labs.Namespace.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    with labs.Namespace() as lab:
        yield lab


@pytest.fixture(params=["loopback", "namespace"])
def lab(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def require():
    def path_of(tool):
        return shutil.which(tool) or pytest.skip(f"{tool} is not installed")

    return path_of


SO_ATTACH_FILTER = 26


@pytest.fixture(scope="session")
def socket_filters():
    accept_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF))
    program = struct.pack("HL", 1, ctypes.addressof(accept_all))
    with socket.socket() as trial:
        try:
            trial.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        except PermissionError:
            pytest.skip("this kernel permits socket filters (SO_ATTACH_FILTER) to root alone")
