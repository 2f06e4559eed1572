# The rules of faults on purpose in running programs: what their targets cover, how often they happen in all threads and
# processes of a run, what chance does, lookups, and what is said of rules that are wrong or never matched.
# The grammar itself is tested by unit tests; nothing here may depend on which process comes first.
import collections
import subprocess

import pytest

import lab as labs
from programs.faults import events_of, faults, made
from programs.harness import HOST, address_lab, preload, run_shim, several, start, start_shim

# What FaultCounters and the rest of src/fault/run_counters.h fit into.
RUN_SIZE = 8192


def errors(run):
    """What each connect came to."""
    return [line["error"] for line in run.lines if "error" in line]


def walk(host, *rules, **more):
    """What each address of a host comes to, asked one after the other without failover."""
    run = run_shim(host, "walk_all", env=faults(*rules, failover=False, **more), every=1)
    assert [line["asked"] for line in run.lines] == host.addresses, run
    return errors(run)


def several_connects(host, *rules, times, **more):
    """What so many connects to the first address come to, and the run."""
    run = run_shim(host, "one_lookup", env=faults(*rules, failover=False, **more), times=times)
    assert len(errors(run)) == times, run
    return errors(run), run


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "run"
    path.write_bytes(bytes(RUN_SIZE))
    return path


# ---- Targets ----

OK, REFUSED, NO_ROUTE = "0", "ECONNREFUSED", "EHOSTUNREACH"


@pytest.mark.parametrize(
    "rule",
    [
        f"{HOST}#2=refuse",
        "several.*#2=refuse",
        "SEVERAL.TEST.#2=refuse",
        "s?v[d-f]ral.test#2=refuse",
        "*#2=refuse",
        f"{HOST}#2:PORT=refuse",
        "@SECOND=refuse",
        "@SECOND:PORT=refuse",
        "@SECOND/32=refuse",
        "  @SECOND/32  =  refuse ;; ",
        f"{HOST}#1=off;*=1*refuse->off",
        "@FIRST=off;@v4=1*refuse;*=silent",
        f"@THIRD=off;{HOST}#1:PORT=off;*=refuse",
        "*:1=silent;@SECOND:1=silent;@SECOND=refuse",
        f"other.test=silent;x{HOST}=silent;{HOST}x=silent;{HOST}#2=refuse",
        "@v6=silent;@::/0=silent;*#2=refuse",
    ],
)
def test_covers_the_second_of_three(several, rule):
    host = several("live", "live", "live")
    for number, name in enumerate(("FIRST", "SECOND", "THIRD")):
        rule = rule.replace(name, host.addresses[number])
    assert walk(host, *rule.replace("PORT", str(host.port)).split(";")) == [OK, REFUSED, OK]


@pytest.mark.parametrize(
    "rule",
    [
        f"{HOST}=refuse",
        "*.test=refuse",
        "*=refuse",
        "@v4=refuse",
        "@0.0.0.0/0=refuse",
        "@127.0.0.0/8:PORT=refuse",
        "*:PORT=refuse",
        f"{HOST}:PORT=refuse",
    ],
)
def test_covers_all(several, rule):
    host = several("live", "live", "live")
    assert walk(host, rule.replace("PORT", str(host.port))) == [REFUSED] * 3


@pytest.mark.parametrize("rule", [f"{HOST}#4=refuse", "*:1=refuse", "@v6=refuse", "@126.0.0.0/8=refuse", "test=refuse"])
def test_covers_none(several, rule):
    host = several("live", "live", "live")
    run = run_shim(host, "walk_all", env=faults(rule, failover=False), every=1)
    assert errors(run) == [OK] * 3
    assert [(event["event"], event["rule"]) for event in events_of(run)] == [("unmatched", rule)]


def test_ipv6_and_ipv4(several):
    host = several("live6", "live")
    rules = ["@v6=refuse", "@v4=unreachable"]
    assert walk(host, *rules) == [REFUSED, NO_ROUTE]
    assert walk(host, f"@[::1]:{host.port}=refuse", "@::1=silent") == [REFUSED, OK]
    assert walk(host, "@::/1=unreachable", "*=refuse") == [NO_ROUTE, REFUSED]


