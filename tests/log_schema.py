# The JSON log as libnextaddr(7) documents it. It must never accept a member that is not documented there, nor
# a line that no other program would read.
import datetime
import ipaddress
import json
import re

ERRORS = re.compile(r"E[A-Z]+")
ACTIONS = {"refuse", "silent", "unreachable", "reset", "delay", "errno", "nxdomain", "tryagain"}
OUTCOMES = {
    "connected", "refused", "timed out", "host unreachable", "host down", "reset", "network unreachable", "network down",
    "no local address", "forbidden", "not permitted", "blackhole route", "silent", "interrupted", "aborted", "parked",
    "closed", "failed",
}  # fmt: skip


def is_text(value):
    return isinstance(value, str)


def is_number(value):
    return type(value) is int and value >= 0


def is_port(value):
    return is_number(value) and value <= 65535


def is_address(value):
    ipaddress.ip_address(value)
    return True


def is_error(value):
    return is_text(value) and ERRORS.fullmatch(value)


def or_null(check):
    return lambda value: value is None or check(value)


COMMON = {"time": is_text, "pid": is_number, "program": is_text, "event": is_text}
MESSAGE = {"message": is_text, "subject": is_text}
EVENTS = {
    "connect": {
        "host": is_text,
        "port": is_port,
        "asked": is_address,
        "used": or_null(is_address),
        "error": or_null(is_error),
        "failover": lambda value: type(value) is bool,
        "total_ms": is_number,
        "attempts": lambda value: isinstance(value, list) and len(value) > 0,
    },
    "lookup": {"host": is_text, "addresses": lambda value: len(value) > 0 and all(map(is_address, value))},
    "fault": {"rule": is_text, "action": ACTIONS.__contains__, "host": is_text},
    "seed": {"seed": is_number},
    "unmatched": {"rule": is_text},
    "problem": MESSAGE,
    "debug": MESSAGE,
}
OPTIONAL = {
    "connect": {"attempts_left_out": is_number},
    "lookup": {"addresses_left_out": is_number},
    "fault": {"port": is_port, "address": is_address},
    "problem": {"column": is_number},
}
ATTEMPT = {"address": is_address, "outcome": OUTCOMES.__contains__, "error": or_null(is_error), "ms": is_number}


def check_members(found, expected, optional):
    assert expected.keys() <= found.keys() <= {*expected, *optional}, found
    for name, value in found.items():
        assert {**expected, **optional}[name](value), (name, found)


def check_connect(event):
    goes_on = len(event["attempts"]) == 1 and event["attempts"][0]["outcome"] == "silent"
    got_through = event["error"] is None and not goes_on
    assert (event["used"] is not None) == got_through, event
    assert event["failover"] == (got_through and event["used"] != event["asked"]), event
    for attempt in event["attempts"]:
        check_members(attempt, ATTEMPT, {"fault": ACTIONS.__contains__})
        failed = attempt["outcome"] not in ("connected", "silent", "parked", "interrupted")
        assert (attempt["error"] is not None) == failed, event
    *others, last = event["attempts"]
    assert all(attempt["outcome"] != "connected" for attempt in others), event
    assert (last["outcome"] == "connected") == got_through, event
    if got_through:
        assert last["address"] == event["used"], event
    assert len(event["attempts"]) == 13 or "attempts_left_out" not in event, event


def check_lookup(event):
    assert len(event["addresses"]) == 32 or "addresses_left_out" not in event, event
    assert len(set(event["addresses"])) == len(event["addresses"]), event


def time_of(event):
    """When it was, as seconds since 1970."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]), event
    return datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


def check_event(event):
    kind = event["event"]
    check_members(event, {**COMMON, **EVENTS[kind]}, OPTIONAL.get(kind, {}))
    time_of(event)
    if kind == "connect":
        check_connect(event)
    if kind == "lookup":
        check_lookup(event)
    if kind == "fault":
        about_lookup = event["action"] in ("nxdomain", "tryagain")
        assert ("port" in event, "address" in event) == (not about_lookup, not about_lookup), event


def events_of(log):
    """The events of a log: bytes or a text, each line of which is one."""
    text = log if isinstance(log, str) else log.decode("ascii")
    assert text == "" or text.endswith("\n"), "the last line is not whole"
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        check_event(event)
    return events


def of_kind(events, kind):
    return [event for event in events if event["event"] == kind]
