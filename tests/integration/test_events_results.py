# How programs learn what a connect that does not block has come to: by SO_ERROR, by asking connect(2) again, by
# getpeername(2), by the first read or write, with a wait before and without. If everything fails the error is there
# once, wherever it would have been without the library, with which each run is compared.
# Nothing here may ask in another way than its test says.
import pytest

from programs.events import FAILOVER, assert_connected, assert_same, due, hosts, side_by_side, together
from programs.harness import address_lab, several, start_shim

WAITS = ["poll", "select", "epoll"]
STEPS = ["so_error", "connect", "getpeername", "write", "send", "read", "recv"]
# What a live host answers to these.
ANSWERS = {
    "so_error": ["0"],
    "connect": ["0"],
    "getpeername": ["0"],
    "write": ["1"],
    "send": ["1"],
    "read": ["EAGAIN", "1"],
    "recv": ["EAGAIN", "1"],
}
FAILED = ("events", "steps", "so_error", "peer", "transfer", "changed", "descriptors_left")


def after_each_wait(*steps, **arguments):
    return [{"wait": wait, "by": step, **arguments} for wait in WAITS for step in steps]


# ---- Reaching a live address ----


@hosts(("live", "refused"), *FAILOVER)
def test_the_first_question_after_a_wait(several, kinds):
    host = several(*kinds)
    for run in together(host, "events_result", after_each_wait(*STEPS)):
        step, answer = run.first["steps"].rstrip(",").split(":")
        assert answer in ANSWERS[step], run
        assert run.values("events", "so_error", "peer", "changed") == ("OUT", "0", host.live[0], "none"), run
        assert run.lines[-1] == {"descriptors_left": "0"}, run
        # The others have put something into the conversation, or taken it out.
        if step in ("so_error", "connect", "getpeername", "recv"):
            assert run.first["transfer"] == host.live[0], run


def test_connected_sockets_say_so_from_then_on(several):
    host = several("silent", "refused", "live")
    cases = after_each_wait("connect,connect,so_error,connect", "so_error,connect,getpeername,connect")
    for bare, shim in side_by_side(host, "events_result", cases, bare_host=several("live", "refused")):
        assert_same(bare, shim, "events", "steps", "so_error", "changed")
        assert shim.first["steps"].endswith("connect:EISCONN,"), shim
        assert_connected(shim, host.live[0])


@pytest.mark.parametrize("pause", [0, 350])
@hosts(("live", "refused"), *FAILOVER)
def test_asked_again_and_again_without_a_wait(several, kinds, pause):
    host = several(*kinds)
    run = start_shim(host, "events_result", by="connect", spin=1, pause=pause).finish()
    assert run.first["answer"] == "0", run
    assert int(run.first["ms"]) < due(kinds), run
    assert_connected(run, host.live[0])


@pytest.mark.parametrize("pause", [0, 350])
@hosts(("live", "refused"), ("silent", "live"), ("refused", "live"), ("silent", "refused", "live"))
def test_so_error_asked_again_and_again_without_a_wait(several, kinds, pause):
    # Whoever asks without a wait of libc's may have been told of a refusal by a way we do not see, so it is true.
    host = several(*kinds)
    run = start_shim(host, "events_result", by="so_error", spin=1, pause=pause).finish()
    assert int(run.first["ms"]) < due(kinds), run
    # A later attempt may have been refused within the call that began it, and is moved on there.
    told = kinds[0] == "refused" or run.first["answer"] != "0"
    if "refused" in kinds[: kinds.index("live")] and told:
        assert run.first["answer"] == "ECONNREFUSED", run
    else:
        assert run.first["answer"] == "0", run
        assert_connected(run, host.live[0])


@pytest.mark.parametrize("pause", [350, 1000])
@hosts(("live", "refused"), ("refused", "live"), ("silent", "live"), ("silent", "silent", "live"))
def test_a_wait_that_begins_late(several, kinds, pause):
    # The program has slept by a timer of its own, and nobody moved the connect on.
    host = several(*kinds)
    for run in together(host, "events_result", after_each_wait("so_error", "getpeername", pause=pause)):
        assert run.first["events"] == "OUT", run
        assert run.first["steps"].rstrip(",").endswith(":0"), run
        assert int(run.first["ms"]) < due(kinds), run
        assert_connected(run, host.live[0])


# ---- Everything fails ----


