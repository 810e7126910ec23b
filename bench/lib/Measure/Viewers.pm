package Measure::Viewers;

# Copyright (C) nginx-livestream contributors
#
# Thousands of viewers blocked on one playlist: how long after the first of
# them the others are told of a part, and what one of them costs while it
# waits.
#
# BENCH_VIEWERS (5000), BENCH_SECONDS (30)

use v5.28;
use warnings;

use List::Util qw(max);
use Time::HiRes qw(sleep time);

use Measure qw(cpu busy memory option viewers row say_so programs clip720);


sub run {
    my $n = option(VIEWERS => 5000);
    my $seconds = option(SECONDS => 30);
    my $server = Measure->server(workers => 2);
    my $stream = $server->create(title => 'Watched by many');

    programs($server)->publish($stream, clip720($server), '--loop');
    $server->wait_live($stream, 'source', 30) or die "not live\n";

    # a playlist of some length
    say_so('the playlist grows for 20 s');
    sleep 20;

    say_so("$n viewers for $seconds s");

    my $before = memory($server);
    my ($cpu, $busy, $from) = (cpu($server), busy(), time());
    my $peak = 0;

    my $seen = viewers($server, sub { $peak = max($peak, memory($server)) },
                       '--viewers', $n, '--seconds', $seconds, '--rate', 1000,
                       $server->url($stream, 'source', 'playlist.m3u8'));

    my $took = time() - $from;
    $cpu = cpu($server) - $cpu;
    $busy = busy() - $busy;
    $server->end;

    my $t = $seen->{tracks}[0];
    my $each = ($peak - $before) / $n / 1024;

    return (
        row("$n viewers, all told of each of $t->{parts} parts",
            $t->{missed} ? "$t->{missed} missed" : 'none missed',
            'none missed', $t->{parts} && !$t->{missed} && !$t->{errors}),
        row('  told after the first one, p99',
            sprintf('%.0f ms', $t->{p99}), '150 ms', $t->{p99} <= 150),
        row('  the worst part\'s p99', sprintf('%.0f ms', $t->{worst_p99})),
        row('  median, maximum',
            sprintf('%.0f ms, %.0f ms', $t->{p50}, $t->{max})),
        row('  memory of nginx for one that waits',
            sprintf('%.1f KiB', $each), '12 KiB', $each <= 12),
        row('  cores used by nginx, the load generator, all else here',
            sprintf('%.2f, %.2f, %.2f', $cpu / $took, $seen->{cpu} / $took,
                    ($busy - $cpu - $seen->{cpu}) / $took)),
    );
}


1;
