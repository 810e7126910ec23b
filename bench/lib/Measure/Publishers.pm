package Measure::Publishers;

# Copyright (C) nginx-livestream contributors
#
# Many publishers of 720p at 2.5 Mbit/s, passed through: what one costs in CPU
# and memory, against nginx-rtmp's own HLS with the same clips, in turns.
#
# BENCH_PUBLISHERS (50), BENCH_SECONDS (20), BENCH_ROUNDS (3)

use v5.28;
use warnings;

use Time::HiRes qw(sleep);

use Measure qw(cpu memory median option row say_so programs clip720);


sub run {
    my $n = option(PUBLISHERS => 50);
    my %cpu = (ours => [], plain => []);
    my %memory = (ours => [], plain => []);

    for my $round (1 .. option(ROUNDS => 3)) {
        for my $which (qw(ours plain)) {
            my ($c, $m) = publishers($n, plain => $which eq 'plain');

            say_so(sprintf '%d publishers, %s: %.3f CPU s a stream minute, '
                   . '%.2f MiB a stream', $n, $which eq 'ours' ? 'livestream'
                   : 'nginx-rtmp\'s hls', $c, $m);
            push @{ $cpu{$which} }, $c;
            push @{ $memory{$which} }, $m;
        }
    }

    my ($ours, $plain) = map { median(@{ $cpu{$_} }) } qw(ours plain);
    my ($mine, $its) = map { median(@{ $memory{$_} }) } qw(ours plain);

    return (
        row("$n publishers of 720p: CPU s a stream minute, to nginx-rtmp's",
            sprintf('%.2f (%.3f / %.3f)', $ours / $plain, $ours, $plain),
            '<= 1.00', $ours <= $plain),
        row('  memory for one stream',
            sprintf('%.2f MiB (nginx-rtmp: %.2f)', $mine, $its), '8 MiB',
            $mine <= 8),
    );
}


# CPU seconds a stream minute, MiB a stream
sub publishers {
    my ($n, %server) = @_;

    my $seconds = option(SECONDS => 20);
    my $server = Measure->server(workers => 2, %server);
    my $clip = clip720($server);
    my @keys = map { $server{plain} ? "key$_"
                     : $server->create(title => "Stream $_")->{stream_key} }
               1 .. $n;

    Livestream::Test::write_file("$server->{dir}/keys",
                                 join '', map { "$_\n" } @keys);

    my $before = memory($server);

    # spread over two seconds, so that not all key frames come at once
    my $p = programs($server)->publish('', $clip, '--loop', '--key-file',
        "$server->{dir}/keys", '--stagger', int(2000 / $n));

    Livestream::Test::wait_for(sub {
        (() = $p->output =~ /^\S+ publishing /mg) == $n;
    }, 20) or die "not all publishers were let:\n", $p->output;

    # until all have filled their buffers and playlists
    sleep 10;

    my $cpu = cpu($server);
    my $from = Time::HiRes::time();

    sleep $seconds;

    $cpu = (cpu($server) - $cpu) / $n / (Time::HiRes::time() - $from) * 60;
    my $memory = (memory($server) - $before) / $n / 1024 / 1024;

    $p->stop;
    $p->output =~ /total .*published=(\d+) refused=(\d+) closed=(\d+)/
        && $1 == $n && $2 + $3 == 0 or die "publishers:\n", $p->output;

    $server->end;

    return ($cpu, $memory);
}


1;