@hosts(("refused", "refused"), ("refused",) * 6, ("refused6", "refused"))
def test_the_error_is_where_it_would_have_been(several, kinds):
    cases = after_each_wait(*STEPS, *(f"{step},so_error,so_error" for step in STEPS))
    for bare, shim in side_by_side(several(*kinds), "events_result", cases):
        assert_same(bare, shim, *FAILED)
        assert "ECONNREFUSED" in shim.first["steps"] + shim.first["so_error"], shim
        assert (shim.first["steps"] + shim.first["so_error"]).count("ECONNREFUSED") == 1, shim


@pytest.mark.parametrize("pause", [0, 250])
@hosts(("refused", "refused"), ("refused6", "refused"))
def test_whatever_is_done_after_the_error(several, kinds, pause):
    host = several(*kinds)
    cases = after_each_wait(
        "so_error,connect,connect",
        "connect,so_error,connect",
        "read,so_error,write,connect",
        "write,read,getpeername,so_error",
        "getpeername,recv,send,so_error",
        pause=pause,
    )
    for bare, shim in side_by_side(host, "events_result", cases):
        # Not SO_ERROR at the end: connected once more, it is in flight for longer than bare.
        assert_same(bare, shim, "events", "steps", "peer", "changed", "descriptors_left")


@pytest.mark.parametrize("pause", [0, 250])
def test_asked_again_and_again_everything_fails(several, pause):
    host = several("refused", "refused", "refused")
    cases = [{"by": step, "spin": 1, "pause": pause} for step in ("so_error", "connect")]
    for bare, shim in side_by_side(host, "events_result", cases):
        assert_same(bare, shim, "answer", "so_error", "peer", "changed", "descriptors_left")
        assert shim.first["answer"] == "ECONNREFUSED"


@hosts(("silent", "silent"), ("silent", "refused"), ("refused", "silent"))
def test_silence_among_those_that_fail(several, kinds):
    cases = after_each_wait("so_error,so_error", "connect,so_error", "getpeername,so_error", syncnt=1)
    spinning = [{"by": "connect", "spin": 1, "syncnt": 1}]
    for bare, shim in side_by_side(several(*kinds), "events_result", cases + spinning):
        assert_same(bare, shim, *FAILED, "answer")
        expected = "ETIMEDOUT" if kinds[0] == "silent" else "ECONNREFUSED"
        told = shim.first.get("steps", "") + shim.first.get("answer", "")
        assert told.count(expected) == 1, shim


@hosts(("silent", "silent"))
def test_the_first_read_or_write_after_silence(several, kinds):
    cases = after_each_wait("read,so_error", "write,so_error", "recv,so_error", "send,so_error", syncnt=1)
    for bare, shim in side_by_side(several(*kinds), "events_result", cases):
        assert_same(bare, shim, *FAILED)


def test_an_error_that_connect_itself_could_have_told(several):
    # Bare, connect(2) tells it at once. With the library it had begun, and the error is there once.
    cases = after_each_wait("so_error,so_error", "connect,so_error", "getpeername,so_error,so_error")
    for run in together(several("unreachable", "refused"), "events_result", cases):
        assert "OUT" in run.first["events"], run
        assert run.first["steps"].count("ENETUNREACH") == 1, run
        assert run.values("so_error", "peer", "changed") == ("0", "none", "none"), run


# ---- TCP Fast Open ----


@hosts(("live", "refused"), *FAILOVER)
def test_fast_open_becomes_an_ordinary_connect(several, kinds):
    host = several(*kinds)
    cases = [{"how": how, "blocking": blocking} for how in ("sendto", "sendmsg", "option") for blocking in (0, 1)]
    for run in together(host, "events_fastopen", cases):
        blocking = "blocking=1" in repr(run)
        assert run.values("first", "sent", "echo") == ("5" if blocking else "EINPROGRESS", "5", "echo"), run
        assert_connected(run, host.live[0])


def test_fast_open_refused_by_all(several):
    cases = [{"how": how, "blocking": blocking} for how in ("sendto", "sendmsg", "option") for blocking in (0, 1)]
    for run in together(several("refused", "refused"), "events_fastopen", cases):
        blocking = "blocking=1" in repr(run)
        assert run.first["first"] == ("ECONNREFUSED" if blocking else "EINPROGRESS"), run
        assert run.values("sent", "peer", "changed") == ("ECONNREFUSED", "none", "none"), run
        assert run.first["descriptors_left"] == "0", run


def test_fast_open_of_a_host_with_one_address_is_left_alone(several):
    cases = [{"how": how, "blocking": blocking} for how in ("sendto", "sendmsg", "option") for blocking in (0, 1)]
    for bare, shim in side_by_side(several("live"), "events_fastopen", cases):
        assert_same(bare, shim, "first", "sent", "echo", "so_error", "peer", "transfer", "changed", "descriptors_left")
