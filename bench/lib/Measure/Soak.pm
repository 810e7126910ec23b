package Measure::Soak;

# Copyright (C) nginx-livestream contributors
#
# Memory of a 1080p ladder over minutes: how much, and whether it grows.  The
# first two minutes are left out: playlists and pools fill.
#
# BENCH_MINUTES (10)

use v5.28;
use warnings;

use List::Util qw(max sum);
use Time::HiRes qw(sleep time);

use Measure qw(memory option row say_so programs);
use Measure::Ladder;

use constant SETTLED => 2;


sub run {
    my $minutes = option(MINUTES => 10);
    my $server = Measure->server(workers => 1, livestream => 'transcode on;');
    my $clip = Measure::Ladder::clip($server, '1920x1080');
    my $stream = $server->create(title => 'Soak');
    my $before = memory($server);
    my $p = programs($server)->publish($stream, $clip, '--loop');

    $server->wait_live($stream) or die "it does not go live\n";

    my $from = time;
    my @points;

    while ((my $at = (time() - $from) / 60) < $minutes) {
        my $m = (memory($server) - $before) / 1024 / 1024;

        push @points, [$at, $m] if $at >= SETTLED;
        say_so(sprintf '%4.1f min  %.0f MiB', $at, $m);
        sleep 15;
    }

    my $shed = () = $server->log =~ /quality_changed/g;

    $p->stop;
    $server->end;

    my $most = max map { $_->[1] } @points;
    my $slope = slope(@points);

    return (
        row("ladder of 1080p30: memory at most, in $minutes minutes",
            sprintf('%.0f MiB', $most), '350 MiB', $most <= 350),
        row('  its slope', sprintf('%+.2f MiB an hour', $slope * 60),
            'flat', abs($slope * 60) <= $most / 10),
        $shed ? row('  rungs shed and taken back meanwhile', $shed) : (),
    );
}


# of the straight line that is nearest, MiB a minute
sub slope {
    my @points = @_;

    my $n = @points or return 0;
    my $x = sum(map { $_->[0] } @points) / $n;
    my $y = sum(map { $_->[1] } @points) / $n;
    my $square = sum map { ($_->[0] - $x) ** 2 } @points;

    return $square
           ? sum(map { ($_->[0] - $x) * ($_->[1] - $y) } @points) / $square
           : 0;
}


1;