def test_an_address_of_several_hosts_gets_what_any_of_them_has(several):
    host = several("live", "live")
    first, second = host.addresses
    resolve = f"a.test={first},{second};b.test={second},{first}"
    for names in ("a.test,b.test", "b.test,a.test"):
        for rule, error in (("a.test#1=refuse", REFUSED), ("b.test#1=refuse", OK), ("b.test=refuse", REFUSED)):
            env = faults(rule, failover=False, RESOLVE=resolve)
            run = start(host.lab, "after_lookups", env, names=names, to=first, port=host.port).finish()
            assert errors(run) == [error], (names, rule)
    # The name in the log is one that the rule is about.
    env = faults("b.test#2=refuse", failover=False, RESOLVE=resolve)
    run = start(host.lab, "after_lookups", env, names="a.test,b.test", to=first, port=host.port).finish()
    assert [event["host"] for event in events_of(run, "fault")] == ["b.test"]


def test_a_host_that_was_not_looked_up_has_no_addresses(several):
    host = several("live")
    env = faults(f"{HOST}=refuse", "*#1=silent", RESOLVE=host.resolve)
    run = start(host.lab, "after_lookups", env, to=host.addresses[0], port=host.port).finish()
    assert errors(run) == [OK] and made(run) == []


def test_names_that_libc_has_looked_up(namespace):
    with namespace.scenario("live-first", protocol="banner") as host:
        assert walk(host, f"{host.host}#2=refuse") == [OK, REFUSED]
        run = run_shim(host, "connect_first", env=faults(f"{host.host}#1=silent"), transfer=1)
        assert run.first["transfer"] == host.addresses[1], run


# ---- Chains and numbers ----


def test_a_chain(several):
    rule = "*=2*refuse->1*unreachable->off"
    got, run = several_connects(several("live"), rule, times=6)
    assert got == [REFUSED] * 2 + [NO_ROUTE] + [OK] * 3
    assert {event["rule"] for event in events_of(run, "fault")} == {rule}


def test_the_last_of_a_chain_passes_to_none(several):
    got, _ = several_connects(several("live"), "*=1*refuse->1*unreachable", "*=refuse", times=4)
    assert got == [REFUSED, NO_ROUTE, OK, OK]


def test_off_can_be_counted(several):
    got, _ = several_connects(several("live"), "*=2*off->1*refuse->1*off->unreachable", times=6)
    assert got == [OK, OK, REFUSED, OK, NO_ROUTE, NO_ROUTE]


def test_the_first_rule_that_covers_decides(several):
    host = several("live", "live")
    assert walk(host, f"{HOST}#1=1*refuse", f"{HOST}=unreachable") == [REFUSED, NO_ROUTE]
    got, _ = several_connects(host, f"{HOST}#1=1*refuse", f"{HOST}=unreachable", times=3)
    assert got == [REFUSED, OK, OK]


def ways(runs):
    """How often the steps of all these runs went each way."""
    total = collections.Counter()
    for run in runs:
        for line in run.lines:
            if "count" in line:
                total[line["connect"]] += int(line["count"])
    return total


@pytest.mark.parametrize("threads, processes, times", [(8, 1, 100), (1, 8, 100), (4, 4, 50)])
def test_numbers_are_exact_over_threads_and_forked_processes(several, threads, processes, times):
    host = several("live")
    env = faults("*=123*refuse->45*unreachable->off", LOG="error")
    run = run_shim(host, "steps", env=env, threads=threads, processes=processes, times=times, steps="connect")
    assert ways([run]) == {REFUSED: 123, NO_ROUTE: 45, OK: threads * processes * times - 168}, run


def test_numbers_are_exact_where_threads_draw_as_fast_as_they_can(several):
    env = faults("*=15000*unreachable->refuse", LOG="off")
    run = run_shim(several("live"), "steps", env=env, threads=8, times=2500, steps="connect")
    assert ways([run]) == {REFUSED: 5000, NO_ROUTE: 15000}, run


def test_each_program_has_numbers_of_its_own_without_a_run(several):
    host = several("live")
    before = ["sh", "-c", '"$@"; "$@"; exec "$@"', "sh"]
    run = start_shim(host, "one_lookup", env=faults("*=1*refuse"), before=before, times=2).finish()
    assert errors(run) == [REFUSED, OK] * 3


def test_all_programs_of_a_run_share_numbers(several, run_file):
    host = several("live")
    before = ["sh", "-c", '"$@"; "$@"; exec "$@"', "sh"]
    env = faults("*=3*refuse->1*unreachable", RUN=run_file)
    run = start_shim(host, "one_lookup", env=env, before=before, times=2).finish()
    assert errors(run) == [REFUSED] * 3 + [NO_ROUTE, OK, OK]
    assert not events_of(run, "unmatched")


def test_numbers_are_exact_over_programs_at_once(several, run_file):
    host = several("live")
    env = faults("*=100*refuse->off", RUN=run_file, LOG="error")
    arguments = {"threads": 2, "processes": 2, "times": 20, "steps": "connect"}
    runs = [start_shim(host, "steps", env=env, **arguments) for _ in range(5)]
    assert ways([run.finish() for run in runs]) == {REFUSED: 100, OK: 300}


