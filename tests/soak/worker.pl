# As worker.py, in Perl: one connect after the other, blocking or with its own time-out.
#     perl worker.pl perl SEED WARM_UP UNTIL LIMIT PORT RECORDS HOST..
use strict;
use warnings;
use Errno;
use IO::Handle;
use IO::Socket::INET;
use Socket qw(inet_aton);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my (undef, $seed, $warm_up, $end, $limit, $port, $path, @hosts) = @ARGV;
srand($seed);
open(my $records, '>>', $path) or die "$path: $!";
$records->autoflush(1);
STDOUT->autoflush(1);
my %names = map { Errno->can($_)->() => $_ } grep { exists $!{$_} } keys %!;

sub now { clock_gettime(CLOCK_MONOTONIC) }

sub connect_once {
    my $host = $hosts[rand @hosts];
    $host = $hosts[0] if $host eq 'dark.test' && rand(20) >= 1; # as in worker.py
    my $begin = now();
    my $outcome;
    my $connection = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => $limit);
    if (!$connection) {
        $outcome = $!{ETIMEDOUT} && now() - $begin > $limit - 1 ? '!timeout' : '!' . ($names{ $! + 0 } // $@);
    } else {
        my $said = <$connection> // '';
        $outcome = $said =~ m{^HTTP/1.0 200 nextaddr-live ([\d.]+)} ? $1 : '!no answer';
        close $connection;
    }
    printf {$records} qq{[%.6f, %.6f, "%s", null, "%s"]\n}, $begin, now(), $host, $outcome;
}

sub work {
    my ($until) = @_;
    connect_once() while now() < $until;
}

inet_aton($_) for @hosts;
work(now() + $warm_up);
# A probe may outlive its connect by 2 s, and ends with the next call of the program.
sub let_probes_end {
    sleep 3;
    open my $copy, '<&', \*STDIN or die;
    close $copy;
}

for (['ready', $end], ['done', 0]) {
    let_probes_end();
    print "$_->[0]\n";
    scalar <STDIN>;
    work($_->[1]);
}
