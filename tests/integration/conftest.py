# Fixtures of the integration tests. They must never skip without a reason, nor hide that something is not built.
import shutil
import socket
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.path.append(str(TESTS / "soak"))

import lab as labs  # noqa: E402
from flapping import set_filter  # noqa: E402


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


@pytest.fixture(scope="session")
def name_served():
    obstacle = labs.Namespace.obstacle() or labs.NameServed.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    with labs.NameServed() as lab:
        yield lab


@pytest.fixture(params=["loopback", "namespace"])
def lab(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def require():
    def path_of(tool):
        return shutil.which(tool) or pytest.skip(f"{tool} is not installed")

    return path_of


@pytest.fixture(scope="session")
def socket_filters():
    with socket.socket() as trial:
        try:
            set_filter(trial, "silent")
        except PermissionError:
            pytest.skip("this kernel permits socket filters (SO_ATTACH_FILTER) to root alone")