def test_a_run_counts_its_failovers(several, run_file):
    host = several("live", "live")
    env = faults(f"{HOST}#1=2*refuse->off", RUN=run_file)
    for expected in (1, 2, 2):
        run_shim(host, "connect_first", env=env)
        assert int.from_bytes(run_file.read_bytes()[4:8], "little") == expected


@pytest.mark.parametrize("what", ["missing", "short", "directory", "link", "not writable"])
def test_a_run_file_that_cannot_be_used(several, tmp_path, what):
    # The program runs on, with numbers of its own.
    path = tmp_path / "run"
    if what == "short":
        path.write_bytes(b"1234")
    elif what == "directory":
        path.mkdir()
    elif what == "link":
        (tmp_path / "other").write_bytes(bytes(RUN_SIZE))
        path.symlink_to("other")
    elif what == "not writable":
        path = "/proc/version"
    for _ in range(2):
        got, _ = several_connects(several("live"), "*=1*refuse", times=2, RUN=path)
        assert got == [REFUSED, OK]


# ---- Chance ----


def test_a_chance_is_had_again_by_its_seed(several):
    host = several("live")
    first, run = several_connects(host, "*=30%refuse", times=200, SEED=42)
    assert 30 <= first.count(REFUSED) <= 90
    assert [event["seed"] for event in events_of(run, "seed")] == [42]
    again, _ = several_connects(host, "*=30%refuse", times=200, SEED=42)
    other, _ = several_connects(host, "*=30%refuse", times=200, SEED=43)
    assert again == first != other


def test_a_seed_that_was_not_given_is_told(several):
    host = several("live")
    first, run = several_connects(host, "*=50%refuse", times=64)
    [event] = events_of(run, "seed")
    again, _ = several_connects(host, "*=50%refuse", times=64, SEED=event["seed"])
    other, other_run = several_connects(host, "*=50%refuse", times=64)
    assert again == first
    assert events_of(other_run, "seed")[0]["seed"] != event["seed"] and other != first


def test_chances_of_certainty(several):
    got, _ = several_connects(several("live"), "*=0%unreachable->100%refuse", times=20)
    assert got == [REFUSED] * 20


def test_a_chance_and_a_number(several):
    got, _ = several_connects(several("live"), "*=50%10*refuse->off", times=100, SEED=1)
    assert got.count(REFUSED) == 10 and REFUSED not in got[60:]


def test_chances_of_all_programs_of_a_run_follow_one_seed(several, run_file):
    # Two programs draw on where the first has stopped, and have the chances that one would have.
    host = several("live")
    one, _ = several_connects(host, "*=50%refuse", times=60, SEED=7)
    parts = [several_connects(host, "*=50%refuse", times=30, SEED=7, RUN=run_file)[0] for _ in range(2)]
    assert parts[0] + parts[1] == one


# ---- Lookups ----

FUNCTIONS = ["getaddrinfo", "gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyname2_r"]
# glibc's, as <netdb.h> has them.
FAILURES = {
    "nxdomain": ["error=-2\nerrno=0\n"] + ["h_errno=1 entry=null\nerrno=0\n"] * 2 + ["result=0 h_error=1 entry=null\nerrno=0\n"] * 2,
    "tryagain": ["error=-3\nerrno=EAGAIN\n"]
    + ["h_errno=2 entry=null\nerrno=EAGAIN\n"] * 2
    + ["result=EAGAIN h_error=2 entry=null\nerrno=EAGAIN\n"] * 2,
}


def look_up(lab, env, function, name, **arguments):
    return start(lab, "lookups", env, function=function, name=name, errno=1, **arguments).finish()


def told(event):
    return {key: event.get(key) for key in ("event", "rule", "action", "host", "port", "address")}


@pytest.mark.parametrize("action", FAILURES)
@pytest.mark.parametrize("function, family", [(function, 4) for function in FUNCTIONS] + [("gethostbyname2", 6)])
def test_a_lookup_fails(several, action, function, family):
    host = several("live")
    family = {"family": family} if "2" in function else {}
    for rule in (f"{HOST}={action}", f"*={action}", f"*.test=1*{action}"):
        run = look_up(host.lab, faults(rule, RESOLVE=host.resolve), function, HOST, **family)
        assert run.stdout == FAILURES[action][FUNCTIONS.index(function)]
        expected = {"event": "fault", "rule": rule, "action": action, "host": HOST, "port": None, "address": None}
        assert [told(event) for event in events_of(run)] == [expected]


