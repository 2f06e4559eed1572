# Mailers, which look names up by libresolv, and deliver a message to HOST. They need a lab with a name server.
# Those of tests/unpacked.txt are laid over /usr in a mount namespace of their own, and need many users (many_users.py):
# nothing of them may be seen, or left, outside.
from pathlib import Path

from clients import Client
from clients.own_resolver import AS_NOBODY, IPV6_ALONE

EXIM = """
primary_hostname = lab.test
spool_directory = DIRECTORY
log_file_path = DIRECTORY/log-%s
exim_user = 65534
exim_group = 65534
trusted_users = 65534
deliver_drop_privilege
never_users =
keep_environment = ^NEXTADDR:^LD_PRELOAD
disable_ipv6
begin routers
live:
  driver = manualroute
  route_list = "* {host} bydns"
  self = send
  transport = live
begin transports
live:
  driver = smtp
  port = {port}
  hosts_avoid_tls = *
  connect_timeout = 5m
"""

# Postfix gives its daemons no more of its own environment than import_environment names.
POSTFIX = """
compatibility_level = 3.6
queue_directory = /mnt/spool
data_directory = /mnt/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = mail
setgid_group = proxy
myhostname = lab.test
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
relayhost = [{host}]:{port}
smtp_host_lookup = dns
smtp_randomize_addresses = no
import_environment = MAIL_CONFIG TZ LANG=C LD_PRELOAD NEXTADDR_MEMORY NEXTADDR_SKIP
in_flow_delay = 0
maillog_file = /mnt/log
maillog_file_prefixes = /mnt
"""

POSTFIX_SERVICES = """
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
smtp unix - - n - - smtp
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
"""

# The daemons say by the log what became of the message.
RUN_POSTFIX = """
    cd /mnt && mkdir etc spool spool/pid data && cd spool || exit
    mkdir -m 700 active bounce corrupt defer deferred flush hold incoming private saved trace
    mkdir -m 710 public && mkdir -m 730 maildrop
    chown mail:proxy [!p]* private public ../data
    cd .. && printf %s "$1" >etc/main.cf && printf %s "$2" >etc/master.cf
    /usr/lib/postfix/sbin/master -c /mnt/etc -d &
    master=$!
    unset LD_PRELOAD
    while [ ! -S spool/public/pickup ]; do sleep 0.1; done
    printf 'Subject: lab\n\nhello\n' | sendmail -C /mnt/etc -f lab@lab.test user@example.test
    while ! grep -q status= log; do sleep 0.1; done
    kill "$master"
    cat log
    grep -q status=sent log
"""

SENDMAIL = """
V10/Berkeley
Djlab.test
O QueueDirectory=/mnt
O PidFile=/dev/null
O LogLevel=0
Mlocal, P=/bin/false, F=lsDFM, A=false
Mprog, P=/bin/false, F=lsDFM, A=false
Mesmtp, P=[IPC], F=mDFMuXa, E=\\r\\n, A=TCP $h {port}
S0
R$*\t$#esmtp $@ [{host}] $: $1
"""

RUN_SENDMAIL = """
    cd /mnt && printf %s "$1" >sendmail.cf || exit
    printf 'Subject: lab\n\nhello\n' |
        /usr/libexec/sendmail/sendmail -C /mnt/sendmail.cf -v -odi -f lab@lab.test user@example.test
"""

UNPACKED = Path(__file__).resolve().parents[2] / "build" / "unpacked" / "usr"
# Without the bits of programs that are setgid, because for those the loader preloads nothing.
OVER_USR = f"mount -t overlay -o nosuid,lowerdir={UNPACKED}:/usr overlay /usr"


def exim(host, port):
    text = """
        directory=$(mktemp -d) && cd "$directory" || exit
        printf %%s "$1" | sed "s#DIRECTORY#$directory#" >exim.conf
        printf 'Subject: lab\\n\\nhello\\n' | %s exim -C "$directory/exim.conf" -v -odf -oi user@example.test
        cd / && rm -rf "$directory"
    """ % " ".join(AS_NOBODY)
    return ["sh", "-c", text, "sh", EXIM.format(host=host, port=port)]


def unpacked(script, *arguments):
    """A script with these texts, in which HOST and PORT are written {host} and {port}, and the unpacked packages in
    their places. It has a directory to itself, /mnt."""

    def words(host, port):
        texts = [each.format(host=host, port=port) for each in arguments]
        return ["unshare", "--mount", "sh", "-c", f"{OVER_USR} && mount -t tmpfs -o mode=755 tmpfs /mnt && {{ {script} }}", "sh", *texts]

    return words


# Where this succeeds the lab has many users, too.
MAY_UNPACK = ("sh", "-c", f'test "$(id -u)" = 0 && test -e {UNPACKED}/lib/postfix && exec unshare -rm {OVER_USR}')

MAILERS = [
    Client("exim", "exim", "smtp", exim, always_zero=True, any_order=True),
    Client("postfix", "unshare", "smtp", unpacked(RUN_POSTFIX, POSTFIX, POSTFIX_SERVICES), probe=MAY_UNPACK, seconds=3),
    Client("sendmail", "unshare", "smtp", unpacked(RUN_SENDMAIL, SENDMAIL), probe=MAY_UNPACK, always_zero=True,
           unhelped=IPV6_ALONE),
]
