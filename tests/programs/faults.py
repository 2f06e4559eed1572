# What the tests of faults on purpose share: the environment of a faulted program, and its log.
# It must never read a log without checking all of it.
import log_schema
from programs.harness import preload


def faults(*rules, failover=True, **more):
    """The environment with these rules and the JSON log, by default on stderr; `more` are further variables, without
    NEXTADDR_."""
    more = {f"NEXTADDR_{name}": str(value) for name, value in more.items()}
    alone = {} if failover else {"NEXTADDR_NO_FAILOVER": "1"}
    logged = {"NEXTADDR_LOG": "info", "NEXTADDR_LOG_FORMAT": "json"}
    return {**preload(), **logged, "NEXTADDR_FAULTS": ";".join(rules), **alone, **more}


def events_of(run, kind=None):
    """What a program has logged on stderr, or in a file: all of it, or the events of one kind."""
    log = run.stderr if hasattr(run, "stderr") else run.read_bytes()
    events = log_schema.events_of(log)
    return events if kind is None else log_schema.of_kind(events, kind)


def made(run):
    """The faults that it has logged, by their names."""
    return [event["action"] for event in events_of(run, "fault")]