def test_a_failed_lookup_is_libcs():
    if obstacle := labs.Namespace.obstacle():
        pytest.skip(obstacle)
    with labs.Namespace() as lab:

        def assert_like_bare(action):
            for function in FUNCTIONS:
                bare = look_up(lab, {}, function, "unknown.test")
                run = look_up(lab, faults(f"unknown.test={action}"), function, "unknown.test")
                assert run.stdout == bare.stdout and made(run) == [action]

        assert_like_bare("nxdomain")
        # A name server that cannot be reached.
        (lab.directory / "nsswitch.conf").write_text("hosts: files dns\n")
        (lab.directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        assert_like_bare("tryagain")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lookups_that_succeed_are_libcs(several, function):
    host = several("live", "live")
    rules = ["other.test=nxdomain", f"{HOST}=1*off->tryagain", "*=nxdomain"]
    with_rules = look_up(host.lab, faults(*rules, RESOLVE=host.resolve), function, HOST)
    without = look_up(host.lab, {**preload(), "NEXTADDR_RESOLVE": host.resolve}, function, HOST)
    assert with_rules.stdout == without.stdout and made(with_rules) == []


@pytest.mark.parametrize("name", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "::1", "::ffff:127.0.0.1", "fe80::1%lo"])
@pytest.mark.parametrize("function", ["getaddrinfo", "gethostbyname", "gethostbyname_r"])
def test_numbers_never_fail(address_lab, function, name):
    bare = look_up(address_lab, {}, function, name)
    run = look_up(address_lab, faults("*=nxdomain"), function, name)
    assert run.stdout == bare.stdout and made(run) == []


def test_a_service_without_a_name_never_fails(address_lab):
    arguments = {"function": "getaddrinfo", "service": "80", "flags": 1}  # AI_PASSIVE
    bare = start(address_lab, "lookups", {}, **arguments).finish()
    run = start(address_lab, "lookups", faults("*=nxdomain"), **arguments).finish()
    assert run.stdout == bare.stdout and "error=0" in run.stdout and made(run) == []


def test_a_lookup_that_is_tried_again(several):
    host = several("live")
    rule = f"{HOST}=2*tryagain->1*nxdomain->off"
    run = look_up(host.lab, faults(rule, RESOLVE=host.resolve), "getaddrinfo", HOST, repeat=4, socktype=1)
    assert [line["error"] for line in run.lines if "error" in line] == ["-3", "-3", "-2", "0"]


def test_lookups_and_connects_have_rules_of_their_own(several):
    host = several("live")
    rules = [f"{HOST}=1*nxdomain->off", f"{HOST}=1*refuse->off"]
    run = look_up(host.lab, faults(*rules, RESOLVE=host.resolve), "getaddrinfo", HOST, repeat=2, connect=host.port)
    assert [line["error"] for line in run.lines if "error" in line][-2:] == ["0", "ECONNREFUSED"], run
    assert made(run) == ["nxdomain", "refuse"]


def test_lookups_of_all_programs_of_a_run_are_counted(several, run_file):
    host = several("live")
    env = faults("*=1*nxdomain", RESOLVE=host.resolve, RUN=run_file)
    ends = [look_up(host.lab, env, "gethostbyname", HOST).stdout for _ in range(2)]
    assert ["entry=null" in end for end in ends] == [True, False]


def test_a_program_whose_lookups_fail(several, require):
    host = several("live")
    env = {**host.lab.environment(), **faults("*=tryagain", RESOLVE=host.resolve)}
    words = [require("getent"), "ahosts", HOST]
    result = subprocess.run(words, env=env, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (2, "") and "tryagain" in result.stderr


# ---- Rules that never matched ----


def unmatched(run):
    return [event["rule"] for event in events_of(run, "unmatched")]


def test_rules_that_never_matched_are_told(several):
    rules = ["typo.test=refuse", f"{HOST}=off", "*=silent", "  @192.0.2.1 = 5%refuse -> off  ", "x.test=nxdomain"]
    run = run_shim(several("live"), "connect_first", env=faults(*rules, LOG="error"))
    assert unmatched(run) == [rules[0], rules[2], rules[3].strip(), rules[4]]
    assert len(events_of(run)) == 4
    text = run_shim(several("live"), "connect_first", env=faults("typo.test=refuse", LOG="error", LOG_FORMAT="text"))
    assert text.stderr.endswith("] fault typo.test=refuse: never matched\n") and text.stderr.startswith("nextaddr: connect_first[")


def test_by_the_process_that_began_and_by_no_child_of_it(several):
    host = several("live")
    run = run_shim(host, "one_lookup", env=faults("typo.test=refuse"), times=2, in_child=1)
    assert unmatched(run) == ["typo.test=refuse"]
    many = run_shim(host, "steps", env=faults("typo.test=refuse"), processes=4, times=2, steps="connect")
    assert unmatched(many) == ["typo.test=refuse"]


def test_what_a_child_has_matched_is_matched(several):
    run = run_shim(several("live"), "one_lookup", env=faults("*=1*refuse"), times=1, in_child=1)
    assert errors(run) == [REFUSED] and unmatched(run) == []


def test_not_by_programs_that_ask_for_nothing(several):
    # A shell that starts others.
    host = several("live")
    before = ["sh", "-c", '"$@"; true', "sh"]
    run = start_shim(host, "connect_first", env=faults("typo.test=refuse"), before=before).finish()
    assert unmatched(run) == ["typo.test=refuse"]


def test_in_a_run_only_by_its_end(several, run_file):
    host = several("live")
    rules = ["typo.test=refuse", f"{HOST}=1*refuse"]
    run = run_shim(host, "connect_first", env=faults(*rules, RUN=run_file))
    assert events_of(run, "unmatched") == []
    end = start(host.lab, "connect_first", faults(*rules, RUN=run_file, RUN_ENDS=1), host="localhost", port=1)
    assert unmatched(end.wait()) == ["typo.test=refuse"]


def test_a_socket_has_nothing_of_an_earlier_one_with_its_number(several, tmp_path):
    # The first connect fails as a whole, and parks the first address only; it is never asked about.
    host = several("silent", "live")
    rules = f"{HOST}#1=1*refuse->off", f"{HOST}#2=1*errno(ENETUNREACH)->off"
    steps = "connect,poll:2000,again,blocking,connect,peer"
    run = run_shim(host, "steps", env=faults(*rules, MEMORY=tmp_path / "memory"), nonblocking=1, steps=steps)
    assert [line.get("connect") for line in run.lines if "connect" in line][-1] == "0", run
    first, second = events_of(run, "connect")
    assert first["error"] == "ECONNREFUSED", run
    assert [attempt["outcome"] for attempt in second["attempts"]] == ["parked", "connected"], run


@pytest.mark.parametrize("level", ["off", ""])
def test_nobody_is_told_without_a_log(several, level):
    run = run_shim(several("live"), "connect_first", env=faults("typo.test=refuse", LOG=level))
    assert run.stderr == ""


# ---- Rules that are wrong ----


@pytest.mark.parametrize(
    "rules, column, reason",
    [
        ("*=refsue", 3, "unknown action"),
        ("*=refuse;api.example", 10, "expected TARGET=ACTION"),
        ("*=refuse; @192.0.2.1/33=silent", 12, "the length of the network's prefix is wrong"),
        ("*=silent;192.0.2.1=refuse", 10, "an address is written with '@'"),
        ("*=delay", 8, "expected '(MILLISECONDS)'"),
        ("*=200%refuse", 3, "a chance is a percentage from 0 to 100"),
        (f"{HOST}#1=nxdomain", len(HOST) + 4, "a lookup has a host as its target, without '#' and port"),
        (";".join(["*=refuse"] * 65), 64 * 9 + 1, "more than 64 rules"),
    ],
)
def test_a_rule_that_is_wrong_is_told_and_none_is_used(several, rules, column, reason):
    host = several("live")
    run = run_shim(host, "connect_first", env=faults(rules), transfer=1)
    assert run.values("result", "transfer") == ("0", host.addresses[0]), run
    [event] = events_of(run)
    assert (event["event"], event["message"]) == ("problem", "NEXTADDR_FAULTS ignored")
    assert (event["column"], event["subject"]) == (column, reason)
    text = run_shim(host, "connect_first", env=faults(rules, LOG="error", LOG_FORMAT="text"))
    assert text.stderr.count("\n") == 1
    assert text.stderr.endswith(f"] NEXTADDR_FAULTS ignored: column {column}: {reason}\n")


@pytest.mark.parametrize("seed", ["x", "-1", "4294967296", "1.5"])
def test_a_seed_that_is_wrong_is_told(several, seed):
    got, run = several_connects(several("live"), "*=100%refuse", times=1, SEED=seed)
    assert got == [REFUSED]
    assert [event["subject"] for event in events_of(run, "problem")] == ["NEXTADDR_SEED"]


def test_faults_do_nothing_where_the_library_is_off(several):
    host = several("live")
    run = run_shim(host, "plain_calls", env=faults("*=refuse", OFF=1, RESOLVE=""), what="blocking", host=host.addresses[0])
    assert run.stdout == "connect=0 \n" and run.stderr == ""
